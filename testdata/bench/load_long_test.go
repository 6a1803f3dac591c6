// These tests put load on servers for some seconds. make test-long runs them.

//go:build long

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tokengate/tokengate/envoy/envoytest"
)

const short = time.Second

// counter is a server that counts Checks.
type counter struct {
	authv3.UnimplementedAuthorizationServer
	checks atomic.Int64
	answer func(ctx context.Context, n int64, r *authv3.CheckRequest) (*authv3.CheckResponse, error)
}

func (c *counter) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return c.answer(ctx, c.checks.Add(1), r)
}

func allow(context.Context, int64, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return plainAllow(), nil
}

// startCounter starts a counter, and returns it with a load for it.
func startCounter(t *testing.T, answer func(context.Context, int64, *authv3.CheckRequest) (*authv3.CheckResponse, error), options ...grpc.ServerOption) (*counter, *grpc.Server, *grpcLoad) {
	t.Helper()
	socket := filepath.Join(envoytest.Dir(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	counted := &counter{answer: answer}
	s := grpc.NewServer(options...)
	authv3.RegisterAuthorizationServer(s, counted)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return counted, s, newLoad(t, socket, full)
}

func newLoad(t *testing.T, socket string, s shape) *grpcLoad {
	t.Helper()
	load, err := newGRPCLoad(socket, s, false, someCredentials(t))
	if err != nil {
		t.Fatal(err)
	}
	return load
}

func someCredentials(t *testing.T) *credentials {
	t.Helper()
	c, err := newCredentials(300)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoadOnAllowAll(t *testing.T) {
	socket := filepath.Join(envoytest.Dir(t), "s")
	p, err := startAllowAll(socket, roleAllowAll)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []shape{full, trimmed} {
		load := newLoad(t, socket, s)
		if err := p.pause(); err != nil {
			t.Fatal(err)
		}
		var result loadResult
		used, err := p.during(func() (err error) {
			result, err = load.run(t.Context(), short)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if result.took < short || used <= 0 || used > 64*result.took {
			t.Errorf("%s: %d answers in %v, with %v of the server's CPU", s, result.answers, result.took, used)
		}
		if err := p.resume(); err != nil {
			t.Fatal(err)
		}
	}
	now, peak, err := p.resident()
	if err != nil || now < 1<<20 || peak < now {
		t.Errorf("resident memory %.0f, peak %.0f, %v", now, peak, err)
	}
	if err := p.pause(); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil {
		t.Errorf("stop a paused server: %v", err)
	}
	if _, err := newLoad(t, socket, full).run(t.Context(), short); err == nil {
		t.Error("load on a stopped server is no error")
	}
}

func TestLoadCountsWhatTheServerCounts(t *testing.T) {
	for name, options := range map[string][]grpc.ServerOption{
		"defaults":       nil,
		"few streams":    {grpc.MaxConcurrentStreams(5)},
		"a fixed window": {grpc.InitialConnWindowSize(1 << 16), grpc.InitialWindowSize(1 << 16)},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, load := startCounter(t, allow, options...)
			result, err := load.run(t.Context(), short)
			if err != nil {
				t.Fatal(err)
			}
			if checks := s.checks.Load(); checks != int64(result.answers) {
				t.Errorf("%d Checks, %d answers", checks, result.answers)
			}
		})
	}
}

func TestLoadSendsWhatEnvoySends(t *testing.T) {
	var addresses, sent [2]string
	_, _, load := startCounter(t, func(ctx context.Context, n int64, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
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
			addresses[n-1], sent[n-1] = client[0], r.GetAttributes().GetRequest().GetHttp().GetHeaders()["authorization"]
		}
		return plainAllow(), nil
	})
	load.conns, load.streams = 1, 1
	if _, err := load.run(t.Context(), short); err != nil {
		t.Fatal(err)
	}
	if addresses[0] == addresses[1] {
		t.Errorf("two Checks have the address %s", addresses[0])
	}
	for n, got := range sent {
		if _, want, _ := load.credentials.at(n); got != string(want) {
			t.Errorf("Check %d has the wrong credential", n)
		}
	}
}

func TestLoadFailsOnWrongAnswers(t *testing.T) {
	unavailable := status.Error(codes.Unavailable, "")
	for _, c := range []struct {
		name  string
		wrong *authv3.CheckResponse // the hundredth answer; nil: gRPC status 14
		named bool
		want  error
		text  string
	}{
		{name: "a denial", wrong: &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_DeniedResponse{}}, want: errRefused},
		{name: "an empty answer", wrong: &authv3.CheckResponse{}, want: errRefused},
		{name: "a gRPC error", text: `gRPC status "14"`},
		{name: "no owner", wrong: plainAllow(), named: true, want: errOwner},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, load := startCounter(t, func(_ context.Context, n int64, _ *authv3.CheckRequest) (*authv3.CheckResponse, error) {
				switch {
				case n != 100:
					return plainAllow(), nil
				case c.wrong == nil:
					return nil, unavailable
				}
				return c.wrong, nil
			})
			load.named = c.named
			if _, err := load.run(t.Context(), short); err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("the load returns %v", err)
			}
		})
	}
}

func TestLoadFailsOnMissingAnswers(t *testing.T) {
	var stop func()
	_, s, load := startCounter(t, func(ctx context.Context, n int64, _ *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		if n == 200 {
			go stop()
			<-ctx.Done()
		}
		return plainAllow(), nil
	})
	stop = s.Stop
	if _, err := load.run(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "answers are missing") {
		t.Errorf("a server that stops: %v", err)
	}
}

// net/http's server ends connections whose client exceeds the window.
func TestLoadKeepsToTheWindow(t *testing.T) {
	for name, c := range map[string]struct {
		length byte // of the message, as gRPC's prefix says
		want   string
	}{"whole answers": {4, ""}, "half an answer": {100, errUnreadable.Error()}} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(envoytest.Dir(t), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", "application/grpc")
				w.Header().Set("Trailer", "Grpc-Status")
				w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(c.length)), 0x0a, 0, 0x1a, 0))
				w.Header().Set("Grpc-Status", "0")
			}), HTTP2: &http.HTTP2Config{MaxReceiveBufferPerConnection: defaultWindow + 1, MaxReceiveBufferPerStream: defaultWindow}}
			s.Protocols.SetUnencryptedHTTP2(true)
			go s.Serve(l)
			defer s.Close()
			_, err = newLoad(t, socket, full).run(t.Context(), short)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("the load returns %v", err)
			}
		})
	}
}

// loadOnUpstream starts the upstream in this process, and returns a load for it.
func loadOnUpstream(t *testing.T, serve func(net.Listener) error) *httpLoad {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go serve(l)
	return &httpLoad{address: l.Addr().String(), credentials: someCredentials(t), user: func(string) string { return noUser }}
}

func TestClosedLoop(t *testing.T) {
	load := loadOnUpstream(t, serveUpstream)
	result, err := load.closed(t.Context(), 4, short)
	if err != nil {
		t.Fatal(err)
	}
	if result.took < short || load.cursor != result.answers {
		t.Errorf("%d answers in %v", result.answers, result.took)
	}
	load.user = func(owner string) string { return owner }
	if _, err := load.closed(t.Context(), 4, short); err == nil || !strings.Contains(err.Error(), "the upstream saw") {
		t.Errorf("an upstream that sees no user: %v", err)
	}
}

func TestFixedRate(t *testing.T) {
	load := loadOnUpstream(t, serveUpstream)
	result, err := load.paced(t.Context(), 8, 1000, 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if load.cursor != 300 || result.p50 <= 0 || result.p99 < result.p50 || result.p999 < result.p99 {
		t.Errorf("%d requests: %+v", load.cursor, result)
	}
}

// While a server stalls, every request that becomes due is late.
func TestFixedRateCountsWhatAStallDelays(t *testing.T) {
	const stall, requests = 150 * time.Millisecond, 200
	served := 0
	load := loadOnUpstream(t, func(l net.Listener) error {
		return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if served++; served == 2 { // the first one opens the connection
				<-time.After(stall)
			}
			io.WriteString(w, noUser+strings.Repeat(" ", bodyLength-len(noUser)))
		}))
	})
	result, err := load.paced(t.Context(), 1, 1000, requests*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if result.p50 < 20_000 || result.p99 < micros(stall-20*time.Millisecond) {
		t.Errorf("after a stall of %v: %+v", stall, result)
	}
}
