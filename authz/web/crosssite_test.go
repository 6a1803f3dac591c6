package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/web"
)

// Requests that a page of another site makes a browser send change nothing; those of
// Jira's own pages and of other clients do.
func TestCrossSite(t *testing.T) {
	f := newFixture(t)
	issued := f.create(t, "fred", "ci")
	f.pass(1)
	for _, c := range []struct {
		name   string
		header []string
		good   bool
	}{
		{"no browser", nil, true},
		{"same origin", []string{"Sec-Fetch-Site: same-origin", "Origin: https://jira.example.com"}, true},
		{"same origin, an older browser", []string{"Origin: https://jira.example.com"}, true},
		{"same origin, as no browser writes it", []string{"Origin: https://JIRA.example.com:443"}, false},
		{"by the user", []string{"Sec-Fetch-Site: none"}, true},
		{"another site", []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example.net"}, false},
		{"another site that says it is not", []string{"Sec-Fetch-Site: same-origin", "Origin: https://evil.example.net"}, false},
		{"another site without Sec-Fetch-Site", []string{"Origin: https://evil.example.net"}, false},
		{"another host of the site", []string{"Sec-Fetch-Site: same-site", "Origin: https://wiki.example.com"}, false},
		{"another host with our name in it", []string{"Origin: https://jira.example.com.evil.example.net"}, false},
		{"our name as a user", []string{"Origin: https://jira.example.com@evil.example.net"}, false},
		{"another port", []string{"Origin: https://jira.example.com:8443"}, false},
		{"without TLS", []string{"Origin: http://jira.example.com"}, false},
		{"null", []string{"Origin: null"}, false},
		{"empty", []string{"Origin: "}, false},
		{"two origins", []string{"Origin: https://jira.example.com", "Origin: https://evil.example.net"}, false},
		{"two sites", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"}, false},
		{"an unknown value", []string{"Sec-Fetch-Site: Same-Origin"}, false},
	} {
		for name, s := range map[string]sender{"session": f.session(t, "fred"), "password": f.user("fred")} {
			for _, line := range c.header {
				key, value, _ := strings.Cut(line, ": ")
				s = s.with(key, value)
			}
			f.pass(1e9)
			for _, r := range []struct{ method, path, body string }{
				{"POST", "/", `{}`}, // without a label
				{"PATCH", "/" + issued.ID, `{"label":""}`},
				{"DELETE", "/000000000000", ""},
				{"POST", "/" + issued.ID + "/rotate", `{"overlap":"x"}`},
				{"POST", "/explain", `{}`},
			} {
				var body any
				if r.body != "" {
					body = r.body
				}
				got := s.send(t, r.method, base+r.path, body)
				if refused := got.status == 403; refused == c.good {
					t.Errorf("%s, by %s: %s %s is answered %d %s", c.name, name, r.method, r.path, got.status, got.body)
				}
				noCORS(t, got)
			}
			// Reading changes nothing, and the page may not see the answer.
			got := s.send(t, "GET", base+"/", nil)
			if got.status != 200 || got.header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
				t.Errorf("%s, by %s: reading is answered %d", c.name, name, got.status)
			}
			noCORS(t, got)
		}
	}
	if n := f.count(t); n != 1 {
		t.Errorf("there are %d tokens", n)
	}
}

func noCORS(t *testing.T, got answer) {
	t.Helper()
	for name := range got.header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("the answer has %s", name)
		}
	}
}

// Requests that a form can send are refused, unless a header shows that they are not
// from a form.
func TestForms(t *testing.T) {
	f := newFixture(t)
	for _, kind := range []string{"application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "", "text/plain; application/json", "application/json; charset=utf-16"} {
		for path, body := range map[string]string{"/": `{"label":"x"}`, "/000000000000/approve": "", "/000000000000/rotate": "{}"} {
			s := f.session(t, "barney").with("Content-Type", kind)
			if text := denied(t, s.send(t, "POST", base+path, body), 403, ""); !strings.Contains(text, "no-check") {
				t.Errorf("%q: %s", kind, text)
			}
			f.pass(1e9)
		}
	}
	s := f.session(t, "fred").with("Content-Type", "text/plain")
	denied(t, s.with("X-Atlassian-Token", "no-check").send(t, "POST", base+"/", `{"label":"x"}`), 415, "")
	denied(t, s.with("X-Atlassian-Token", "check").send(t, "POST", base+"/", `{"label":"x"}`), 403, "")
	if n := f.count(t); n != 0 {
		t.Errorf("there are %d tokens", n)
	}
	// Browsers send no management tokens on their own.
	value := f.management(t, "robots", "").PasswordValue
	got := f.as("Bearer "+value).with("Origin", "https://evil.example.net").with("Sec-Fetch-Site", "cross-site").
		send(t, "POST", base+"/", `{"label":"x","user":"fred"}`)
	if got.status != 200 {
		t.Errorf("automation: %d %s", got.status, got.body)
	}
	noCORS(t, got)
}

// Without a public URL no browser may make changes.
func TestNoPublicURL(t *testing.T) {
	f := newFixture(t)
	for _, text := range []string{"", "null", "jira.example.com", "https://", ":"} {
		o := f.options
		o.PublicURL = text
		f.http = serve(t, web.New(o), nil)
		for _, origin := range []string{"null", "", "https://jira.example.com", "jira.example.com", "https://"} {
			denied(t, f.user("fred").with("Origin", origin).send(t, "POST", base+"/", `{"label":"x"}`), 403, "")
		}
	}
}

// A CORS preflight is not granted.
func TestPreflight(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/", "/all", "/tokens", "/000000000000", "/000000000000/rotate", "/openapi.json"} {
		got := f.as("").with("Origin", "https://jira.example.com").with("Access-Control-Request-Method", "DELETE").
			send(t, http.MethodOptions, base+path, nil)
		denied(t, got, 405, "")
		if got.header.Get("Allow") == "" {
			t.Errorf("%s: no Allow", path)
		}
		noCORS(t, got)
	}
}

// Every answer has the security headers.
func TestHeaders(t *testing.T) {
	f := newFixture(t)
	for path, s := range map[string]sender{"/me": f.user("fred"), "/all": f.user("barney"), "/tokens?format=csv": f.user("barney"), "/nowhere/at/all": f.as(""), "/tokens": f.as("")} {
		got := s.send(t, "GET", base+path, nil)
		for name, want := range map[string]string{
			"Cache-Control":                "no-store",
			"X-Content-Type-Options":       "nosniff",
			"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := got.header.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s sets a cookie", path)
		}
	}
}

// The Origin header must be the origin as browsers send it, not another spelling or URL
// of the same host.
func TestOriginOfARequest(t *testing.T) {
	f := newFixture(t)
	for origin, good := range map[string]bool{
		"https://jira.example.com":                          true,
		"https://jira.example.com:443":                      false,
		"HTTPS://JIRA.example.com":                          false,
		"https://jira.example.com/":                         false,
		"https://jira.example.com:443/":                     false,
		"https://jira.example.com:":                         false,
		"https://fred@jira.example.com":                     false,
		"https://fred:pw@jira.example.com":                  false,
		"https://@jira.example.com":                         false,
		"https://evil.example@jira.example.com":             false,
		"https://jira.example.com/x":                        false,
		"https://jira.example.com?x":                        false,
		"https://jira.example.com?":                         false,
		"https://jira.example.com#x":                        false,
		"https://jira.example.com#":                         false,
		"https:///jira.example.com":                         false,
		"https:jira.example.com":                            false,
		"//jira.example.com":                                false,
		"jira.example.com":                                  false,
		"https://jira.example.com.":                         false,
		"https://jira.example.com https://jira.example.com": false,
	} {
		f.pass(1e9)
		got := f.user("fred").with("Origin", origin).send(t, "POST", base+"/explain", `{}`)
		if (got.status != 403) != good {
			t.Errorf("%q is answered %d %s", origin, got.status, got.body)
		}
	}
}
