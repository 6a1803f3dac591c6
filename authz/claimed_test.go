package authz_test

import (
	"testing"

	"github.com/tokengate/tokengate/authz"
)

// A decision about a password tells whose it is said to be, where the request
// shows that, and no other decision does.
func TestClaimedUser(t *testing.T) {
	w := newWorld(t)
	for _, c := range rulings() {
		r, view := c.asks(w)
		d := authz.Decide(r, view)
		if password := d.Reason == authz.Password || d.Reason == authz.PasswordBlocked; d.ClaimedUser != "" && !password {
			t.Errorf("%s: %v claims a user", c.name, d.Reason)
		}
	}
	const login, fred = "/rest/auth/1/session", "Basic {b64 Fred:p:w}"
	for _, c := range []struct {
		ruling
		want string
	}{
		{ruling{name: "Basic", authorization: fred}, "Fred"},
		{ruling{name: "Basic, blocked", authorization: fred, config: block}, "Fred"},
		{ruling{name: "Basic, observed", authorization: fred, config: observe}, "Fred"},
		{ruling{name: "Basic, exempt", authorization: fred, config: both(block, allowUser("fred"))}, "Fred"},
		{ruling{name: "Basic, exempt path", authorization: fred, path: "/rest/usermanagement/1/search", config: block}, "Fred"},
		{ruling{name: "Basic without a name", authorization: "Basic {b64 :pw}"}, ""},
		{ruling{name: "query", path: "/?os_username=fr%65d&os_password=pw"}, "fred"},
		{ruling{name: "query, blocked", path: "/?os%5fusername=fred&os_password=pw", config: block}, "fred"},
		{ruling{name: "query, beside Negotiate", path: "/?os_username=fred&os_password=pw", authorization: "Negotiate YII="}, "fred"},
		{ruling{name: "query without a name", path: "/?os_password=pw"}, ""},
		{ruling{name: "two names", path: "/?os_username=fred&os_username=wilma"}, ""},
		{ruling{name: "login", method: "POST", path: login}, ""},
		{ruling{name: "login, blocked", method: "POST", path: login, config: block}, ""},
		{ruling{name: "login with a name beside it", method: "POST", path: login, authorization: fred}, ""},
		{ruling{name: "login with a name in the query", method: "POST", path: login + "?os_username=fred"}, ""},
	} {
		r, view := c.asks(w)
		d := authz.Decide(r, view)
		r.PathForLog() // which uses the memory, too
		if d.ClaimedUser != c.want || d.Reason != authz.Password && d.Reason != authz.PasswordBlocked {
			t.Errorf("%s: %v of %q, want %q", c.name, d.Reason, d.ClaimedUser, c.want)
		}
	}
}
