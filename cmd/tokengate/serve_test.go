package main

import (
	"context"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tokengate/tokengate/envoy/envoytest"
)

// probe asks the metrics listener.
func (r *rig) probe(path string) (status int, body string) {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.dir+"/m")
		},
	}}
	response, err := client.Get("http://metrics" + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// hasMetric reports whether a metric has a value.
func (r *rig) hasMetric(line string) bool {
	_, text := r.probe("/metrics")
	return strings.Contains(text, "\n"+line+"\n")
}

func TestProbesAndMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	value := r.mint("probed", "--expires", "7d")
	r.send(request{auth: bearer(value)})
	r.send(request{auth: "Bearer tgate_x"})
	for _, path := range []string{"/healthz", "/readyz", "/readyz?for=tokens"} {
		if status, body := r.probe(path); status != 200 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, line := range []string{
		`tokengate_decisions_total{outcome="allowed",reason="allowed"} 1`,
		`tokengate_decisions_total{outcome="denied",reason="malformed_token"} 1`,
		`tokengate_decisions_total{outcome="denied",reason="read_only"} 0`,
		`tokengate_tokens{state="active"} 1`,
		`tokengate_tokens{state="revoked"} 0`,
		`tokengate_tokens_ending 1`,
		`tokengate_passwords_observed_total 0`,
		`tokengate_store_records{kind="tokens"} 1`,
		`tokengate_store_records{kind="ended_tokens"} 0`,
		`tokengate_store_records{kind="audit"} 1`,
		`tokengate_store_records{kind="passwords"} 0`,
		`tokengate_store_records{kind="upstream"} 0`,
		`tokengate_store_record_bytes{kind="passwords"} 0`,
	} {
		if !r.hasMetric(line) {
			t.Errorf("no metric %s", line)
		}
	}
	_, text := r.probe("/metrics")
	for _, private := range []string{value.ID().String(), "Fred", "probed"} {
		if strings.Contains(text, private) {
			t.Errorf("the metrics name %s", private)
		}
	}
	for _, name := range []string{"tokengate_build_info{", `tokengate_decision_seconds_bucket{le="+Inf"}`} {
		if !strings.Contains(text, name) {
			t.Errorf("no metric %s", name)
		}
	}
}

// Envoy's sockets are open to a group, and the admin socket only to its owner, because
// it gives the rights of an administrator. The data is private with every umask.
func TestFileModes(t *testing.T) {
	usual := syscall.Umask(0o022)
	r := newRig(t, options{})
	syscall.Umask(usual)
	r.mint("kept")
	for socket, want := range map[string]os.FileMode{"a": 0o600, "g": 0o660, "h": 0o660} {
		info, err := os.Stat(filepath.Join(r.dir, socket))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got.Perm() != want || got.Type() != os.ModeSocket {
			t.Errorf("%s has mode %v, want %v", socket, got, want)
		}
	}
	files := 0
	err := filepath.WalkDir(filepath.Join(r.dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if files++; info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v", path, info.Mode())
		}
		return nil
	})
	if err != nil || files < 5 {
		t.Errorf("%d files in the data directory, %v", files, err)
	}
}

// Envoy's health check fails before the server stops.
func TestHealthOverGRPC(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	conn, err := grpc.NewClient("unix:"+r.dir+"/g", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), waitTime)
	defer cancel()
	watch, err := healthv1.NewHealthClient(conn).Watch(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want healthv1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		got, err := watch.Recv()
		if err != nil || got.GetStatus() != want {
			t.Fatalf("health is %v, %v; want %v", got.GetStatus(), err, want)
		}
	}
	expect(healthv1.HealthCheckResponse_SERVING)
	r.gate.signal(syscall.SIGTERM)
	expect(healthv1.HealthCheckResponse_NOT_SERVING)
	for path, want := range map[string]int{"/readyz": 503, "/readyz?for=tokens": 503, "/healthz": 200} {
		if got, body := r.probe(path); got != want {
			t.Errorf("%s while shutting down: %d %s", path, got, body)
		}
	}
	cancel() // an open stream would hold the graceful stop up to its bound
	<-r.gate.done
	if r.gate.err != nil {
		t.Errorf("tokengate ended with %v", r.gate.err)
	}
}

// A bad configuration is refused at the start, with a message that says what to do, and
// an exit code.
func TestStartIsRefused(t *testing.T) {
	t.Parallel()
	dir := envoytest.Dir(t)
	if err := os.WriteFile(dir+"/file", []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := func(data string) string {
		return "publicURL: http://localhost\nlisten:\n  grpc: unix://" + dir + "/g2\n  http: unix://" + dir + "/h2\n  admin: unix://" + dir + "/a2\n  metrics: unix://" + dir + "/m2\nstore: {badger: {dir: " + data + "}}\n"
	}
	r := newRig(t, options{})
	for name, c := range map[string]struct {
		args   []string
		config string
		code   int
		says   string
	}{
		"no file":               {[]string{"serve", "--config", dir + "/none"}, "", 1, "no such file"},
		"no flag":               {[]string{"serve"}, "", 2, "--config"},
		"unknown flag":          {[]string{"serve", "--frob"}, "", 2, "--frob"},
		"unknown command":       {[]string{"frob"}, "", 2, "frob"},
		"unknown subcommand":    {[]string{"token", "frob"}, "", 2, "frob"},
		"too many arguments":    {[]string{"version", "x"}, "", 2, "x"},
		"too few arguments":     {[]string{"config", "check"}, "", 2, "accepts 1 arg"},
		"malformed":             {nil, "publicURL: [", 1, "c.yaml:1:"},
		"unknown key":           {nil, base(dir+"/d") + "frob: 1\n", 1, "frob: unknown key"},
		"socket path too long":  {nil, strings.Replace(base(dir+"/d"), "/g2", "/"+strings.Repeat("x", 110), 1), 1, "listen.grpc"},
		"socket in no folder":   {nil, strings.Replace(base(dir+"/d"), "/m2", "/none/m2", 1), 1, "listen on unix://" + dir + "/none/m2"},
		"socket is a file":      {nil, strings.Replace(base(dir+"/d"), "/g2", "/file", 1), 1, "not a socket"},
		"data in use":           {nil, base(r.dir + "/data"), 1, "in use by another process"},
		"data is a file":        {nil, base(r.config), 1, r.config},
		"data cannot be made":   {nil, base(r.config + "/data"), 1, r.config},
		"directory unsupported": {nil, base(dir+"/d") + "directory: ldap\n", 1, "directory"},
	} {
		t.Run(name, func(t *testing.T) {
			args := c.args
			if args == nil {
				file := filepath.Join(t.TempDir(), "c.yaml")
				if err := os.WriteFile(file, []byte(c.config), 0o600); err != nil {
					t.Fatal(err)
				}
				args = []string{"serve", "--config", file}
			}
			p := start(t, args...)
			if got := p.exitCode(); got != c.code || !strings.Contains(p.log.String(), c.says) {
				t.Errorf("exit %d, want %d; it says\n%s\nwhich lacks %q", got, c.code, p.log, c.says)
			}
			if strings.Contains(p.log.String(), "panic") {
				t.Error("it panicked")
			}
		})
	}
	if got := read(t, dir+"/file"); got != "kept" {
		t.Errorf("the file in a socket's place holds %q", got)
	}
}

// A second server on the same configuration is refused before it has touched
// anything of the first one's.
func TestSecondServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	value := r.mint("first")
	second := start(t, "serve", "--config", r.config)
	if code := second.exitCode(); code != 1 || !strings.Contains(second.log.String(), "in use by another process") {
		t.Errorf("exit %d: %s", code, second.log)
	}
	r.jira.Reset()
	if got := r.send(request{auth: bearer(value)}); got.status != 200 {
		t.Errorf("listen.grpc: %d", got.status)
	}
	if got := r.send(request{path: "/rest/api-tokens/latest/"}); got.status != 401 || got.header.Get("Content-Type") != "application/json;charset=UTF-8" {
		t.Errorf("listen.http: %d %s", got.status, got.body)
	}
	if out, _ := r.run("token", "list"); !strings.Contains(out, value.ID().String()) {
		t.Errorf("listen.admin: %s", out)
	}
	if !r.hasMetric(`tokengate_decisions_total{outcome="allowed",reason="allowed"} 1`) {
		t.Error("listen.metrics: the decision is not counted")
	}
}

// A server with few tokens collects less often than Go's default would, and
// leaves what the environment says alone.
func TestCollectorFits(t *testing.T) {
	r := newRig(t, options{})
	_, figures := r.probe("/metrics")
	if strings.Contains(figures, "\ngo_gc_gogc_percent 100\n") || !strings.Contains(figures, "\ngo_gc_gogc_percent ") {
		t.Error("the garbage collector is Go's default")
	}

	t.Setenv("GOGC", "55")
	t.Setenv("GOMEMLIMIT", "777MiB")
	r = newRig(t, options{})
	for _, line := range []string{"go_gc_gogc_percent 55", "go_gc_gomemlimit_bytes 8.14743552e+08"} {
		if !r.hasMetric(line) {
			t.Errorf("no metric %s", line)
		}
	}
}
