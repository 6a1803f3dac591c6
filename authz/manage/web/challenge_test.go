package web_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// A 401 of the API asks programs for a password, and no browser: one would show its
// own dialog for passwords over the page whose script has sent the request.
func TestChallenge(t *testing.T) {
	f := newFixture(t)
	const program, browser = `Basic realm="Jira"`, `Bearer realm="Jira"`
	for name, c := range map[string]struct {
		headers []string
		want    string
	}{
		"curl --anyauth":           {[]string{"User-Agent: curl/8.5.0", "Accept: */*"}, program},
		"Java":                     {[]string{"User-Agent: Java/17.0.9", "Accept: text/html, image/gif, image/jpeg, */*; q=0.2"}, program},
		"PowerShell":               {[]string{"User-Agent: Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1"}, program},
		"a load balancer's cookie": {[]string{"Cookie: AWSALB=x"}, program},
		"fetch":                    {[]string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Site: same-origin", "Accept-Language: en"}, browser},
		"fetch without TLS":        {[]string{"Accept-Language: de", "Cookie: JSESSIONID=gone"}, browser},
		"XMLHttpRequest":           {[]string{"X-Requested-With: XMLHttpRequest", "Origin: https://jira.example.com"}, browser},
		"the address bar":          {[]string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: none"}, browser},
		"an old browser":           {[]string{"User-Agent: Mozilla/5.0", "Accept-Language: fr"}, browser},
	} {
		s := f.as("")
		for _, line := range c.headers {
			key, value, _ := strings.Cut(line, ": ")
			s = s.with(key, value)
		}
		for _, credential := range []string{"", "Bearer x", "Basic " + base64.StdEncoding.EncodeToString([]byte("fred:wrong"))} {
			f.pass(20e9)
			to := s
			if credential != "" {
				to = s.with("Authorization", credential)
			}
			got := to.send(t, "GET", base+"/me", nil)
			if got.status == http.StatusForbidden && strings.Contains(got.body, "many") {
				continue // fred's password was wrong twice by now, and Jira is not asked
			}
			if denied(t, got, 401, ""); len(got.header.Values("WWW-Authenticate")) != 1 || got.header.Get("WWW-Authenticate") != c.want {
				t.Errorf("%s with %q: the challenge is %q, want %q", name, credential, got.header.Values("WWW-Authenticate"), c.want)
			}
		}
	}
	for _, c := range []struct {
		s    sender
		path string
	}{{f.person("fred"), "/me"}, {f.person("fred"), "/tokens"}, {f.person("fred"), "/000000000000"}} {
		if got := c.s.send(t, "GET", base+c.path, nil); got.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%d for %s has a challenge", got.status, c.path)
		}
	}
}

// Who sent a wrong password hears that it is wrong, and not that they are not logged in.
func TestWrongPassword(t *testing.T) {
	for name, c := range map[string]struct {
		user, password string
		cookie         string
		says           string
		not            string
	}{
		"wrong":                      {"fred", "nope", "", "does not accept this user name and password", "e-mail"},
		"unknown user":               {"nobody", "pw-fred", "", "does not accept this user name and password", "e-mail"},
		"an e-mail address":          {"fred@example.com", "pw-fred", "", "Send the user name, which may differ from the e-mail address", "not logged in"},
		"beside an old session":      {"fred", "nope", "JSESSIONID=gone", "does not accept this user name and password", "not logged in"},
		"nothing but an old session": {"", "", "JSESSIONID=gone", "not logged in", "does not accept"},
	} {
		f := newFixture(t)
		s := f.as("")
		if c.user != "" {
			s = f.as("Basic " + base64.StdEncoding.EncodeToString([]byte(c.user+":"+c.password)))
		}
		if c.cookie != "" {
			s = s.with("Cookie", c.cookie)
		}
		text := denied(t, s.send(t, "GET", base+"/me", nil), 401, "")
		if !strings.Contains(text, c.says) || strings.Contains(text, c.not) || c.password != "" && strings.Contains(text, c.password) {
			t.Errorf("%s: %q does not say %q", name, text, c.says)
		}
	}
}

// A caller who has spent the budget hears for how long, of the API and on the page.
func TestBudgetOfTheAPI(t *testing.T) {
	f := configured(t, strings.Replace(settings, "\naccess:\n", "\naccess:\n  writes: {requests: 60, per: 1h, burst: 2}\n", 1))
	s := f.session(t, "fred")
	b := f.browser(t, "fred")
	_, id := b.issue("/new", "name", "ci")
	denied(t, s.send(t, "POST", base+"/", `{"label":""}`), 400, "label")
	got := s.send(t, "POST", base+"/", `{"label":"x"}`)
	if text := denied(t, got, 429, ""); got.header.Get("Retry-After") != "60" || !strings.Contains(text, "Try again in 60 seconds.") || !strings.Contains(text, "access.writes") {
		t.Errorf("Retry-After %s, %q", got.header.Get("Retry-After"), text)
	}
	shown := b.fill("/new", "name", "another")
	if wait := shown.header.Get("Retry-After"); shown.status != 429 || wait == "" || !strings.Contains(shown.body, "Try again in "+wait+" seconds.") || !strings.Contains(shown.body, "another") {
		t.Errorf("the page: %d, Retry-After %s", shown.status, shown.header.Get("Retry-After"))
	}
	if got := s.send(t, "DELETE", base+"/"+id, nil); got.status != 204 {
		t.Errorf("revoke: %d %s", got.status, got.body)
	}
	f.pass(60e9)
	if got := s.send(t, "POST", base+"/", `{"label":"x"}`); got.status != 200 {
		t.Errorf("a minute later: %d %s", got.status, got.body)
	}
}
