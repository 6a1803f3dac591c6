package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// A client that openapi-python-client generates from the description that is
// served leads a token through its life.
func TestGeneratedPython(t *testing.T) {
	x := newSite(t)
	bot, _ := x.create("--management", "--name", "bot", "--expires", "1d", "--ip", "10.0.0.0/8")
	dir := t.TempDir()
	succeed(t, python(t.Context(), t, "generate", "-m", "openapi_python_client", "generate", "--fail-on-warning",
		"--path", x.description(bot), "--output-path", filepath.Join(dir, "generated"), "--meta", "none"))
	cmd := python(t.Context(), t, "generate", "cmd/demo/testdata/generated/life.py")
	cmd.Env = append(cmd.Env, "JIRA="+x.url, "BOT="+bot, "WILMA="+wilma, "BETTY="+betty)
	for i, v := range cmd.Env {
		if path, ok := strings.CutPrefix(v, "PYTHONPATH="); ok {
			cmd.Env[i] = "PYTHONPATH=" + dir + ":" + path
		}
	}
	lived(t, succeed(t, cmd))
}

// lived checks what a program prints that leads a token through its life.
func lived(t *testing.T, out string) {
	t.Helper()
	const want = "create list change rotate revoke approve refused"
	if got := strings.Join(strings.Fields(out), " "); got != want {
		t.Errorf("it printed %q, not %q", got, want)
	}
}
