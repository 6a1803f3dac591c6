package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// The configuration in envoy's README serves an Envoy on another machine, which uses a
// renewed certificate without a restart. No other client gets anything.
func TestMutualTLS(t *testing.T) {
	const readme = "../../../envoy/README.md"
	authority, foreign := envoytest.NewAuthority(t), envoytest.NewAuthority(t)
	dir := envoytest.Dir(t)
	subdirectory := func(name string) string {
		path := dir + "/" + name
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	jira := jiratest.New(jiratest.Options{
		Leak:  func(where string) { t.Errorf("Jira received a token: %s", where) },
		Users: []jiratest.User{{Name: "fred", Password: "yabba", Active: true}},
	})
	upstream := httptest.NewServer(jira)
	t.Cleanup(upstream.Close)

	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, settings, _ := strings.Cut(string(text), "```yaml\nlisten:\n")
	settings, _, _ = strings.Cut(settings, "```")
	settings = "publicURL: http://jira.example.com\nupstream: {url: '" + upstream.URL + "'}\nstore: {badger: {dir: " + dir + "/data}}\n" +
		"listen:\n" + strings.ReplaceAll(settings, "/etc/tokengate/tls", mount(t, subdirectory("server"), authority)) +
		"  admin: unix://" + dir + "/a\n  metrics: unix://" + dir + "/m\n"
	if err := os.WriteFile(dir+"/tokengate.yaml", []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s, err := New(t.Context(), dir+"/tokengate.yaml", Options{Log: log, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if lines, err := os.ReadFile(log.Name()); err != nil || strings.Count(string(lines), "a TLS handshake failed") != 4 {
			t.Errorf("not one failed handshake of each listener is in the log: %s, %v", lines, err)
		}
	}()
	// Free ports, which the file cannot ask for.
	s.config.Listen.GRPC.Address.Address, s.config.Listen.HTTP.Address.Address = "127.0.0.1:0", "127.0.0.1:0"
	anyPort := config.Address{Network: "tcp", Address: "127.0.0.1:0"}
	s.config.Listen.Replicas = config.Replicas{GRPC: anyPort, HTTP: anyPort, Host: "localhost",
		TLS: config.ReplicasTLS{Certificate: dir + "/server/tls.crt", Key: dir + "/server/tls.key", CA: dir + "/server/ca.crt"}}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{"grpc", "http", "replicas.grpc", "replicas.http"} {
		address := s.Addr(name).String()
		for client, test := range map[string]struct {
			change func(*tls.Config)
			good   bool
		}{
			"with a certificate":          {func(*tls.Config) {}, true},
			"without one":                 {func(c *tls.Config) { c.GetClientCertificate = nil }, false},
			"of another authority":        {func(c *tls.Config) { c.GetClientCertificate = foreign.Client("").GetClientCertificate }, false},
			"of an old version":           {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, false},
			"that expects another server": {func(c *tls.Config) { c.ServerName = "jira" }, false},
		} {
			secure := authority.Client("localhost")
			test.change(secure)
			if strings.HasSuffix(name, "http") {
				secure.NextProtos = nil // as a client that knows of none
			}
			if err := speak(address, secure); (err == nil) != test.good {
				t.Errorf("%s: a client %s: error %v", name, client, err)
			}
		}
		if err := speak(address, nil); err == nil {
			t.Errorf("%s: plaintext is accepted", name)
		}
	}

	// A signal and the watch use renewed certificates.
	for _, reload := range []func(){s.Reload, func() { s.reloads.check(); s.reloads.check() }} {
		var before []*tls.Config
		for _, c := range s.reloads.certificates {
			before = append(before, c.current.Load())
		}
		mount(t, dir+"/server", authority)
		reload()
		for i, c := range s.reloads.certificates {
			if c.current.Load() == before[i] {
				t.Errorf("listener %d of %d has its previous certificate", i, len(before))
			}
		}
	}

	value := create(t, dir+"/a")
	// Envoy begins with the certificate of another authority.
	clients := mount(t, subdirectory("client"), foreign)
	if err := errors.Join(os.Remove(clients+"/ca.crt"), os.Symlink(dir+"/server/ca.crt", clients+"/ca.crt")); err != nil {
		t.Fatal(err)
	}
	envoytest.Secrets(t, readme, dir, clients)
	c := s.config
	c.Listen.Replicas = config.Replicas{}
	c.Listen.GRPC.Address.Address, c.Listen.HTTP.Address.Address = s.Addr("grpc").String(), s.Addr("http").String()
	var bootstrap bytes.Buffer
	if err := envoy.Bootstrap(&bootstrap, c, envoy.BootstrapOptions{
		Listen: "127.0.0.1:0", AdminSocket: dir + "/e", Host: "localhost", Secrets: dir,
	}); err != nil {
		t.Fatal(err)
	}
	proxy := envoytest.Start(t, bootstrap.Bytes())
	get := func(path, authorization string) (int, string) {
		t.Helper()
		return send(t, http.DefaultTransport, http.MethodGet, proxy.URL+path, "", http.Header{"Authorization": {authorization}})
	}
	if status, body := get("/rest/api/2/myself", "Bearer "+value); status != http.StatusServiceUnavailable {
		t.Errorf("Envoy with the certificate of another authority: %d %s", status, body)
	}
	mount(t, clients, authority)
	for end := time.Now().Add(waitTime); ; {
		if status, body := get("/rest/api/2/myself", "Bearer "+value); status == http.StatusOK && strings.Contains(body, `"fred"`) {
			break
		} else if time.Now().After(end) {
			t.Fatalf("Envoy after a renewal of its certificate: %d %s\n%s", status, body, proxy.Log())
		}
	}
	for _, test := range []struct {
		path, authorization string
		status              int
		body                string
	}{
		{"/rest/api/2/myself", "Bearer " + value + "x", http.StatusUnauthorized, "API token"},
		{"/rest/api-tokens/latest", "Basic ZnJlZDp5YWJiYQ==", http.StatusOK, `"label":"test"`},
		{"/plugins/servlet/api-tokens", "Basic ZnJlZDp5YWJiYQ==", http.StatusOK, "My API tokens"},
	} {
		if status, body := get(test.path, test.authorization); status != test.status || !strings.Contains(body, test.body) {
			t.Errorf("%s: %d %s", test.path, status, body)
		}
	}

	// Other authorities end the connections of clients of the previous ones.
	conn, err := tls.Dial("tcp", s.Addr("http").String(), authority.Client("localhost"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	mount(t, dir+"/server", foreign)
	s.Reload()
	// Before the server's own timeout.
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection of a client whose authority was replaced: %v", err)
	}
}

// speak sends an HTTP request over TLS, or over plain TCP without a configuration, and
// waits for any answer.
func speak(address string, config *tls.Config) error {
	deadline := time.Now().Add(waitTime)
	conn, err := net.DialTimeout("tcp", address, waitTime)
	if err != nil {
		return err
	}
	defer conn.Close()
	if config != nil {
		conn = tls.Client(conn, config)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// create returns the value of a new token of fred's.
func create(t *testing.T, socket string) string {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	status, body := send(t, transport, http.MethodPost, "http://tokengate"+web.Bases[0],
		`{"user":"fred","label":"test"}`, http.Header{"Content-Type": {"application/json"}})
	var issued web.IssuedToken
	if err := json.Unmarshal([]byte(body), &issued); err != nil || issued.PasswordValue == "" {
		t.Fatalf("create: %d %v", status, err) // the body could hold the value
	}
	return issued.PasswordValue
}

// send sends a request and returns status and body of the response, of which it follows
// no redirect.
func send(t *testing.T, through http.RoundTripper, method, url, body string, header http.Header) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	response, err := through.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}
