package authz_test

import (
	"testing"

	"github.com/tokengate/tokengate/authz"
)

// Only decisions about passwords have a ClaimedUser, if the request has one.
func TestClaimedUser(t *testing.T) {
	w := newWorld(t)
	for _, c := range decisionCases() {
		r, view := c.request(w)
		d := authz.Decide(r, view)
		if password := d.Reason == authz.Password || d.Reason == authz.PasswordBlocked; d.ClaimedUser != "" && !password {
			t.Errorf("%s: %v claims a user", c.name, d.Reason)
		}
	}
	const login, fred = "/rest/auth/1/session", "Basic {b64 Fred:p:w}"
	for _, c := range []struct {
		decisionCase
		want string
	}{
		{decisionCase{name: "Basic", authorization: fred}, "Fred"},
		{decisionCase{name: "Basic, blocked", authorization: fred, config: block}, "Fred"},
		{decisionCase{name: "Basic, observed", authorization: fred, config: observe}, "Fred"},
		{decisionCase{name: "Basic, exempt", authorization: fred, config: both(block, allowUser("fred"))}, "Fred"},
		{decisionCase{name: "Basic, exempt path", authorization: fred, path: "/rest/usermanagement/1/search", config: block}, "Fred"},
		{decisionCase{name: "Basic without a name", authorization: "Basic {b64 :pw}"}, ""},
		{decisionCase{name: "query", path: "/?os_username=fr%65d&os_password=pw"}, "fred"},
		{decisionCase{name: "query, blocked", path: "/?os%5fusername=fred&os_password=pw", config: block}, "fred"},
		{decisionCase{name: "query, beside Negotiate", path: "/?os_username=fred&os_password=pw", authorization: "Negotiate YII="}, "fred"},
		{decisionCase{name: "query without a name", path: "/?os_password=pw"}, ""},
		{decisionCase{name: "two names", path: "/?os_username=fred&os_username=wilma"}, ""},
		{decisionCase{name: "login", method: "POST", path: login}, ""},
		{decisionCase{name: "login, blocked", method: "POST", path: login, config: block}, ""},
		{decisionCase{name: "login with a name beside it", method: "POST", path: login, authorization: fred}, ""},
		{decisionCase{name: "login with a name in the query", method: "POST", path: login + "?os_username=fred"}, ""},
	} {
		r, view := c.request(w)
		d := authz.Decide(r, view)
		r.PathForLog() // uses the memory, too
		if d.ClaimedUser != c.want || d.Reason != authz.Password && d.Reason != authz.PasswordBlocked {
			t.Errorf("%s: %v of %q, want %q", c.name, d.Reason, d.ClaimedUser, c.want)
		}
	}
}
