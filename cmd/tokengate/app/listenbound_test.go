package app

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tokengate/tokengate/envoy/envoytest"
)

// A new connection to a full listener closes the open connection that was idle longest.
// Connections that ended by themselves do not count.
func TestBoundListener(t *testing.T) {
	path := envoytest.Dir(t) + "/s"
	inner, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing here waits longer, so that a fault fails the test.
	deadline := time.Now().Add(10 * time.Second)
	if err := inner.(*net.UnixListener).SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.InfoLevel)
	s := &Server{log: zap.New(core), cut: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x"}, []string{"listener"})}
	l := s.bound("grpc", inner, 3, nil)
	defer l.Close()
	type pair struct{ client, server net.Conn }
	open := func() pair {
		t.Helper()
		client, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		for _, conn := range []net.Conn{client, accepted} {
			if err := conn.SetDeadline(deadline); err != nil {
				t.Fatal(err)
			}
		}
		return pair{client, accepted}
	}
	read := func(from net.Conn) error {
		_, err := from.Read(make([]byte, 1))
		return err
	}
	closed := func(conn net.Conn) bool {
		err := read(conn)
		return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
	}
	say := func(from, to net.Conn) {
		t.Helper()
		if _, err := from.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := read(to); err != nil {
			t.Fatal(err)
		}
	}
	a, b, c := open(), open(), open()
	say(a.client, a.server) // something comes
	say(c.server, c.client) // something goes
	d := open()
	if !closed(b.client) || !closed(b.server) {
		t.Error("the silent connection is open")
	}
	b.server.Close() // as its server does then, which makes no room
	for _, p := range []pair{a, c, d} {
		say(p.client, p.server)
	}
	c.server.Close()
	e := open()
	for _, p := range []pair{a, d, e} {
		say(p.server, p.client)
	}
	f := open()
	if !closed(a.client) {
		t.Error("the connection that was silent longest is open")
	}
	say(f.client, f.server)
	if len(l.open) != 3 {
		t.Errorf("%d connections are open", len(l.open))
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.cut)
	families, err := registry.Gather()
	if err != nil || families[0].GetMetric()[0].GetCounter().GetValue() != 2 {
		t.Errorf("the metric says %v, %v", families, err)
	}
	if logs.Len() != 1 || logs.All()[0].ContextMap()["listener"] != "grpc" {
		t.Errorf("the log says %v", logs.All())
	}
}
