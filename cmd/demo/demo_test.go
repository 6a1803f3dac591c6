package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/token"
)

// The whole scenario succeeds with a real Envoy.
func TestDemo(t *testing.T) {
	t.Chdir("../..")
	ctx := context.Background()
	var out bytes.Buffer
	s, err := setUp(ctx, &out, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.tearDown()
	if err := runScenario(ctx, s); err != nil {
		t.Errorf("%v:\n%s", err, &out)
	}
	// Twelve digits, a colon and more, in base64.
	pat := regexp.MustCompile(`[MNO][0-9A-Za-z+/]{15}O[g-v][0-9A-Za-z+/]{24}`)
	if !pat.MatchString(robotsPAT) {
		t.Error("a personal access token has another form")
	}
	for name, text := range map[string]string{"the demo": out.String(), "Envoy's log": s.envoy.Log(), "Envoy's access log": s.envoy.Output()} {
		if token.Contains(text) || pat.MatchString(text) {
			t.Errorf("%s shows a token", name)
		}
	}
	for _, part := range []string{`curl -s -u "fred:$TOKEN"`, "fred authenticated via API Token (", "All steps succeeded."} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the demo does not show %s", part)
		}
	}
	for file, mode := range map[string]os.FileMode{"token": 0o600, "seal-key": 0o400} {
		if info, err := os.Stat(filepath.Join(s.dir, file)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("the file %s: %v, %v", file, info, err)
		}
	}

	// A failing step is reported.
	out.Reset()
	wrong := []step{
		{title: "wrong status", path: "/rest/api/2/serverInfo", header: map[string]string{"Authorization": ""}, status: 403, seen: "anonymous"},
		{title: "wrong user", path: "/rest/api/2/serverInfo", header: map[string]string{"Authorization": ""}, status: 200, seen: "admin"},
	}
	if n := s.runSteps(ctx, "tgate_x", wrong); n != len(wrong) {
		t.Errorf("%d of %d failing steps were reported:\n%s", n, len(wrong), &out)
	}
	s.printHints()
	if !strings.Contains(out.String(), s.socket) {
		t.Error("the hints do not name the admin socket")
	}
}

// TestDemoCluster runs the scenario of make demo-cluster.
func TestDemoCluster(t *testing.T) {
	t.Chdir("../..")
	var out bytes.Buffer
	if err := runCluster(t.Context(), &out, ".tools/etcd"); err != nil {
		t.Errorf("%v:\n%s", err, token.Redact(out.String()))
	}
	for _, part := range []string{"It works at the second", "kill -9", "All steps succeeded."} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the demo does not show %s", part)
		}
	}
	if token.Contains(out.String()) {
		t.Error("the demo shows a token")
	}
}

// TestMain builds tokengate once for all tests.
func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "demo")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "tokengate")
	if out, err := exec.Command("go", "build", "-o", program, "../tokengate").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build tokengate: %v: %s\n", err, out)
		return 1
	}
	return m.Run()
}
