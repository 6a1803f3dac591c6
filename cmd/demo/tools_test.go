package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/tokengate/tokengate/authz/token"
)

// site is the demo's environment behind a load balancer that sets the client's
// address. At the end its output is searched for tokens.
type site struct {
	*environment
	t      *testing.T
	config string                 // tokengate's configuration
	from   atomic.Pointer[string] // the client's address
}

// outside is in none of the tests' networks, inside is in one.
const outside, inside = "203.0.113.7", "10.1.2.3"

func newSite(t *testing.T) *site {
	t.Helper()
	t.Chdir("../..")
	var out bytes.Buffer
	balancer := httptest.NewUnstartedServer(nil)
	s, err := setUp(t.Context(), &out, balancer.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	x := &site{environment: s, t: t, config: filepath.Join(s.dir, "tokengate.yaml")}
	x.moveTo(inside)
	t.Cleanup(func() {
		text := s.envoy.Log() + s.envoy.Output() + out.String()
		s.tearDown()
		if token.Contains(text) {
			t.Error("a log or the demo's output shows a token")
		}
	})
	balancer.Config.Handler = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: s.listen})
		r.Out.Host = r.In.Host
		r.Out.Header.Set("X-Forwarded-For", *x.from.Load())
	}}
	balancer.Start()
	t.Cleanup(balancer.Close)
	s.url = balancer.URL
	connect(t, s)
	return x
}

// moveTo sets the clients' address.
func (x *site) moveTo(address string) { x.from.Store(&address) }

// create creates a token and returns its value and id.
func (x *site) create(args ...string) (value, id string) {
	x.t.Helper()
	out, err := x.command(x.t.Context(), append([]string{"token", "create"}, args...)...)
	if err != nil {
		x.t.Fatal(err)
	}
	v, err := token.Parse(strings.TrimSpace(out))
	if err != nil {
		x.t.Fatal(err)
	}
	return v.Reveal(), v.ID().String()
}

// reconfigure adds lines to tokengate's configuration and reloads it.
func (x *site) reconfigure(lines string) {
	x.t.Helper()
	before, err := os.ReadFile(x.config)
	if err != nil {
		x.t.Fatal(err)
	}
	if err := os.WriteFile(x.config, append(before, lines...), 0o600); err != nil {
		x.t.Fatal(err)
	}
	if err := x.tokengate.Process.Signal(syscall.SIGHUP); err != nil {
		x.t.Fatal(err)
	}
	if _, err := x.log.wait(x.t.Context(), func(line string) bool { return strings.Contains(line, "the configuration file was reloaded") }); err != nil {
		x.t.Fatal(err)
	}
}

// get sends a GET with a Bearer credential and returns the body.
func (x *site) get(path, bearer string) (body []byte) {
	x.t.Helper()
	r, err := http.NewRequestWithContext(x.t.Context(), http.MethodGet, x.url+path, nil)
	if err != nil {
		x.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		x.t.Fatal(err)
	}
	defer response.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(response.Body); err != nil || response.StatusCode != http.StatusOK {
		x.t.Fatalf("GET %s: %d %v: %s", path, response.StatusCode, err, &b)
	}
	return b.Bytes()
}

// description writes the served OpenAPI description to a file.
func (x *site) description(credential string) (file string) {
	x.t.Helper()
	file = filepath.Join(x.t.TempDir(), "openapi.json")
	if err := os.WriteFile(file, x.get(api+"openapi.json", credential), 0o600); err != nil {
		x.t.Fatal(err)
	}
	return file
}

// python returns a Python command with the packages of a list in
// testdata/tools/python.
func python(ctx context.Context, t *testing.T, list string, args ...string) *exec.Cmd {
	t.Helper()
	return tool(ctx, t, ".tools/python/"+list, "python3", args...)
}

// tool returns a command that needs a file or directory from make tools-long.
func tool(ctx context.Context, t *testing.T, needs, program string, args ...string) *exec.Cmd {
	t.Helper()
	needs, err := filepath.Abs(needs)
	if err == nil {
		_, err = os.Stat(needs)
	}
	if err != nil {
		t.Fatalf("%v; run make tools-long", err)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+needs, "PYTHONDONTWRITEBYTECODE=1", "PYTHONNOUSERSITE=1",
		"PATH="+filepath.Join(needs, "bin")+":"+os.Getenv("PATH"), "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	return cmd
}

// succeed runs a command that must succeed, and returns its output.
func succeed(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v:\n%s", strings.Join(cmd.Args[:2], " "), err, token.Redact(string(out)))
	}
	if token.Contains(string(out)) {
		t.Errorf("the output of %s contains a token", cmd.Args[0])
	}
	return string(out)
}
