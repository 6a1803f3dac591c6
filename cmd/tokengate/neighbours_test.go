package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// resident returns the memory of a process, in MiB.
func (p *process) resident() int {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		p.t.Fatal("the kernel does not say how much memory tokengate has")
	}
	kilobytes, err := strconv.Atoi(string(found[1]))
	if err != nil {
		p.t.Fatal(err)
	}
	return kilobytes >> 10
}

// What a neighbour sends to the socket on which Envoy asks costs a bounded amount
// of memory, and Envoy's own questions and health checks are answered meanwhile.
func TestNeighboursOfEnvoy(t *testing.T) {
	for name, c := range map[string]struct{ streams, length int }{
		"unfinished messages": {300, 4 << 20},
		"as long as may be":   {3000, 96 << 10},
		"idle streams":        {50_000, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{})
			value := r.mint("honest")
			honest := func(when string) {
				t.Helper()
				for range 20 {
					if got := r.send(request{auth: bearer(value)}); got.status != 200 {
						t.Fatalf("an honest request %s: %d", when, got.status)
					}
				}
			}
			honest("before")
			before := r.gate.resident()
			var beside sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			beside.Go(func() {
				for ctx.Err() == nil {
					if got, err := r.try(t.Context(), noRedirects, request{auth: bearer(value)}); err != nil || got.status != 200 {
						t.Errorf("an honest request meanwhile: %d, %v", got.status, err)
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
			connections, open := floodStreams(t, r.dir+"/g", c.streams, c.length)
			after := r.gate.resident()
			honest("beside it")
			cancel()
			beside.Wait()
			conn, err := grpc.NewClient("unix:"+r.dir+"/g", grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel = context.WithTimeout(t.Context(), waitTime)
			defer cancel()
			if got, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{}); err != nil || got.GetStatus() != healthv1.HealthCheckResponse_SERVING {
				t.Errorf("health meanwhile: %v, %v", got.GetStatus(), err)
			}
			if failed := r.envoy.Stats()["cluster.tokengate.health_check.failure"]; failed > 0 {
				t.Errorf("%d of Envoy's health checks failed", failed)
			}
			t.Logf("%d streams with %d bytes: %d MiB before, %d MiB with %d streams on %d connections", c.streams, c.length, before, after, open, connections)
			if most := grpcConnections * 64; open > most || connections > grpcConnections || after-before > 450 {
				t.Errorf("%d MiB more than before, with %d streams on %d connections; there may be %d", after-before, open, connections, most)
			}
		})
	}
}

// Connections of a neighbour to each HTTP socket, each in the middle of a long
// header.
func TestNeighboursOfHTTP(t *testing.T) {
	r := newRig(t, options{})
	before := r.gate.resident()
	header := []byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 60<<10))
	for _, socket := range []string{"/h", "/m", "/a"} {
		for range 2000 {
			conn, err := net.Dial("unix", r.dir+socket)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetWriteDeadline(time.Now().Add(waitTime))
			_, _ = conn.Write(header)
		}
		if status := r.send(request{path: "/rest/api-tokens/latest/me"}).status; status != 401 {
			t.Errorf("%s: the API answers %d", socket, status)
		}
		if status, _ := r.probe("/readyz"); status != 200 {
			t.Errorf("%s: the probe says %d", socket, status)
		}
	}
	after := r.gate.resident()
	t.Logf("2000 connections to each HTTP socket: %d MiB before, %d MiB with them", before, after)
	for listener, most := range map[string]int{"http": httpConnections, "metrics": otherConnections, "admin": otherConnections} {
		cut := regexp.MustCompile(`tokengate_connections_cut_total\{listener="` + listener + `"\} (\d+)`)
		r.until("a bound on the connections to "+listener, func() bool {
			_, metrics := r.probe("/metrics")
			found := cut.FindStringSubmatch(metrics)
			if found == nil {
				return false
			}
			n, _ := strconv.Atoi(found[1])
			return n >= 2000-most
		})
	}
	r.gate.waitFor("too many connections")
}

// The longest requests that Envoy takes are judged, and not lost on the way.
func TestLongestQuestions(t *testing.T) {
	r := newRig(t, options{})
	value := r.mint("long")
	long := strings.Repeat("x", 55<<10)
	for name, c := range map[string]struct {
		q      request
		status int
	}{
		"credential": {request{auth: "Bearer tgate_" + long}, 401},
		"user agent": {request{auth: bearer(value), header: http.Header{"User-Agent": {long}}}, 200},
		"path":       {request{auth: bearer(value), path: "/rest/api/2/" + long}, 404},
		"query":      {request{auth: bearer(value), path: "/rest/api/2/myself?x=" + long}, 200},
	} {
		if got := r.send(c.q); got.status != c.status {
			t.Errorf("a long %s: %d, want %d: %.200s", name, got.status, c.status, got.body)
		}
	}
}

// When Envoy may open no more connections its questions wait for one another, and
// none is lost.
func TestEnvoyWaitsForStreams(t *testing.T) {
	r := newRig(t, options{envoy: func(yaml string) string { return strings.Replace(yaml, "max_connections: 32", "max_connections: 1", 1) }})
	value := r.mint("many")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			for range 5 {
				if got, err := r.try(t.Context(), client, request{auth: bearer(value), path: "/secure/Dashboard.jspa"}); err != nil || got.status != 403 {
					t.Errorf("%d, %v", got.status, err)
				}
			}
		})
	}
	all.Wait()
	if n := r.envoy.Stats()["cluster.tokengate.upstream_cx_total"]; n > 4 {
		t.Errorf("Envoy opened %d connections", n)
	}
}
