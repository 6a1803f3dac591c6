//go:build long

package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Generated clients in other languages take a token through its life cycle.
func TestGenerated(t *testing.T) {
	x := newSite(t)
	bot, _ := x.create("--management", "--name", "bot", "--expires", "1d", "--ip", "10.0.0.0/8")
	description := x.description(bot)
	environment := []string{"JIRA=" + x.url, "BOT=" + bot, "WILMA=" + wilma, "BETTY=" + betty}
	t.Run("openapi-typescript", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "client")
		// Node looks for modules beside a program.
		succeed(t, exec.CommandContext(t.Context(), "cp", "-r", ".tools/typescript", dir))
		copyFile(t, "cmd/demo/testdata/generated/life.ts", filepath.Join(dir, "life.ts"))
		run := func(program string, args ...string) string {
			cmd := tool(t.Context(), t, ".tools/typescript", program, args...)
			cmd.Dir, cmd.Env = dir, append(cmd.Env, environment...)
			return succeed(t, cmd)
		}
		run("node_modules/.bin/openapi-typescript", description, "-o", "api.d.ts")
		run("node_modules/.bin/tsc", "--strict", "--target", "es2022", "--module", "nodenext", "--types", "node", "life.ts")
		checkLifeCycle(t, run("node", "life.js"))
	})
	t.Run("openapi-generator", func(t *testing.T) {
		dir := t.TempDir()
		generate := tool(t.Context(), t, ".tools/openapi-generator.jar", "java", "-jar", ".tools/openapi-generator.jar", "generate",
			"-i", description, "-g", "go", "-o", filepath.Join(dir, "client"),
			// The client must accept fields of later versions.
			"--additional-properties", "packageName=client,withGoMod=false,disallowAdditionalPropertiesIfNotPresent=false",
			"--global-property", "models,apis,supportingFiles,modelDocs=false,apiDocs=false,modelTests=false,apiTests=false")
		succeed(t, generate)
		copyFile(t, "cmd/demo/testdata/generated/life.go.txt", filepath.Join(dir, "main.go"))
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module life\n\ngo 1.26\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "go", "run", ".")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), environment...)
		checkLifeCycle(t, succeed(t, cmd))
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// schemathesis checks that the server accepts exactly the requests that the
// description allows, and sends only answers that it describes. It uses the admin
// socket, which has no rate limit. That needs no credential, so the check of
// credentials is excluded.
func TestSchemathesis(t *testing.T) {
	x := newSite(t)
	x.create("--user", "fred", "--name", "number 1", "--expires", "1d") // the id that schemathesis tries first
	bot, _ := x.create("--management", "--name", "bot", "--expires", "1d", "--ip", "10.0.0.0/8")
	description := x.description(bot)
	socket := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "tokengate"}) },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", x.socket)
		}},
	})
	defer socket.Close()
	hooks, err := filepath.Abs("cmd/demo/testdata/generated")
	if err != nil {
		t.Fatal(err)
	}
	run := func(url string, args ...string) {
		t.Helper()
		cmd := python(t.Context(), t, "schemathesis", append([]string{"-m", "schemathesis.cli", "--config-file", filepath.Join(hooks, "schemathesis.toml"),
			"run", description, "--url", url + strings.TrimSuffix(api, "/"), "--generation-deterministic", "--no-color"}, args...)...)
		cmd.Env = append(cmd.Env, "SCHEMATHESIS_HOOKS=schemathesis_hooks")
		for i, v := range cmd.Env {
			if list, ok := strings.CutPrefix(v, "PYTHONPATH="); ok {
				cmd.Env[i] = "PYTHONPATH=" + list + ":" + hooks
			}
		}
		cmd.Dir = t.TempDir() // for its files
		t.Log(succeed(t, cmd))
	}
	run(socket.URL, "--max-examples", "30", "--max-time", "60", "--exclude-checks", "ignored_auth")
}
