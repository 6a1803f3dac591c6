package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
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

// The documented limits of connections.
var (
	grpcConnections  = 32 + 2*runtime.NumCPU()
	httpConnections  = 1280
	otherConnections = 128
)

// What a neighbour sends to the socket on which Envoy asks costs a bounded amount
// of memory, and Envoy's own questions and health checks are answered meanwhile.
// The long tests send more.
func TestNeighboursOfEnvoy(t *testing.T) {
	for name, c := range map[string]struct{ streams, length int }{
		"unfinished messages": {300, 4 << 20},
		"as long as may be":   {64 * (grpcConnections + 10), 96 << 10},
		"idle streams":        {64 * (grpcConnections + 10), 0},
	} {
		t.Run(name, func(t *testing.T) {
			if raceDetector && c.length > 0 {
				t.Skip("its memory is measured without the race detector")
			}
			floodEnvoysSocket(t, c.streams, c.length)
		})
	}
}

// floodEnvoysSocket opens so many unfinished questions of a length.
func floodEnvoysSocket(t *testing.T, streams, length int) {
	t.Helper()
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
	connections, open := floodStreams(t, r.dir+"/g", streams, length)
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
	healthy := func() uint64 { return r.envoy.Stats()["cluster.tokengate.health_check.success"] }
	checked := healthy()
	r.until("another good health check of Envoy's", func() bool { return healthy() > checked })
	t.Logf("%d streams with %d bytes: %d MiB before, %d MiB with %d streams on %d connections", streams, length, before, after, open, connections)
	if most := grpcConnections * 64; open > most || connections > grpcConnections || after-before > 16+most*128/1024 && !raceDetector {
		t.Errorf("%d MiB more than before, with %d streams on %d connections; there may be %d", after-before, open, connections, most)
	}
}

// Connections of a neighbour to each HTTP socket, each in the middle of a long
// header.
func TestNeighboursOfHTTP(t *testing.T) {
	r := newRig(t, options{})
	before := r.gate.resident()
	length := 60 << 10
	if raceDetector {
		length = 1 << 10 // it costs memory that is not measured
	}
	header := []byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", length))
	for _, c := range []struct {
		listener, socket string
		most             int
	}{{"http", "/h", httpConnections}, {"metrics", "/m", otherConnections}, {"admin", "/a", otherConnections}} {
		for range c.most + 100 {
			conn, err := net.Dial("unix", r.dir+c.socket)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetWriteDeadline(time.Now().Add(waitTime))
			_, _ = conn.Write(header)
		}
		if status := r.send(request{path: "/rest/api-tokens/latest/me"}).status; status != 401 {
			t.Errorf("%s: the API answers %d", c.listener, status)
		}
		if status, _ := r.probe("/readyz"); status != 200 {
			t.Errorf("%s: the probe says %d", c.listener, status)
		}
		cut := regexp.MustCompile(`tokengate_connections_cut_total\{listener="` + c.listener + `"\} \d{2,}`)
		r.until("a bound on the connections to "+c.listener, func() bool {
			_, metrics := r.probe("/metrics")
			return cut.MatchString(metrics)
		})
	}
	r.gate.waitFor("too many connections")
	after := r.gate.resident()
	t.Logf("long headers on all HTTP connections: %d MiB before, %d MiB with them", before, after)
	if most := (httpConnections + 2*otherConnections) / 2; after-before > most && !raceDetector {
		t.Errorf("%d MiB more than before, want %d at most", after-before, most)
	}
}

// The longest requests that Envoy takes are judged, and not lost on the way.
func TestLongestQuestions(t *testing.T) {
	t.Parallel()
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
	for range 100 { // a connection has 64 streams
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
