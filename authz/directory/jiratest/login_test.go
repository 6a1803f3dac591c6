package jiratest_test

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/directory/jiratest"
)

// A login leads to where the client wanted to be, on this Jira only.
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

// The form keeps the destination, whatever it is, also where a login fails.
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
