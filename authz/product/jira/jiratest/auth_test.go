package jiratest_test

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// Jira 11 refuses Basic whatever else the request contains, and nothing else.
func TestRefuseBasic(t *testing.T) {
	jira, url := start(t, nil)
	session := "/rest/auth/1/session"
	fred := `{"username":"fred","password":"p:w"}`
	cookie := "Cookie: JSESSIONID=" + do(t, "GET", url+myself, "", "X-Forwarded-User: fred").session()
	steps := []struct {
		name, method, path, body string
		header                   []string
		status, before           int // with Basic refused, and allowed
	}{
		{"Basic", "GET", myself, "", []string{basic("fred", "p:w")}, 403, 200},
		{"Basic that is none", "GET", "/", "", []string{"Authorization: basic x"}, 403, 302},
		{"Basic and a cookie", "GET", myself, "", []string{basic("fred", "p:w"), cookie}, 403, 200},
		{"Basic and the identity header", "GET", myself, "", []string{basic("fred", "p:w"), "X-Forwarded-User: fred"}, 403, 200},
		{"JSON login", "POST", session, fred, nil, 403, 200},
		{"JSON login by alias", "POST", "/rest/auth/latest/session.json", fred, nil, 403, 200},
		{"who am I", "GET", session, "", []string{cookie}, 403, 200},
		{"cookie", "GET", myself, "", []string{cookie}, 200, 200},
		{"native token", "GET", myself, "", []string{"Authorization: Bearer native"}, 200, 200},
		{"identity header", "GET", myself, "", []string{"X-Forwarded-User: fred"}, 200, 200},
		{"form", "POST", "/login.jsp", "os_username=wilma&os_password=secret",
			[]string{"Content-Type: application/x-www-form-urlencoded"}, 302, 302},
		{"nothing", "GET", "/rest/api/2/serverInfo", "", nil, 200, 200},
		{"wrong Basic", "GET", myself, "", []string{basic("fred", "x")}, 403, 401},
	}
	for _, refuse := range []bool{true, false, true} {
		jira.RefuseBasic(refuse)
		for _, s := range steps {
			want := s.before
			if refuse {
				want = s.status
			}
			got := do(t, s.method, url+s.path, s.body, s.header...)
			if got.status != want {
				t.Errorf("%s, refused %v: status %d, want %d", s.name, refuse, got.status, want)
			}
			if want != 403 {
				continue
			}
			if body := strings.TrimSpace(got.body); body != `{"message":"Basic Authentication has been disabled on this instance."}` {
				t.Errorf("%s: body %s", s.name, body)
			}
			for _, name := range []string{"WWW-Authenticate", "X-Authentication-Denied-Reason", "Set-Cookie"} {
				if value := got.header.Get(name); value != "" {
					t.Errorf("%s: %s is %q, want none", s.name, name, value)
				}
			}
			if seen, _ := jira.Last(); seen.User != "" || seen.How != jiratest.Anonymous {
				t.Errorf("%s: user %q by %s, want none", s.name, seen.User, seen.How)
			}
		}
	}
	if n := jira.Failures("fred"); n != 1 {
		t.Errorf("%d failures, want the one while Basic was allowed", n)
	}
}

// A stock Jira trusts no header.
func TestIgnoreHeader(t *testing.T) {
	jira, url := start(t, nil)
	for _, ignore := range []bool{true, false} {
		jira.IgnoreHeader(ignore)
		want := map[bool]int{true: 401, false: 200}[ignore]
		if got := do(t, "GET", url+myself, "", "X-Forwarded-User: fred"); got.status != want {
			t.Errorf("ignored %v: status %d, want %d", ignore, got.status, want)
		}
	}
}

// Jira before 11 answers a wrong Basic password with HTML, even on REST.
func TestWrongBasicIsHTML(t *testing.T) {
	_, url := start(t, nil)
	got := do(t, "GET", url+myself, "", basic("fred", "x"))
	if got.status != 401 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") || got.header.Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v", got.status, got.header)
	}
}

// A login redirects to the requested destination, but only on this Jira.
func TestLoginDestination(t *testing.T) {
	const home = "/secure/Dashboard.jspa"
	for _, tt := range []struct{ name, destination, want string }{
		{"none", "", home},
		{"a page", "/secure/X", "/secure/X"},
		{"with a query", "/plugins/servlet/x?a=1&b=%2F#c", "/plugins/servlet/x?a=1&b=%2F#c"},
		{"what is no URL", "/issues/?jql=a = \"é\" {}", "/issues/?jql=a%20=%20%22%C3%A9%22%20%7B%7D"},
		{"of two lines", "/a\r\nSet-Cookie: a=b", "/a%0D%0ASet-Cookie:%20a=b"},
		{"relative", "secure/X", home},
		{"another host", "https://evil.example.com/", home},
		{"another host's path", "//evil.example.com/", home},
		{"backslash", `/\evil.example.com/`, home},
		{"two slashes but for a tab", "/\t/evil.example.com/", "/%09/evil.example.com/"},
		{"a script", "javascript:alert(1)", home},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, context := range []string{"", "/jira"} {
				_, server := start(t, func(o *jiratest.Options) { o.ContextPath = context })
				login := server + context + "/login.jsp"
				query := url.Values{"os_destination": {tt.destination}}.Encode()
				form := "os_username=fred&os_password=p%3Aw"
				for from, got := range map[string]answer{
					"query": do(t, "POST", login+"?"+query, form, formType),
					"form":  do(t, "POST", login, form+"&"+query, formType),
				} {
					if to := got.header.Get("Location"); got.status != 302 || to != context+tt.want || got.session() == "" {
						t.Errorf("context %q, %s: %d to %q, want 302 to %q", context, from, got.status, to, context+tt.want)
					}
				}
			}
		})
	}
}

const formType = "Content-Type: application/x-www-form-urlencoded"

// The form keeps any destination, even after a failed login.
func TestLoginFormKeepsDestination(t *testing.T) {
	_, server := start(t, nil)
	hidden := regexp.MustCompile(`<input type="hidden" name="os_destination" value="([^"<>]*)">`)
	for _, destination := range []string{"", "/secure/X", `/a?b=1&c="><script>alert(1)</script>'&amp;`} {
		query := url.Values{"os_destination": {destination}}.Encode()
		for from, got := range map[string]answer{
			"asked for":    do(t, "GET", server+"/login.jsp?"+query, ""),
			"after a form": do(t, "POST", server+"/login.jsp", "os_username=wilma&os_password=x&"+query, formType),
		} {
			kept := ""
			if m := hidden.FindStringSubmatch(got.body); m != nil {
				kept = html.UnescapeString(m[1])
			}
			if got.status != 200 || kept != destination || strings.Contains(got.body, "<script") {
				t.Errorf("%q, %s: kept %q in\n%s", destination, from, kept, got.body)
			}
		}
	}
}
