package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/store/etcd/etcdtest"
)

// get asks the probes of a server over TCP.
func get(t *testing.T, address, path string) (status int, body string) {
	t.Helper()
	response, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// freeAddress returns an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// lineWatch is a log that reports the first line with a text.
type lineWatch struct {
	text string
	seen chan struct{}
}

func (w *lineWatch) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.text) {
		select {
		case w.seen <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}

// TestStartWithoutEtcd starts a server whose etcd does not run. It waits without failing, its probes say that it is alive
// and not ready, and it becomes ready once etcd runs.
func TestStartWithoutEtcd(t *testing.T) {
	cluster := etcdtest.Start(t, etcdtest.Options{})
	cluster.Nodes[0].Stop()
	dir, metrics := t.TempDir(), freeAddress(t)
	file := filepath.Join(dir, "tokengate.yaml")
	err := os.WriteFile(file, fmt.Appendf(nil, `publicURL: https://jira.example.com
listen: {grpc: "unix://%[1]s/g", http: "unix://%[1]s/h", admin: "unix://%[1]s/a", metrics: "tcp://%[2]s"}
store:
  etcd:
    timeout: 1s
    endpoints:
      - %[3]s
upstream: {url: 'http://127.0.0.1:9', identity: {header: X-Forwarded-User}}
`, dir, metrics, cluster.Endpoints()[0]), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	log := &lineWatch{"waiting for etcd", make(chan struct{}, 1)}
	type result struct {
		*Server
		error
	}
	start := func(ctx context.Context) <-chan result {
		started := make(chan result, 1)
		go func() {
			s, err := New(ctx, file, Options{Log: log, Version: "test"})
			started <- result{s, err}
		}()
		select {
		case <-log.seen:
		case r := <-started:
			t.Fatalf("the server did not wait: %v", r.error)
		}
		return started
	}
	probe := func(path string, want int) {
		t.Helper()
		if status, body := get(t, metrics, path); status != want {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	stopped := start(ctx)
	cancel()
	if r := <-stopped; r.error == nil || r.Server != nil {
		t.Errorf("a server that was told to stop: %v, error %v", r.Server, r.error)
	}

	started := start(t.Context())
	probe("/healthz", 200)
	probe("/readyz", 503)
	probe("/readyz?for=tokens", 503)
	probe("/metrics", 200)
	cluster.Nodes[0].Start()
	s := <-started
	if s.error != nil {
		t.Fatal(s.error)
	}
	probe("/readyz", 503)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	probe("/readyz", 200)
	probe("/readyz?for=tokens", 200)

	cluster.Nodes[0].Stop()
	for status := 200; status == 200; { // until the probe of the store is repeated
		status, _ = get(t, metrics, "/readyz?for=tokens")
	}
	probe("/readyz?for=tokens", 503)
	probe("/readyz", 200)
	if _, text := get(t, metrics, "/metrics"); !strings.Contains(text, "\ntokengate_store_up 0\n") {
		t.Error("tokengate_store_up is not 0 without etcd")
	}
	cluster.Nodes[0].Start()
	cluster.Nodes[0].Wait()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}
