package jiratest_test

import (
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/directory/jiratest"
)

// Jira 11 wants no Basic, whatever else comes along; all else goes on.
func TestRefuseBasic(t *testing.T) {
	jira, url := start(t, nil)
	session := "/rest/auth/1/session"
	fred := `{"username":"fred","password":"p:w"}`
	cookie := "Cookie: JSESSIONID=" + do(t, "GET", url+myself, "", "X-Forwarded-User: fred").session()
	steps := []struct {
		name, method, path, body string
		header                   []string
		status, before           int // with Basic refused, and without
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
				t.Errorf("%s: seen %q by %s, want nobody", s.name, seen.User, seen.How)
			}
		}
	}
	if n := jira.Failures("fred"); n != 1 {
		t.Errorf("%d failures, want the one of the time when Basic was judged", n)
	}
}

// Jira before 11 answers a wrong Basic password with HTML, on REST too.
func TestWrongBasicIsHTML(t *testing.T) {
	_, url := start(t, nil)
	got := do(t, "GET", url+myself, "", basic("fred", "x"))
	if got.status != 401 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") || got.header.Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v", got.status, got.header)
	}
}
