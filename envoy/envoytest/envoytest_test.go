package envoytest_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/envoy/envoytest"
)

// direct returns a bootstrap that forwards all requests to one address.
func direct(socket, upstream string) []byte {
	host, port, _ := net.SplitHostPort(upstream)
	return fmt.Appendf(nil, `
admin: {address: {pipe: {path: %q}}}
static_resources:
  listeners:
  - name: http
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          access_log:
          - name: envoy.access_loggers.stdout
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
              log_format: {json_format: {path: "%%REQ(:PATH)%%", status: "%%RESPONSE_CODE%%"}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, route: {cluster: up}}]
  clusters:
  - name: up
    load_assignment:
      cluster_name: up
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]
`, socket, host, port)
}

func upstream(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+r.URL.Path)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestStart(t *testing.T) {
	config := direct(filepath.Join(envoytest.Dir(t), "a.sock"), upstream(t))
	e := envoytest.Start(t, config)
	if status, body := get(t, e.URL+"/there"); status != http.StatusOK || body != "hello /there" {
		t.Errorf("answer is %d %q", status, body)
	}
	entry := e.AccessLog(func(entry map[string]any) bool { return entry["path"] == "/there" })
	if entry["status"] != 200.0 {
		t.Errorf("access log has %v", entry)
	}
	if n := e.Stats()["http.http.downstream_rq_2xx"]; n != 1 {
		t.Errorf("%d requests counted, want 1", n)
	}
	if v := string(e.Admin("/server_info")); !strings.Contains(v, `"state": "LIVE"`) {
		t.Errorf("server_info is %s", v)
	}
	if !strings.Contains(e.Log(), "starting main dispatch loop") {
		t.Errorf("log is %q", e.Log())
	}

	e.Stop()
	<-e.Exited()
	if conn, err := net.Dial("tcp", e.Addr); err == nil {
		conn.Close()
		t.Error("still listening after Stop")
	}
	if err := e.Process.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

// Several run concurrently, each on its own port.
func TestStartTwo(t *testing.T) {
	up := upstream(t)
	a := envoytest.Start(t, direct(filepath.Join(envoytest.Dir(t), "a.sock"), up))
	b := envoytest.Start(t, direct(filepath.Join(envoytest.Dir(t), "b.sock"), up))
	if a.Addr == b.Addr {
		t.Errorf("both are at %s", a.Addr)
	}
	for _, e := range []*envoytest.Envoy{a, b} {
		if status, _ := get(t, e.URL); status != http.StatusOK {
			t.Errorf("status is %d", status)
		}
	}
}

func TestRunErrors(t *testing.T) {
	binary, err := envoytest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	good := direct(filepath.Join(envoytest.Dir(t), "a.sock"), "127.0.0.1:1")
	for name, tc := range map[string]struct {
		binary string
		config []byte
		want   string
	}{
		"no binary":       {filepath.Join(t.TempDir(), "envoy"), good, "no such file"},
		"no admin socket": {binary, []byte("static_resources: {}"), "admin.address.pipe.path"},
		"no YAML":         {binary, []byte("a: ["), "read the bootstrap"},
		"refused":         {binary, append(good, "nonsense: 1\n"...), "nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := envoytest.Run(tc.binary, tc.config)
			if err == nil {
				_ = p.Stop()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want one with %q", err, tc.want)
			}
		})
	}
}

// Stop reports an Envoy that exited by itself.
func TestStopAfterCrash(t *testing.T) {
	binary, err := envoytest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(envoytest.Dir(t), "a.sock")
	p, err := envoytest.Run(binary, direct(socket, "127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /quitquitquit HTTP/1.1\r\nHost: envoy\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "by itself") {
		t.Errorf("Stop returned %v", err)
	}
}

func TestBinary(t *testing.T) {
	t.Setenv(envoytest.BinaryEnv, "/nonexistent/envoy")
	if _, err := envoytest.Binary(); err == nil || !strings.Contains(err.Error(), envoytest.BinaryEnv) {
		t.Errorf("error is %v, want one that names %s", err, envoytest.BinaryEnv)
	}

	t.Setenv(envoytest.BinaryEnv, "")
	dir := t.TempDir()
	t.Chdir(dir)
	if _, err := envoytest.Binary(); err == nil || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("error is %v, want one that names make tools", err)
	}

	want := filepath.Join(dir, ".tools", "envoy")
	deep := filepath.Join(dir, "a", "b")
	for _, d := range []string{filepath.Dir(want), deep} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(want, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(deep)
	if got, err := envoytest.Binary(); err != nil || got != want {
		t.Errorf("found %q, %v; want %q", got, err, want)
	}
}
