package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/store/index"
)

// checkOutage sends a token, a password and a browser's request, which must all
// get 503 while Jira hears nothing.
func checkOutage(t *testing.T, r *rig, auth string) {
	t.Helper()
	r.jira.Reset()
	var group sync.WaitGroup
	for _, q := range []request{{auth: auth}, {auth: basic("fred", "yabba")}, {path: "/secure/Dashboard.jspa"}} {
		group.Go(func() {
			got, err := r.try(context.Background(), noRedirects, q)
			if err != nil || got.status != 503 {
				t.Errorf("%s: %d %v, want 503", q.path, got.status, err)
			}
		})
	}
	group.Wait()
	if n := r.jira.Total(); n != 0 {
		t.Errorf("Jira heard %d requests", n)
	}
}

func TestOutages(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	value := r.mint("outage")
	works := func(t *testing.T) {
		t.Helper()
		if got := r.send(request{auth: bearer(value)}); got.status != 200 {
			t.Fatalf("status %d: %s", got.status, got.body)
		}
	}
	works(t)
	t.Run("hung", func(t *testing.T) {
		r.gate.freeze()
		defer r.gate.signal(syscall.SIGCONT)
		checkOutage(t, r, bearer(value))
	})
	works(t)
	t.Run("stopped", func(t *testing.T) {
		if err := r.gate.stop(); err != nil {
			t.Fatal(err)
		}
		checkOutage(t, r, bearer(value))
	})
	r.startGate()
	works(t)
	t.Run("killed", func(t *testing.T) {
		r.gate.signal(os.Kill)
		<-r.gate.done
		checkOutage(t, r, bearer(value))
	})
	r.startGate()
	works(t)
}

// stall is a server that takes a question and never answers.
type stall struct {
	authv3.UnimplementedAuthorizationServer
}

func (stall) Check(ctx context.Context, _ *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestSlowAndPanickingServers(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{noGate: true})
	slow := grpc.NewServer()
	authv3.RegisterAuthorizationServer(slow, stall{})
	// No policy pointer: the first thing Check does is to panic.
	broken, _, err := (&envoy.Server{
		Index: &index.Index{}, ClientAddress: config.Default().ClientAddress, Upstream: config.Default().Upstream,
		Log: zap.NewNop(), Metrics: envoy.NewMetrics(prometheus.NewRegistry()), Now: time.Now,
	}).GRPC()
	if err != nil {
		t.Fatal(err)
	}
	for name, server := range map[string]*grpc.Server{"slow": slow, "panicking": broken} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("unix", r.dir+"/g")
			if err != nil {
				t.Fatal(err)
			}
			go server.Serve(l)
			defer server.Stop()
			checkOutage(t, r, "Bearer tgate_x")
		})
	}
}

// During a restart, requests get 503 at worst, and Envoy's retries avoid most of those.
// After the log says that tokengate is ready, there are none.
func TestRestartUnderLoad(t *testing.T) {
	r := newRig(t, options{})
	load := startLoad(r, request{auth: bearer(r.mint("restart"))})
	for range 3 {
		if err := r.gate.stop(); err != nil {
			t.Error(err)
		}
		r.startGate()
		load.next() // began after "tokengate is ready", see startGate
		load.next() // may meet the next stop
	}
	answers := load.stop()
	t.Logf("answers by status, by turns from a stop on and when ready again: %v", answers)
	for phase, statuses := range answers {
		for status, n := range statuses {
			if status != 200 && (status != 503 || phase%2 == 1) {
				t.Errorf("%d answers of status %d in phase %d", n, status, phase)
			}
		}
	}
	if n := answers.total()[200]; n < 150 {
		t.Errorf("only %d answers of status 200", n)
	}
}

// With a successor on the socket, a graceful stop fails no request, and the successor's
// socket remains.
func TestSuccessor(t *testing.T) {
	r := newRig(t, options{})
	load := startLoad(r, request{auth: basic("fred", "yabba")})
	for i := range 3 {
		// The successor has its own store: only one process can open Badger's.
		old := r.gate
		settings := strings.NewReplacer(
			r.dir+"/data", fmt.Sprintf("%s/data%d", r.dir, i),
			r.dir+"/a", fmt.Sprintf("%s/a%d", r.dir, i),
			r.dir+"/m", fmt.Sprintf("%s/m%d", r.dir, i),
		).Replace(read(t, r.config))
		r.config = fmt.Sprintf("%s/tokengate%d.yaml", r.dir, i)
		r.write(settings)
		r.startGate()
		if err := old.stop(); err != nil {
			t.Error(err)
		}
		conn, err := net.Dial("unix", r.dir+"/g")
		if err != nil {
			t.Fatalf("the successor's socket is gone: %v", err)
		}
		conn.Close()
		load.next()
	}
	statuses := load.stop().total()
	t.Logf("answers by status: %v", statuses)
	if len(statuses) != 1 || statuses[200] < 150 {
		t.Errorf("answers by status: %v, want 200 alone", statuses)
	}
}
