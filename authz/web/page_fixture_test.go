package web_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/config"
)

// Parts of pages that tests look for.
var (
	shownValue  = regexp.MustCompile(`<textarea id="value" class="secret"[^>]*>(\w+)</textarea>`)
	nonceField  = regexp.MustCompile(`name="nonce" value="([\w-]+)"`)
	hiddenField = regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`)
	heading     = regexp.MustCompile(`(?s)<h1>(.*?)</h1>`)
)

// rich are settings that allow many tokens, and contractors to use their tokens.
var rich = strings.NewReplacer("use: [jira-users]", "use: [jira-users, contractors]", "maxPerUser: 3", "maxPerUser: 60").Replace(settings)

// browser requests pages in a Jira session. It does not follow redirects by itself.
type browser struct {
	sender
	t *testing.T
}

func (f *fixture) browser(t *testing.T, name string) browser {
	t.Helper()
	s := f.session(t, name)
	f.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return browser{s, t}
}

// get requests a page.
func (b browser) get(below string) answer {
	b.t.Helper()
	b.f.pass(1e9)
	return b.send(b.t, "GET", b.f.options.ContextPath+config.PagePath+below, nil)
}

// open returns a page, which must have status 200.
func (b browser) open(below string) string {
	b.t.Helper()
	got := b.get(below)
	if got.status != http.StatusOK {
		b.t.Fatalf("%s: %d %s", below, got.status, got.body)
	}
	return got.body
}

// post sends the fields of a form.
func (b browser) post(below string, fields url.Values) answer {
	b.t.Helper()
	b.f.pass(1e9)
	s := b.with("Content-Type", "application/x-www-form-urlencoded").with("Origin", "https://jira.example.com").with("Sec-Fetch-Site", "same-origin")
	return s.send(b.t, "POST", b.f.options.ContextPath+config.PagePath+below, fields.Encode())
}

// fields returns the hidden fields of the form on a page.
func fields(body string) url.Values {
	values := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(body, -1) {
		values.Set(m[1], html.UnescapeString(m[2]))
	}
	return values
}

// fill opens the page of a form, fills it in and sends it. Fields are alternating names
// and values.
func (b browser) fill(below string, pairs ...string) answer {
	b.t.Helper()
	values := fields(b.open(below))
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	path, _, _ := strings.Cut(below, "?")
	return b.post(path, values)
}

// issue is fill for a form that issues a token; it returns the value and the id.
func (b browser) issue(below string, pairs ...string) (value, id string) {
	b.t.Helper()
	got := b.fill(below, pairs...)
	m := shownValue.FindStringSubmatch(got.body)
	if got.status != http.StatusOK || m == nil {
		b.t.Fatalf("%s: %d %s", below, got.status, got.body)
	}
	return m[1], m[1][len("tgate_"):][:12]
}

// led returns the address of a redirect, below the pages and without its proof.
func led(got answer) string {
	to := regexp.MustCompile(`proof=[\w-]+&?`).ReplaceAllString(got.header.Get("Location"), "")
	return strings.TrimSuffix(strings.TrimPrefix(to, config.PagePath), "&")
}

// follow opens the page that a response redirects to.
func (b browser) follow(got answer) string {
	b.t.Helper()
	if got.status != http.StatusSeeOther {
		b.t.Fatalf("%d %s", got.status, got.body)
	}
	return b.open(strings.TrimPrefix(got.header.Get("Location"), config.PagePath))
}

// title returns the heading of a page.
func title(body string) string {
	m := heading.FindStringSubmatch(body)
	if m == nil {
		return ""
	}
	return strings.TrimSpace(html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(m[1], "")))
}
