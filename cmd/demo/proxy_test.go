package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The README's snippets work in the real programs with TLS: the scenario, client
// addresses, health checks and uploads.
func TestProxies(t *testing.T) {
	t.Chdir("../..")
	for _, tt := range []struct{ name, language, without string }{
		{"nginx", "nginx", ""},
		{"nginx over HTTP/1.0", "nginx", "proxy_http_version 1.1;"},
		{"haproxy", "haproxy", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testProxy(t, tt.language, strings.Replace(snippet(t, tt.language), tt.without, "", 1))
		})
	}
}

func testProxy(t *testing.T, program, snippet string) {
	ctx := t.Context()
	proxy, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s, err := setUp(ctx, &out, proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer s.tearDown()
	startProxy(t, program, snippet, proxy, s.listen)
	wait(t, s.url+healthPath, http.StatusOK)
	s.jira.Reset() // forget tokengate's own requests
	wait(t, s.url+healthPath, http.StatusOK)
	for _, r := range s.jira.Requests() {
		if r.User != serviceUser {
			t.Error("Jira received the health check")
		}
	}

	connect(t, s)
	_, value, err := s.createToken(ctx, "fred", "--name", "network", "--ip", "127.9.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	const myself = "/rest/api/2/myself"
	forged := map[string]string{"X-Forwarded-For": "127.9.8.7"}
	if n := s.runSteps(ctx, value, []step{
		{title: "the client's own network", path: myself, from: "127.9.8.7", status: 200, seen: "fred"},
		{title: "another network", path: myself, from: "127.7.7.7", status: 403, logged: "request denied: network_not_allowed"},
		{title: "the proxy's network", path: myself, status: 403, logged: "request denied: network_not_allowed"},
		{title: "a client with a forged address", path: myself, from: "127.7.7.7", header: forged, status: 403, logged: "request denied: network_not_allowed"},
		{title: "a client behind a proxy of its own", path: myself, from: "127.9.8.7", header: map[string]string{"X-Forwarded-For": "unknown, 10.0.0.1"}, status: 200, seen: "fred"},
	}); n > 0 {
		t.Errorf("%d steps failed:\n%s", n, &out)
	}

	if _, value, err = s.createToken(ctx, "fred", "--name", "upload"); err != nil {
		t.Fatal(err)
	}
	upload := step{method: "POST", path: "/rest/api/2/issue/DEMO-1/attachments", body: strings.Repeat("x", 30<<20), header: map[string]string{"X-Atlassian-Token": "no-check"}}
	r, err := upload.request(ctx, s.url, value)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := http.DefaultClient.Do(r); err != nil {
		t.Error("upload:", err)
	} else if response.Body.Close(); response.StatusCode != http.StatusOK {
		t.Errorf("upload: status is %d, want 200", response.StatusCode)
	}

	if err := runScenario(ctx, s); err != nil {
		t.Errorf("%v:\n%s", err, &out)
	}

	// Without tokengate the health check fails, at Envoy and at the proxy.
	if err := s.tokengate.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = s.tokengate.Wait()
	s.tokengate = nil
	wait(t, "http://"+s.listen+healthPath, http.StatusServiceUnavailable)
	wait(t, s.url+healthPath, http.StatusServiceUnavailable)
}

// connect connects fred without a token.
func connect(t *testing.T, s *environment) {
	t.Helper()
	if _, err := s.request(t.Context(), userRequest{"fred connects", "fred", fred, http.MethodPost, api + "connection", "{}", http.StatusNoContent, ""}); err != nil {
		t.Fatal(err)
	}
}

// Envoy accepts HTTP/1.0.
func TestHTTP10(t *testing.T) {
	t.Chdir("../..")
	var out bytes.Buffer
	s, err := setUp(t.Context(), &out, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.tearDown()
	_, value, err := s.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wait(t, s.url+healthPath, http.StatusOK)
	bearer := "Authorization: Bearer " + value + "\r\n"
	for _, tt := range []struct {
		name, path, header string
		status             int
	}{
		{"health", healthPath, "", 200},
		{"path below the health check", healthPath + "/x", "", 404},
		{"page", "/plugins/servlet/api-tokens", "", 303},
		{"allowed", "/rest/api/2/myself", bearer, 200},
		{"refused", "/rest/api/2/myself", "Authorization: Bearer tgate_x\r\n", 401},
		{"anonymous", "/rest/api/2/serverInfo", "", 200},
		{"API", api, bearer, 403},
	} {
		for _, host := range []string{"", "Host: " + s.listen + "\r\n"} {
			for _, connection := range []string{"keep-alive", "close"} {
				conn, err := net.Dial("tcp", s.listen)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				reader := bufio.NewReader(conn)
				for range 2 { // the second on the same connection
					fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n%s%sConnection: %s\r\n\r\n", tt.path, host, tt.header, connection)
					response, err := http.ReadResponse(reader, nil)
					if err != nil {
						t.Errorf("%s, %q, %s: %v", tt.name, host, connection, err)
						break
					}
					var body bytes.Buffer
					_, _ = body.ReadFrom(response.Body)
					if response.StatusCode != tt.status {
						t.Errorf("%s, %q, %s: status is %d, want %d", tt.name, host, connection, response.StatusCode, tt.status)
					}
					// Envoy's own answer has no length, so it closes the connection.
					if response.Close != (connection == "close" || tt.path == healthPath) {
						t.Errorf("%s, %q, %s: closed %v", tt.name, host, connection, response.Close)
					}
					if response.Close {
						break
					}
				}
			}
		}
	}
}

// snippet returns the README's code block in a language.
func snippet(t *testing.T, language string) string {
	t.Helper()
	readme, err := os.ReadFile("envoy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(readme), "```"+language+"\n")
	text, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatalf("README.md has no snippet for %s", language)
	}
	return text
}

// startProxy runs nginx or haproxy with a snippet until the test ends, and makes
// http.DefaultTransport trust its certificate.
func startProxy(t *testing.T, program, snippet, listen, envoy string) {
	t.Helper()
	// httptest has a certificate for 127.0.0.1 and a client that trusts it.
	server := httptest.NewTLSServer(nil)
	t.Cleanup(server.Close)
	before := http.DefaultTransport
	http.DefaultTransport = server.Client().Transport
	t.Cleanup(func() { http.DefaultTransport = before })
	pair := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	file, config := filepath.Join(dir, "both.pem"), filepath.Join(dir, "proxy.conf")
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("listen 443", "listen "+listen, "bind :443", "bind "+listen, "127.0.0.1:10000", envoy,
		"/etc/ssl/jira.crt", file, "/etc/ssl/jira.key", file, "/etc/haproxy/jira.pem", file).Replace(snippet)
	args := []string{"-db", "-f", config}
	if program == "nginx" {
		args = []string{"-p", dir, "-c", config, "-e", "stderr"}
		head := "daemon off; master_process off; pid nginx.pid; events {}\nhttp { access_log off;\n"
		for _, module := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			head += module + "_temp_path " + module + ";\n"
		}
		text = head + text + "}\n"
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath(program)
	if err != nil {
		path = "/usr/sbin/" + program // not in every user's PATH on Debian
	}
	var log bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; run make proxies", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", program, &log)
		}
	})
}

// wait repeats a request until it has the expected status.
func wait(t *testing.T, url string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	for last := "nothing"; ; {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := http.DefaultClient.Do(r); err != nil {
			last = err.Error()
		} else if response.Body.Close(); response.StatusCode == status {
			return
		} else {
			last = response.Status
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: want %d, got %s", url, status, last)
		}
	}
}
