package envoy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// checkFunc is an ext_authz server.
type checkFunc func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error)

// Check implements authv3.AuthorizationServer.
func (f checkFunc) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return f(ctx, r)
}

// seen is a request that a server behind Envoy received.
type seen struct {
	server string // jira or tokengate
	target string
	header http.Header
}

// bootstrapRig is a real Envoy with a generated configuration, between the test and
// two servers that report their requests.
type bootstrapRig struct {
	envoy *envoytest.Envoy
	seen  chan seen
}

// newBootstrapRig starts it. With tls, Jira has a certificate for 127.0.0.1; with a
// nil check there is no ext_authz server.
func newBootstrapRig(t *testing.T, check checkFunc, tls bool, edit func(*config.Config, *envoy.BootstrapOptions)) *bootstrapRig {
	t.Helper()
	dir := envoytest.Dir(t)
	rig := &bootstrapRig{seen: make(chan seen, 16)}
	serve := func(name string) *httptest.Server {
		var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rig.seen <- seen{name, r.RequestURI, r.Header.Clone()}
			w.Header().Add("Set-Cookie", "JSESSIONID=new; Path=/")
			w.Header().Add("Set-Cookie", "xsrf=1")
			w.Header().Set("Server", "Apache-Coyote/1.1")
			if user := r.Header.Get("X-Test-User"); user != "" {
				w.Header().Set("X-AUSERNAME", user)
			}
			n, _ := io.Copy(io.Discard, r.Body)
			if n == 0 {
				_, _ = io.WriteString(w, name)
				return
			}
			_, _ = fmt.Fprint(w, name, n)
		})
		if name == "jira" {
			handler = jiratest.Watch(handler, func(where string) { t.Errorf("Jira received a token: %s", where) })
		}
		s := httptest.NewUnstartedServer(handler)
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are expected
		t.Cleanup(s.Close)
		return s
	}
	jira, management := serve("jira"), serve("tokengate")
	management.Start()
	if tls {
		jira.StartTLS()
	} else {
		jira.Start()
	}

	c, opts := config.Default(), envoy.BootstrapOptions{Listen: "127.0.0.1:0", AdminSocket: filepath.Join(dir, "admin.sock")}
	c.Listen.GRPC.Address = config.Address{Network: "unix", Address: filepath.Join(dir, "authz.sock")}
	c.Listen.HTTP.Address = config.Address{Network: "tcp", Address: management.Listener.Addr().String()}
	c.Upstream.URL = jira.URL
	if edit != nil {
		edit(&c, &opts)
	}

	if check != nil {
		l, err := net.Listen("unix", c.Listen.GRPC.Address.Address)
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		authv3.RegisterAuthorizationServer(server, check)
		go func() { _ = server.Serve(l) }()
		t.Cleanup(server.Stop)
	}

	text := generateBootstrap(t, c, opts)
	if tls {
		ca := filepath.Join(dir, "ca.pem")
		if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: jira.Certificate().Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte(bootstrapCA), []byte(ca))
	}
	rig.envoy = envoytest.Start(t, text)
	return rig
}

// send sends a request byte for byte and returns the response, its body read.
func (rig *bootstrapRig) send(t *testing.T, target string, header ...string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", rig.envoy.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lines := append([]string{"GET " + target + " HTTP/1.1", "Host: jira.example.com", "Connection: close"}, header...)
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp
}

// got returns the request that reached a server.
func (rig *bootstrapRig) got(t *testing.T) seen {
	t.Helper()
	select {
	case s := <-rig.seen:
		return s
	default:
		t.Fatal("no request arrived")
		return seen{}
	}
}

func (rig *bootstrapRig) gotNothing(t *testing.T) {
	t.Helper()
	select {
	case s := <-rig.seen:
		t.Errorf("%s got %s", s.server, s.target)
	default:
	}
}

// passThrough answers like tokengate to a request without a token.
func passThrough(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{
		Status:       status.New(codes.OK, "").Proto(),
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{HeadersToRemove: []string{"X-Forwarded-User"}}},
	}, nil
}
