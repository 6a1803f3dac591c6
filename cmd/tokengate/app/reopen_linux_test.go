package app

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// No request fails when the listener that Envoy asks breaks under load, and the server
// goes on in the same process.
func TestListenerBreaks(t *testing.T) {
	for name, c := range map[string]struct {
		tcp     bool
		do      func(*testing.T, net.Addr)
		times   int
		connect bool // Envoy connects again all the time
	}{
		"accept fails":          {true, breakListener, 5, true},
		"the socket is removed": {false, func(t *testing.T, socket net.Addr) { must(t, os.Remove(socket.String())) }, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			jira := httptest.NewServer(jiratest.New(jiratest.Options{
				Leak:  func(where string) { t.Errorf("Jira received a token: %s", where) },
				Users: []jiratest.User{{Name: "fred", Password: "yabba", Active: true}},
			}))
			t.Cleanup(jira.Close)
			dir := envoytest.Dir(t)
			address := "unix://" + dir + "/g"
			if c.tcp {
				address = "tcp://" + freeAddress(t)
			}
			must(t, os.WriteFile(dir+"/tokengate.yaml", []byte(strings.NewReplacer("DIR", dir, "ADDRESS", address, "JIRA", jira.URL).Replace(
				`publicURL: http://jira.example.com
listen: {grpc: 'ADDRESS', http: unix://DIR/h, admin: unix://DIR/a, metrics: unix://DIR/m}
store: {badger: {dir: DIR/data}}
upstream: {url: 'JIRA'}
`)), 0o600))
			s, err := New(t.Context(), dir+"/tokengate.yaml", Options{Log: io.Discard, Version: "test"})
			must(t, err)
			t.Cleanup(func() { must(t, s.Stop()) })
			must(t, s.Start())
			value := create(t, dir+"/a")
			var bootstrap bytes.Buffer
			must(t, envoy.Bootstrap(&bootstrap, s.config, envoy.BootstrapOptions{Listen: "127.0.0.1:0", AdminSocket: dir + "/e"}))
			text := bootstrap.Bytes()
			if c.connect {
				const limits, once = "http2_protocol_options: {}\n", "http2_protocol_options: {}\n        common_http_protocol_options: {max_requests_per_connection: 3}\n"
				text = bytes.Replace(text, []byte(limits), []byte(once), 1)
			}
			proxy := envoytest.Start(t, text)

			load, stop := context.WithCancel(t.Context())
			var workers sync.WaitGroup
			answered := make(chan int, 1000)
			for range 4 {
				workers.Go(func() {
					for load.Err() == nil {
						r, err := http.NewRequest(http.MethodGet, "http://"+proxy.Addr+"/rest/api/2/myself", nil)
						if err != nil {
							t.Error(err)
							return
						}
						r.Header.Set("Authorization", "Bearer "+value)
						response, err := http.DefaultClient.Do(r)
						if err != nil {
							t.Error(err)
							return
						}
						io.Copy(io.Discard, response.Body)
						response.Body.Close()
						answered <- response.StatusCode
					}
				})
			}
			// expect reads the next answers.
			expect := func(n int) {
				t.Helper()
				for range n {
					if status := <-answered; status != http.StatusOK {
						t.Errorf("answer %d", status)
					}
				}
			}
			expect(50)
			for n := range c.times {
				c.do(t, s.Addr("grpc"))
				for end := time.Now().Add(20 * time.Second); testutil.ToFloat64(s.listenerFailures.WithLabelValues("grpc")) != float64(n+1); {
					expect(1)
					if time.Now().After(end) {
						t.Fatal("the listener was not opened again")
					}
				}
				expect(50)
			}
			stop()
			go func() {
				workers.Wait()
				close(answered)
			}()
			for status := range answered {
				if status != http.StatusOK {
					t.Errorf("answer %d", status)
				}
			}
			conn, err := grpc.NewClient(strings.TrimPrefix(address, "tcp://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
			must(t, err)
			defer conn.Close()
			if answer, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
				t.Errorf("a new connection: %v, %v", answer, err)
			}
			select {
			case err := <-s.Failed():
				t.Error(err)
			default:
			}
		})
	}
}

// breakListener makes Accept fail on the listener of this process with a TCP address.
func breakListener(t *testing.T, at net.Addr) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	broken := 0
	for _, file := range files {
		fd, err := strconv.Atoi(file.Name())
		must(t, err)
		listens, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
		if err != nil || listens == 0 {
			continue
		}
		address, err := syscall.Getsockname(fd)
		must(t, err)
		if inet, ok := address.(*syscall.SockaddrInet4); ok && inet.Port == at.(*net.TCPAddr).Port {
			must(t, syscall.Shutdown(fd, syscall.SHUT_RDWR))
			broken++
		}
	}
	if broken != 1 {
		t.Fatalf("%d listeners broken", broken)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
