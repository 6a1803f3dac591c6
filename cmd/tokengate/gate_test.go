package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/token"
)

// TestMain lets the tests run this binary as tokengate itself.
func TestMain(m *testing.M) {
	if os.Getenv("TOKENGATE_TEST_MAIN") != "" {
		if dir := os.Getenv(smallDiskVariable); dir != "" {
			mountSmallDisk(dir)
		}
		main()
	}
	code := m.Run()
	if err := endChromiums(); err != nil {
		fmt.Fprintln(os.Stderr, "end Chromium:", err)
		code = 1
	}
	os.Exit(code)
}

// Each status of the decision table, through a real Envoy, and what Jira
// received.
func TestDecisionsThroughEnvoy(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{settings: func(yaml string) string {
		return withoutKey(t, yaml, "network") + "\nnetwork: {deny: [198.51.100.0/24]}\nbearer: {other: refuse}\n"
	}})
	plain := r.mint("plain")
	reader := r.mint("reader", "--read-only")
	office := r.mint("office", "--ip", "10.1.0.0/16", "--ip", "2001:db8::/32")
	revoked := r.mint("revoked")
	r.run("token", "revoke", revoked.ID().String())
	unknown, err := token.Mint(token.Ordinary, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	remember(t, unknown.Reveal())

	for i, c := range []struct {
		name   string
		q      request
		status int
		reason string
		user   string // that Jira saw, if it received the request
	}{
		{"anonymous", request{path: "/rest/api/2/serverInfo"}, 200, "no_credential", ""},
		{"password", request{auth: basic("fred", "yabba")}, 200, "password", "Fred"},
		{"Basic", request{auth: basic("fRED", plain.Reveal())}, 200, "allowed", "Fred"},
		{"Bearer", request{auth: bearer(plain)}, 200, "allowed", "Fred"},
		{"write", request{auth: bearer(plain), method: "POST", path: "/rest/api/2/issue", body: strings.NewReader(`{"fields":{"summary":"x"}}`)}, 201, "allowed", "Fred"},
		{"read-only search", request{auth: bearer(reader), method: "POST", path: "/rest/api/2/search", body: strings.NewReader(`{}`)}, 200, "allowed", "Fred"},
		{"from the office", request{auth: bearer(office), from: "2001:db8::7"}, 200, "allowed", "Fred"},
		{"ambiguous", request{auth: bearer(plain), path: "/rest;x/api/2/myself"}, 400, "ambiguous_path", ""},
		{"malformed credential", request{auth: "Basic !"}, 401, "malformed_credential", ""},
		{"malformed token", request{auth: bearer(plain) + "x"}, 401, "malformed_token", ""},
		{"unknown", request{auth: bearer(unknown)}, 401, "unknown_token", ""},
		{"revoked", request{auth: bearer(revoked)}, 401, "unknown_token", ""},
		{"wrong user", request{auth: basic("admin", plain.Reveal())}, 401, "wrong_user", ""},
		{"foreign Bearer", request{auth: "Bearer MDEyMzQ1Njc4OTo"}, 401, "other_bearer", ""},
		{"no network for tokens", request{auth: bearer(plain), from: "198.51.100.9"}, 403, "network_denied", ""},
		{"not the token's network", request{auth: bearer(office), from: "10.2.0.1"}, 403, "network_not_allowed", ""},
		{"management path", request{auth: bearer(plain), path: "/rest/api-tokens/latest/"}, 403, "wrong_token_type", ""},
		{"outside REST", request{auth: bearer(plain), path: "/secure/Dashboard.jspa"}, 403, "path_not_allowed", ""},
		{"escape hatch", request{auth: bearer(plain), path: "/rest/pat/latest/tokens"}, 403, "endpoint_forbidden", ""},
		{"TRACE", request{auth: bearer(plain), method: "TRACE"}, 403, "endpoint_forbidden", ""},
		{"read-only write", request{auth: bearer(reader), method: "POST", path: "/rest/api/2/issue"}, 403, "read_only", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.jira.Reset()
			c.q.header = http.Header{"Cookie": {"JSESSIONID=0123456789ABCDEF"}}
			got := r.send(c.q)
			if got.status != c.status {
				t.Fatalf("status %d, want %d: %s", got.status, c.status, got.body)
			}
			entry := r.logged(i)
			if entry["reason"] != c.reason {
				t.Errorf("Envoy logged reason %v, want %s", entry["reason"], c.reason)
			}
			if c.status >= 400 {
				checkDenial(t, c.q.auth, got)
				if n := r.jira.Total(); n != 0 {
					t.Errorf("Jira heard %d requests", n)
				}
				return
			}
			seen := r.seen()
			if seen.User != c.user {
				t.Errorf("Jira saw %q, want %q", seen.User, c.user)
			}
			cookies := got.header.Values("Set-Cookie")
			if c.reason != "allowed" {
				if seen.Header.Get("Cookie") == "" || seen.Header.Get("X-Forwarded-User") != "" {
					t.Errorf("a request without a token reached Jira changed: %v", seen.Header)
				}
				return
			}
			if entry["user"] != "Fred" || entry["token_id"] == "" {
				t.Errorf("Envoy logged user %v, token %v", entry["user"], entry["token_id"])
			}
			if seen.How != jiratest.ByHeader || seen.Header.Get("X-Forwarded-User") != "Fred" {
				t.Errorf("Jira knew the user by %s, the identity header is %q", seen.How, seen.Header.Get("X-Forwarded-User"))
			}
			for name := range seen.Header {
				if name == "Authorization" || name == "Cookie" || strings.HasPrefix(name, "X-Tokengate-") {
					t.Errorf("Jira received %s", name)
				}
			}
			if len(cookies) != 0 {
				t.Errorf("the client received cookies")
			}
		})
	}
	for _, user := range []string{"fred", "admin"} {
		if n := r.jira.Failures(user); n != 0 {
			t.Errorf("Jira counted %d failed logins for %s", n, user)
		}
	}
	line := r.gate.waitFor(fmt.Sprintf("Fred authenticated via API Token (%s)", plain.ID().String()))
	var entry map[string]any
	if err := json.Unmarshal([]byte(line), &entry); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"user": "Fred", "token": plain.ID().String(), "method": "GET", "path": "/rest/api/2/myself", "client": "10.1.2.3"} {
		if entry[name] != want {
			t.Errorf("log field %s = %v, want %s", name, entry[name], want)
		}
	}
	if entry["request_id"] == "" || entry["request_id"] == nil {
		t.Error("the log line has no request id")
	}
}

// logged returns the entry of the nth request in Envoy's access log.
func (r *rig) logged(n int) map[string]any {
	r.t.Helper()
	position := map[any]int{} // by request id: the log is read again as it grows
	return r.envoy.AccessLog(func(entry map[string]any) bool {
		id := entry["request_id"]
		if _, known := position[id]; !known {
			position[id] = len(position)
		}
		return position[id] == n
	})
}

// checkDenial checks that an answer is a denial in Jira's format. auth is the request's
// Authorization header.
func checkDenial(t *testing.T, auth string, a answer) {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/json;charset=UTF-8" {
		t.Errorf("content type %q", got)
	}
	var body struct {
		ErrorMessages []string          `json:"errorMessages"`
		Errors        map[string]string `json:"errors"`
		Message       string            `json:"message"`
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || len(body.ErrorMessages) != 1 || body.Errors == nil || body.Message == "" {
		t.Errorf("body %s: %v", a.body, err)
	}
	challenge := ""
	switch {
	case a.status != 401:
	case strings.HasPrefix(auth, "Basic "):
		challenge = `Basic realm="Jira"`
	default:
		challenge = `Bearer realm="Jira"`
	}
	if got := a.header.Get("WWW-Authenticate"); got != challenge {
		t.Errorf("WWW-Authenticate %q, want %q", got, challenge)
	}
	if a.header.Get("Set-Cookie") != "" || a.header.Get("Retry-After") != "" || a.header.Get("X-Authentication-Denied-Reason") != "" {
		t.Errorf("headers %v", a.header)
	}
}

// Requests of browsers are forwarded unchanged.
func TestBrowsersAreLeftAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	login := r.send(request{method: "POST", path: "/login.jsp", body: strings.NewReader("os_username=fred&os_password=yabba"),
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}})
	session := ""
	for _, c := range (&http.Response{Header: login.header}).Cookies() {
		if c.Name == "JSESSIONID" {
			session = c.Value
		}
	}
	if session == "" {
		t.Fatalf("no session from the login form: %d %v", login.status, login.header)
	}
	const path = "/secure/Dashboard.jspa?z=9&a=b%2f&&c&x=%C3%A9+%20&q=a;b=c'(){}|"
	got := r.send(request{path: path, header: http.Header{"Cookie": {"JSESSIONID=" + session + "; other=1"}, "X-Custom": {"kept"}}})
	seen := r.seen()
	if got.status != 200 || seen.User != "Fred" || seen.How != jiratest.BySession {
		t.Errorf("status %d, Jira saw %q by %s", got.status, seen.User, seen.How)
	}
	if seen.RequestURI != path {
		t.Errorf("Jira received\n%s, not\n%s", seen.RequestURI, path)
	}
	if got := seen.Header.Get("Cookie"); got != "JSESSIONID="+session+"; other=1" || seen.Header.Get("X-Custom") != "kept" {
		t.Errorf("Jira received %v", seen.Header)
	}
	if n := len(login.header.Values("Set-Cookie")); n != 2 {
		t.Errorf("%d cookies set at the login, want the 2 that Jira set", n)
	}
}

func TestLargeUpload(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	value := r.mint("uploader")
	body := make([]byte, 10<<20)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(body)
	sum := sha256.Sum256(body)
	got := r.send(request{method: "POST", path: "/rest/api/2/issue/DEMO-1/attachments", auth: bearer(value),
		body: io.NopCloser(strings.NewReader(string(body)))})
	if got.status != 200 || !strings.Contains(got.body, hex.EncodeToString(sum[:])) {
		t.Errorf("status %d: %.200s", got.status, got.body)
	}
}

// A query parameter with the token is removed, and the rest of the query is unchanged.
func TestQueryParameter(t *testing.T) {
	t.Parallel()
	const parameter = "\ntokens: {queryParameter: access_token}\n"
	r := newRig(t, options{settings: func(yaml string) string { return withoutKey(t, yaml, "tokens") + parameter }})
	value := r.mint("query")
	got := r.send(request{path: "/rest/api/2/myself?z=9&access_token=" + value.Reveal() + "&a=b%2f&&c&os_authType=basic"})
	if seen := r.seen(); got.status != 200 || seen.RequestURI != "/rest/api/2/myself?z=9&a=b%2f&&c" || seen.User != "Fred" {
		t.Errorf("status %d, Jira received %s as %q", got.status, token.Redact(seen.RequestURI), seen.User)
	}
}

// withoutKey removes a top-level key from a configuration.
func withoutKey(t *testing.T, yaml, key string) string {
	t.Helper()
	var kept []string
	removing := false
	for line := range strings.Lines(yaml) {
		if line[0] != ' ' && line[0] != '\n' {
			removing = strings.HasPrefix(line, key+":")
		}
		if !removing {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// Rules match the path behind the context path.
func TestContextPath(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{
		context: "/jira",
		settings: func(yaml string) string {
			return strings.NewReplacer(
				"publicURL: https://jira.example.com", "publicURL: https://jira.example.com/jira",
				"upstream:\n", "upstream:\n  contextPath: /jira\n",
			).Replace(yaml)
		},
	})
	value := r.mint("context")
	for path, want := range map[string]int{"/jira/rest/api/2/myself": 200, "/rest/api/2/myself": 403, "/jira/rest/api-tokens/x": 403} {
		if got := r.send(request{path: path, auth: bearer(value)}); got.status != want {
			t.Errorf("%s: %d, want %d", path, got.status, want)
		}
	}
	if got := r.send(request{path: "/jira/rest/api-tokens/latest/me"}); got.status != 401 || got.header.Get("Content-Type") != "application/json;charset=UTF-8" {
		t.Errorf("the API: %d %s", got.status, got.body)
	}
	got := r.send(request{path: "/jira/plugins/servlet/api-tokens"})
	if location := got.header.Get("Location"); got.status != 303 || !strings.HasPrefix(location, "/jira/login.jsp?os_destination=%2Fplugins") {
		t.Errorf("the page: %d to %s", got.status, location)
	}
}

// Without the client's address, a token's networks cannot be checked: tokens are refused,
// and other requests are not.
func TestNoClientAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{envoy: func(yaml string) string {
		without := strings.Replace(yaml, "- {exact: \"x-forwarded-for\"}\n", "", 1)
		if without == yaml {
			t.Fatal("Envoy's configuration does not send the client's address")
		}
		return without
	}})
	value := r.mint("nowhere")
	got := r.send(request{auth: bearer(value)})
	if got.status != 503 || !strings.Contains(got.body, "client's address is not known") {
		t.Errorf("status %d: %s", got.status, got.body)
	}
	checkDenial(t, bearer(value), got)
	if n := r.jira.Total(); n != 0 {
		t.Errorf("Jira heard %d requests", n)
	}
	if entry := r.logged(0); entry["reason"] != "no_client_address" {
		t.Errorf("Envoy logged reason %v", entry["reason"])
	}
	if line := r.gate.waitFor("request denied: no_client_address"); !strings.Contains(line, `"level":"error"`) {
		t.Errorf("logged %s, want it as an error", line)
	}
	for name, q := range map[string]request{"password": {auth: basic("fred", "yabba")}, "browser": {path: "/secure/Dashboard.jspa"}} {
		if got := r.send(q); got.status != 200 {
			t.Errorf("%s: %d", name, got.status)
		}
	}
}
