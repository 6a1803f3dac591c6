package jiratest_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/token"
)

// A token is found anywhere in a request and in any encoding; other text is
// not.
func TestTokensAreFound(t *testing.T) {
	value, err := token.Mint(token.Ordinary, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	management, err := token.Mint(token.Management, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	text := value.Reveal()
	pair := "fred:" + text
	const login = "/rest/auth/1/session"
	for _, c := range []struct {
		name, method, target, body string
		header                     http.Header
		found                      bool
	}{
		{name: "nothing", target: "/rest/api/2/myself", header: http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("fred:a long password that is in base64 and no token"))}}},
		{name: "a prefix", target: "/rest/api/2/search?jql=text~tgate_"},
		{name: "a token's id", target: "/x?id=" + value.ID().String(), header: http.Header{"User-Agent": {value.String()}}},
		{name: "a body that is no login's", method: "POST", target: "/rest/api/2/issue", body: text},
		{name: "path", target: "/x/" + text, found: true},
		{name: "path, escaped", target: "/x/%74gate%5f" + text[6:], found: true},
		{name: "query", target: "/x?a=" + text, found: true},
		{name: "query, escaped twice", target: "/x?a=%2574gate_" + text[6:], found: true},
		{name: "query, base64", target: "/x?a=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(pair))), found: true},
		{name: "Bearer", header: http.Header{"Authorization": {"Bearer " + text}}, found: true},
		{name: "management token", header: http.Header{"Authorization": {"Bearer " + management.Reveal()}}, found: true},
		{name: "Basic", header: http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(pair))}}, found: true},
		{name: "Basic, no padding", header: http.Header{"Authorization": {"Basic " + base64.RawStdEncoding.EncodeToString([]byte(pair))}}, found: true},
		{name: "Basic, alphabet of URLs", header: http.Header{"Authorization": {"Basic " + base64.URLEncoding.EncodeToString([]byte("f\xff\xfe\xfd?"+pair))}}, found: true},
		{name: "Basic, base64 twice", header: http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(pair))))}}, found: true},
		{name: "base64 without a scheme", header: http.Header{"Authorization": {base64.StdEncoding.EncodeToString([]byte(pair))}}, found: true},
		{name: "base64 behind letters", header: http.Header{"Authorization": {"Basic" + base64.StdEncoding.EncodeToString([]byte(pair))}}, found: true},
		{name: "cookie", header: http.Header{"Cookie": {"a=b; c=" + text}}, found: true},
		{name: "any header", header: http.Header{"X-Any": {"a", "b" + text + "c"}}, found: true},
		{name: "login", method: "POST", target: login, body: `{"username":"fred","password":"` + text + `"}`, found: true},
		{name: "login, escaped", method: "POST", target: login, body: `{"username":"fred","password":"\u0074gate\u005F` + text[6:] + `"}`, found: true},
		{name: "login, UTF-16", method: "POST", target: login, body: utf16(`{"password":"` + text + `"}`), found: true},
		{name: "login, form", method: "POST", target: login, body: "os_password=%74gate_" + text[6:], found: true},
		{name: "login in an odd spelling", method: "PUT", target: "/rest;x/auth/1/%73ession.json", body: text, found: true},
		{name: "login with a password", method: "POST", target: login, body: `{"username":"fred","password":"pw"}`},
	} {
		var leaks []string
		jira := jiratest.New(jiratest.Options{Leak: func(where string) { leaks = append(leaks, where) }})
		if c.target == "" {
			c.target = "/"
		}
		r := httptest.NewRequest("GET", "/", strings.NewReader(c.body))
		r.RequestURI = c.target
		if c.method != "" {
			r.Method = c.method
		}
		r.Header = c.header
		if r.Header == nil {
			r.Header = http.Header{}
		}
		jira.ServeHTTP(httptest.NewRecorder(), r)
		if found := len(leaks) > 0; found != c.found {
			t.Errorf("%s: noticed %v, want %v", c.name, found, c.found)
		}
		if token.Contains(strings.Join(leaks, "\n")) {
			t.Errorf("%s: what was noticed repeats the value", c.name)
		}
	}
}

func utf16(text string) string {
	return strings.Join(append(strings.Split(text, ""), ""), "\x00")
}

// A Server without Leak ends the test, although net/http recovers panics of
// handlers.
func TestLeakEndsTheTest(t *testing.T) {
	if os.Getenv("JIRATEST_LEAK") != "" {
		_, url := start(t, nil)
		_, _ = http.Get(url + "/x?a=tgate_" + strings.Repeat("a", 61))
		time.Sleep(time.Minute) // another goroutine ends the program
	}
	c := exec.Command(os.Args[0], "-test.run=^TestLeakEndsTheTest$")
	c.Env = append(os.Environ(), "JIRATEST_LEAK=1")
	out, err := c.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Jira received a token: GET /x: the path or the query") || token.Contains(string(out)) {
		t.Errorf("%v: %s", err, out)
	}
}

// Watch passes the whole body on.
func TestWatchedBodiesArriveWhole(t *testing.T) {
	jira, url := start(t, nil)
	if got := do(t, "POST", url+"/rest/auth/1/session", `{"username":"fred","password":"p:w"}`); got.status != 200 {
		t.Errorf("status %d", got.status)
	}
	if last, _ := jira.Last(); last.How != jiratest.ByLogin || last.User != "Fred" {
		t.Errorf("Jira saw %q by %s", last.User, last.How)
	}
}
