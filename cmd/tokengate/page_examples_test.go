package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/config"
)

// The example programs that a page shows with a new token run as its owner. Those whose
// interpreter or compiler is not installed are skipped.
func TestPageExamples(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, withoutProxy(t))
	b := c.person("alice")
	k := b.createByPage("examples", nil)
	titles := eval[[]string](b, `[...document.querySelectorAll("h3")].map(e => e.textContent)`)
	programs := map[string]string{}
	for i, code := range eval[[]string](b, `[...document.querySelectorAll("pre code")].map(e => e.textContent)`) {
		programs[titles[i]] = code
	}
	// Only browsers resolve pageOrigin.
	local := func(code string) string { return strings.ReplaceAll(code, pageOrigin, c.envoy.URL) }
	outside := func(file, check string, run ...string) func(t *testing.T, code string) string {
		return func(t *testing.T, code string) string {
			t.Helper()
			if exec.CommandContext(t.Context(), "sh", "-c", check).Run() != nil {
				t.Skipf("%s is not installed", run[0])
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, file), []byte(local(code)), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), run[0], run[1:]...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "TOKEN="+k.PasswordValue, "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			return string(out)
		}
	}
	// Scripts for browsers run in a page of Jira.
	inside := func(before string) func(t *testing.T, code string) string {
		return func(t *testing.T, code string) string {
			t.Helper()
			b.open("/secure/Dashboard.jspa")
			script := before + "\n;new Promise((done, failed) => { const console = {log: done}; const token = " + quote(k.PasswordValue) + "; (async () => {" + code + "})().catch(failed); setTimeout(() => failed(new Error('late')), 10000) })"
			return eval[string](b, script)
		}
	}
	jquery, err := os.ReadFile("../../.tools/jquery.js")
	if err != nil {
		t.Fatalf("run `make tools`: %v", err)
	}
	curl := outside("example.sh", "command -v curl", "sh", "example.sh")
	runners := map[string]func(*testing.T, string) string{
		"curl, in place of the password": curl,
		"curl, as Bearer":                curl,
		"Python":                         outside("example.py", "python3 -c 'import requests'", "python3", "example.py"),
		"Java":                           outside("Myself.java", "javac --version", "java", "Myself.java"),
		"JavaScript: fetch":              inside(""),
		"JavaScript: XMLHttpRequest":     inside(""),
		"JavaScript: jQuery":             inside(string(jquery)),
	}
	if len(programs) != len(runners) {
		t.Errorf("the page has examples for %v", titles)
	}
	for title, run := range runners {
		t.Run(title, func(t *testing.T) {
			if programs[title] == "" {
				t.Fatal("the page has no such example")
			}
			if output := run(t, programs[title]); !strings.Contains(output, "alice") {
				t.Errorf("its output is %q", output)
			} else if found := findSecret(t, output); found != "" {
				t.Errorf("it printed %s", found)
			}
		})
	}
	b.open(config.PagePath)
	if got := b.cell(k.ID, "Uses"); got == "0" {
		t.Error("the token has no uses")
	}
}
