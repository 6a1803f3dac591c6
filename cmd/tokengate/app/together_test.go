package app

import (
	"context"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/envoy/envoytest"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
)

// serverOf starts a server of the tokens in etcd, for the users of a Jira.
func serverOf(t *testing.T, etcd, jira string) http.RoundTripper {
	t.Helper()
	dir := envoytest.Dir(t)
	file := filepath.Join(dir, "tokengate.yaml")
	err := os.WriteFile(file, fmt.Appendf(nil, `publicURL: https://jira.example.com
listen: {grpc: "unix://%[1]s/g", http: "unix://%[1]s/h", admin: "unix://%[1]s/a", metrics: "unix://%[1]s/m"}
store: {etcd: {endpoints: ["%[2]s"]}}
upstream: {url: "%[3]s"}
clientAddress: {source: true}
`, dir, etcd, jira), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), file, Options{Log: io.Discard, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", dir+"/h") }}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return transport
}

// TestServersOfOneEtcd checks that a form made by one server is valid once at another, and that servers count wrong
// passwords together.
func TestServersOfOneEtcd(t *testing.T) {
	jira := jiratest.New(jiratest.Options{Users: []jiratest.User{{Name: "fred", Key: "K1", Password: "right", Active: true}}})
	upstream := httptest.NewServer(jira)
	t.Cleanup(upstream.Close)
	etcd := etcdtest.Start(t, etcdtest.Options{}).Endpoints()[0]
	a, b := serverOf(t, etcd, upstream.URL), serverOf(t, etcd, upstream.URL)

	// send sends a request with a header, and expects the status.
	send := func(at http.RoundTripper, name, value, path string, form url.Values, status int) (body string, headers http.Header) {
		t.Helper()
		method := http.MethodGet
		if form != nil {
			method = http.MethodPost
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://jira"+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(name, value)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "https://jira.example.com")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		answer, err := at.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != status {
			t.Fatalf("%s %s: %d, want %d: %s", method, path, answer.StatusCode, status, token.Redact(string(text)))
		}
		return string(text), answer.Header
	}
	login := func() string {
		t.Helper()
		answer, err := http.Post(upstream.URL+"/rest/auth/1/session", "application/json", strings.NewReader(`{"username":"fred","password":"right"}`))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		for _, c := range answer.Cookies() {
			if c.Name == "JSESSIONID" {
				return c.String()
			}
		}
		t.Fatal("Jira gave no session")
		return ""
	}
	password := func(at http.RoundTripper, password string, status int) {
		t.Helper()
		basic := base64.StdEncoding.EncodeToString([]byte("fred:" + password))
		send(at, "Authorization", "Basic "+basic, web.Bases[0]+"/me", nil, status)
	}

	hidden := regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`)
	fields := func(page string, more url.Values) url.Values {
		for _, m := range hidden.FindAllStringSubmatch(page, -1) {
			more.Set(m[1], html.UnescapeString(m[2]))
		}
		return more
	}
	session := login()
	page, _ := send(a, "Cookie", session, config.PagePath+"/new", nil, 200)
	form := fields(page, url.Values{"name": {"ci"}, "lifetime": {"30d"}})
	issued, _ := send(b, "Cookie", session, config.PagePath+"/new", form, 200)
	id := regexp.MustCompile(`tgate_(\w{12})`).FindStringSubmatch(issued)
	if id == nil {
		t.Fatalf("no token was issued: %s", issued)
	}
	var replays []string
	for _, at := range []http.RoundTripper{a, b} {
		replay, _ := send(at, "Cookie", session, config.PagePath+"/new", form, 409)
		replays = append(replays, regexp.MustCompile(`nonce="\w+"`).ReplaceAllString(replay, ""))
	}
	if replays[0] != replays[1] || !strings.Contains(replays[0], "It created or rotated the token "+id[1]) {
		t.Errorf("the form sent again, to two servers: %q", replays)
	}
	below := config.PagePath + "/token/" + id[1]
	page, _ = send(a, "Cookie", session, below+"/revoke", nil, 200)
	_, headers := send(b, "Cookie", session, below+"/revoke", fields(page, url.Values{}), 303)
	if page, _ = send(a, "Cookie", session, headers.Get("Location"), nil, 200); !strings.Contains(page, "“ci” was revoked.") {
		t.Errorf("the page after a form that another server has answered: %s", page)
	}

	old := login()
	send(a, "Cookie", old, web.Bases[0]+"/me", nil, 200)
	password(a, "wrong", 401)
	password(b, "wronger", 401)
	for _, at := range []http.RoundTripper{a, b} {
		password(at, "wrongest", 403)
		password(at, "right", 403)
	}
	send(b, "Cookie", old, web.Bases[0]+"/me", nil, 200)
	for _, at := range []http.RoundTripper{a, b} {
		password(at, "right", 403)
	}
	if n := jira.Failures("fred"); n != 2 {
		t.Errorf("Jira counts %d wrong passwords, want 2", n)
	}
	send(b, "Cookie", login(), web.Bases[0]+"/me", nil, 200)
	password(a, "right", 200)
}
