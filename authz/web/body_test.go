package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web"
)

// Texts that are not Unicode are refused everywhere, not altered.
func TestNotUnicode(t *testing.T) {
	f := newFixture(t)
	fred := f.user("fred")
	id := f.create(t, "fred", "ci").ID
	for name, c := range map[string]struct {
		method, path, body string
		says               string // "" if it is good
	}{
		"a byte in a label":                     {"POST", "/", "{\"label\":\"a\xffb\"}", "UTF-8"},
		"half of a character in a label":        {"POST", "/", "{\"label\":\"a\xc3\"}", "UTF-8"},
		"an encoded surrogate in a label":       {"POST", "/", "{\"label\":\"a\xed\xa0\x80\"}", "UTF-8"},
		"an overlong slash in a label":          {"POST", "/", "{\"label\":\"a\xc0\xaf\"}", "UTF-8"},
		"a high surrogate in a label":           {"POST", "/", `{"label":"a\ud800"}`, "half of a character"},
		"a high surrogate before a letter":      {"POST", "/", `{"label":"a\uD83Dx"}`, "half of a character"},
		"a high surrogate before another":       {"POST", "/", `{"label":"a\ud83d\ud83d\ude00"}`, "half of a character"},
		"a high surrogate before an escape":     {"POST", "/", `{"label":"a\ud83d\n"}`, "half of a character"},
		"a high surrogate before a BMP escape":  {"POST", "/", `{"label":"a\ud83d\u0041"}`, "half of a character"},
		"a low surrogate":                       {"POST", "/", `{"label":"a\udc00"}`, "half of a character"},
		"the halves in the wrong order":         {"POST", "/", `{"label":"a\ude00\ud83d"}`, "half of a character"},
		"a surrogate in a user":                 {"POST", "/", `{"label":"x","user":"fre\udbffd"}`, "half of a character"},
		"a surrogate in a purpose":              {"POST", "/", `{"label":"x","purpose":"\udfff"}`, "half of a character"},
		"a surrogate in a key":                  {"POST", "/", `{"label":"x","\ud800":"x"}`, "half of a character"},
		"a byte in a purpose":                   {"PATCH", "/" + id, "{\"purpose\":\"\xfe\"}", "UTF-8"},
		"a surrogate in a changed label":        {"PATCH", "/" + id, `{"label":"\ud800"}`, "half of a character"},
		"a surrogate in networks":               {"PATCH", "/" + id, `{"networks":["\ud800"]}`, "half of a character"},
		"a surrogate in an overlap":             {"POST", "/" + id + "/rotate", `{"overlap":"\ud800"}`, "half of a character"},
		"a surrogate in a question":             {"POST", "/explain", `{"path":"/\ud800"}`, "half of a character"},
		"a byte in a query":                     {"DELETE", "/all?user=fre%ffd", "", "UTF-8"},
		"a surrogate in a query":                {"DELETE", "/all?user=%ed%a0%80", "", "UTF-8"},
		"both halves":                           {"PATCH", "/" + id, `{"purpose":"\ud83d\ude00"}`, ""},
		"a backslash before what looks like it": {"PATCH", "/" + id, `{"purpose":"\\ud800"}`, ""},
		"a character of three bytes":            {"PATCH", "/" + id, `{"purpose":"鍵\u00e9\uffff"}`, "printable"},
		"the replacement character itself":      {"PATCH", "/" + id, `{"purpose":"\ufffd"}`, "U+FFFD"},
	} {
		f.pass(10e9)
		var body any
		if c.body != "" {
			body = c.body
		}
		got := fred.send(t, c.method, base+c.path, body)
		if c.says == "" {
			if got.status != 200 {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
			continue
		}
		if got.status != 400 || !strings.Contains(got.body, c.says) {
			t.Errorf("%s: %d %s, want 400 and %q", name, got.status, got.body, c.says)
		}
	}

	// A form is like it.
	s := f.session(t, "fred")
	for _, body := range []string{"name=a%ff", "name=a%ed%a0%80", "purpose=%c3", "%ff=x", "name=a\xff"} {
		request := newRequest(t, "POST", "/plugins/servlet/api-tokens/new", body, s.with("Content-Type", "application/x-www-form-urlencoded").with("Sec-Fetch-Site", "same-origin").header)
		request.Header.Set("Origin", "https://jira.example.com")
		if got := f.do(t, f.http, request); got.status != http.StatusBadRequest {
			t.Errorf("the form %q is answered %d", body, got.status)
		}
	}
	page, err := f.manager.List(t.Context(), manage.Operator("test"), manage.Query{})
	if err != nil || len(page.Tokens) != 1 {
		t.Errorf("there are %d tokens, %v", len(page.Tokens), err)
	}
	var log web.AuditPage
	f.into(t, "GET", base+"/audit", nil, &log)
	for _, r := range log.Values {
		if strings.Contains(r.User+r.Changes["name"].After, "\ufffd") {
			t.Errorf("a text was repaired: %+v", r)
		}
	}
}
