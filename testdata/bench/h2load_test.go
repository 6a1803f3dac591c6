// These tests put load on servers for a moment, and want a machine that is not
// busy with others: make test-long runs them.

//go:build long

package main

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tokengate/tokengate/envoy/envoytest"
)

// short is a slice of load in a test.
const short = time.Second

// counting is a server that counts what it is asked.
type counting struct {
	authv3.UnimplementedAuthorizationServer
	asked  atomic.Int64
	answer func(ctx context.Context, n int64, r *authv3.CheckRequest) (*authv3.CheckResponse, error)
}

func (c *counting) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return c.answer(ctx, c.asked.Add(1), r)
}

// loadOn starts a server, and returns it with a load for it.
func loadOn(t *testing.T, answer func(context.Context, int64, *authv3.CheckRequest) (*authv3.CheckResponse, error), options ...grpc.ServerOption) (*counting, *h2load) {
	t.Helper()
	socket := filepath.Join(envoytest.Dir(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	counted := &counting{answer: answer}
	server := grpc.NewServer(options...)
	authv3.RegisterAuthorizationServer(server, counted)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return counted, newLoad(t, socket, full)
}

func newLoad(t *testing.T, socket string, s shape) *h2load {
	t.Helper()
	c, err := newCredentials(300)
	if err != nil {
		t.Fatal(err)
	}
	load, err := newH2load(socket, s, false, c)
	if err != nil {
		t.Fatal(err)
	}
	return load
}

func allow(context.Context, int64, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return plainAllow(), nil
}

// The stock server runs as a process of its own, as the bench starts it.
func TestLoadOnAllowAll(t *testing.T) {
	socket := filepath.Join(envoytest.Dir(t), "s")
	server, err := startAllowAll(socket, roleAllowAll, "GOGC=400")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []shape{full, trimmed} {
		load := newLoad(t, socket, s)
		if err := server.pause(); err != nil {
			t.Fatal(err)
		}
		var result loadResult
		used, err := server.during(func() (err error) {
			result, err = load.run(t.Context(), short)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if result.answers == 0 || result.took < short || used <= 0 || used > 64*result.took {
			t.Errorf("%s: %d answers in %v, with %v of the server's CPU", s, result.answers, result.took, used)
		}
		if err := server.resume(); err != nil {
			t.Fatal(err)
		}
	}
	now, peak, err := server.resident()
	if err != nil || now < 1<<20 || peak < now {
		t.Errorf("the server's memory is %.0f of at most %.0f, %v", now, peak, err)
	}
	if err := server.pause(); err != nil {
		t.Fatal(err)
	}
	if err := server.stop(); err != nil {
		t.Errorf("end a paused server: %v", err)
	}
	if _, err := newLoad(t, socket, full).run(t.Context(), short); err == nil {
		t.Error("load on a server that is gone is no error")
	}
}

func TestLoadCountsWhatTheServerCounts(t *testing.T) {
	for name, options := range map[string][]grpc.ServerOption{
		"as it is":         nil,
		"old connections":  {grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 30 * time.Millisecond})},
		"few streams":      {grpc.MaxConcurrentStreams(5)},
		"a fixed window":   {grpc.InitialConnWindowSize(1 << 16), grpc.InitialWindowSize(1 << 16)},
		"a stream workers": {grpc.NumStreamWorkers(2)},
	} {
		t.Run(name, func(t *testing.T) {
			server, load := loadOn(t, allow, options...)
			result, err := load.run(t.Context(), short)
			if err != nil {
				t.Fatal(err)
			}
			if asked := server.asked.Load(); asked != int64(result.answers) {
				t.Errorf("%d were asked, and %d answered", asked, result.answers)
			}
		})
	}
}

// What arrives is what Envoy sends: see the comments on headerBlocks.
func TestLoadSendsWhatEnvoySends(t *testing.T) {
	var clients, credentials [2]string
	_, load := loadOn(t, func(ctx context.Context, n int64, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		for name, want := range map[string]string{"x-envoy-internal": "true", "x-forwarded-for": "192.0.2.2", "x-envoy-expected-rq-timeout-ms": "250"} {
			if got := md.Get(name); len(got) != 1 || got[0] != want {
				return nil, status.Errorf(codes.Internal, "%s is %q", name, got)
			}
		}
		client := md.Get("x-client-ip")
		if len(client) != 1 || net.ParseIP(client[0]) == nil {
			return nil, status.Errorf(codes.Internal, "the client is %q", client)
		}
		if end, ok := ctx.Deadline(); !ok || time.Until(end) > 2*time.Second {
			return nil, status.Errorf(codes.Internal, "the deadline is %v", end)
		}
		if n <= 2 {
			clients[n-1], credentials[n-1] = client[0], r.GetAttributes().GetRequest().GetHttp().GetHeaders()["authorization"]
		}
		return plainAllow(), nil
	})
	load.conns, load.streams = 1, 1
	if _, err := load.run(t.Context(), short); err != nil {
		t.Fatal(err)
	}
	if clients[0] == clients[1] || credentials[0] == credentials[1] {
		t.Errorf("two Checks came from the same client, %v, or with the same token", clients)
	}
	for n, got := range credentials {
		if _, want, _ := load.credentials.at(n); got != string(want) {
			t.Errorf("Check %d came with the wrong credential", n)
		}
	}
}

func TestLoadSeesWhatIsWrong(t *testing.T) {
	later := func(wrong func() (*authv3.CheckResponse, error)) func(context.Context, int64, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		return func(ctx context.Context, n int64, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
			if n == 100 {
				return wrong()
			}
			return plainAllow(), nil
		}
	}
	for _, c := range []struct {
		name   string
		answer func(context.Context, int64, *authv3.CheckRequest) (*authv3.CheckResponse, error)
		named  bool
		want   error
		text   string
	}{
		{name: "a refusal", want: errRefused, answer: later(func() (*authv3.CheckResponse, error) {
			return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_DeniedResponse{}}, nil
		})},
		{name: "an empty answer", want: errRefused, answer: later(func() (*authv3.CheckResponse, error) { return &authv3.CheckResponse{}, nil })},
		{name: "a gRPC error", text: `gRPC status "14"`, answer: later(func() (*authv3.CheckResponse, error) { return nil, status.Error(codes.Unavailable, "") })},
		{name: "nobody's name", named: true, want: errNobody, answer: allow},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, load := loadOn(t, c.answer)
			load.named = c.named
			_, err := load.run(t.Context(), short)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("the load says %v", err)
			}
		})
	}
}

func TestLoadMissesAnswers(t *testing.T) {
	socket := filepath.Join(envoytest.Dir(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	answers := &counting{}
	answers.answer = func(ctx context.Context, n int64, _ *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		if n == 200 {
			go server.Stop()
			<-ctx.Done()
		}
		return plainAllow(), nil
	}
	authv3.RegisterAuthorizationServer(server, answers)
	go server.Serve(l)
	if _, err := newLoad(t, socket, full).run(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "answers are missing") {
		t.Errorf("a server that goes away is %v", err)
	}
}
