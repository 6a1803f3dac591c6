package authz_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// A failure makes one check deny a request with a token. A request can have two of
// them, unless both set value, state, owner or path.
type failure struct {
	reason authz.Reason
	value  func(*testing.T, token.Value) string // what is sent in place of the value
	absent bool                                 // the token is not in the index
	user   string                               // sent as Basic, with this name
	token  func(*store.Token)
	state  store.State
	owner  string        // the owner's key
	later  time.Duration // than now
	method string
	path   string
	end    string // of the path
	query  string
	client string
	config func(*config.Config)
}

// failures are in the order of the decision table. PasswordBlocked, Password and
// OtherBearer are about requests without a token; see decisionCases.
var failures = []failure{
	{reason: authz.MalformedCredential, query: "?a={unknown}"},
	{reason: authz.MalformedToken, value: func(_ *testing.T, v token.Value) string { return v.Reveal()[:66] + "!" }},
	{reason: authz.IndexStale, later: tokensStaleAfter},
	{reason: authz.UnknownToken, absent: true},
	{reason: authz.WrongSecret, value: func(t *testing.T, v token.Value) string { return remint(t, v).Reveal() }},
	{reason: authz.WrongUser, user: "wilma"},
	{reason: authz.Expired, token: func(r *store.Token) { r.Expires = now }},
	{reason: authz.Pending, state: store.Pending},
	{reason: authz.Disabled, state: store.Disabled},
	{reason: authz.NoClientAddress, client: "none"},
	{reason: authz.DirectoryStale, later: staleAfter},
	{reason: authz.OwnerInactive, owner: "JIRAUSER1"},
	{reason: authz.OwnerNotPermitted, owner: "BANNED"},
	{reason: authz.NoUpstreamCredential, config: withPATs},
	{reason: authz.AmbiguousPath, end: ";x"},
	{reason: authz.NetworkDenied, config: func(c *config.Config) { c.Network.Deny = prefixes("0.0.0.0/0") }},
	{reason: authz.NetworkDenied, config: func(c *config.Config) { c.Network.Allow = nil }},
	{reason: authz.NetworkNotAllowed, token: func(r *store.Token) { r.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }},
	{reason: authz.WrongTokenType, path: "/rest/api-tokens/latest/"},
	{reason: authz.PathNotAllowed, config: func(c *config.Config) { c.Tokens.Paths = []string{"/secure/"} }},
	{reason: authz.EndpointForbidden, path: "/rest/pat/latest/tokens"},
	{reason: authz.ReadOnly, method: "DELETE", token: func(r *store.Token) { r.ReadOnly = true }},
	{reason: authz.RateLimited, token: func(r *store.Token) { r.Rate = store.Rate{Requests: 1, Per: 2 * staleAfter, Burst: 1} }},
}

// requestWith returns a request with these failures and the id of its token, which
// it puts into the index.
func (w world) requestWith(t *testing.T, bs ...failure) (c decisionCase, id token.ID) {
	t.Helper()
	v := mint(t, token.Ordinary)
	record := store.Token{ID: v.ID().String(), Owner: store.Owner{Name: "Fred"}, State: store.Active, Secret: secretOf(t, v)}
	path, end, value, user, absent := "/rest/api/2/issue", "", v.Reveal(), "", false
	var configs []func(*config.Config)
	for _, b := range bs {
		if b.value != nil {
			value = b.value(t, v)
		}
		if b.token != nil {
			b.token(&record)
		}
		if b.state != 0 {
			record.State = b.state
		}
		if b.path != "" {
			path = b.path
		}
		record.Owner.Key += b.owner
		c.later += b.later
		if b.config != nil {
			configs = append(configs, b.config)
		}
		absent = absent || b.absent
		user, end = user+b.user, end+b.end+b.query
		c.method, c.client = c.method+b.method, c.client+b.client
	}
	if !absent {
		w.index.Put(record)
		entry, _ := w.index.Lookup(record.ID)
		entry.Limiter.Take(now)
	}
	c.path, c.config, c.authorization = path+end, both(configs...), "Bearer "+value
	if user != "" {
		c.authorization = "Basic {b64 " + user + ":" + value + "}"
	}
	return c, v.ID()
}

// Of any two failures of a request, the first in the decision table decides.
func TestFirstCheckDecides(t *testing.T) {
	w := newWorld(t)
	decide := func(name string, want authz.Reason, bs ...failure) {
		c, id := w.requestWith(t, bs...)
		user, known := "", token.ID{}
		if want.SecretVerified() {
			user = "Fred"
		}
		if want > authz.MalformedToken {
			known = id
		}
		if d := c.run(t, w); d.Reason != want || d.User != user || d.TokenID != known {
			t.Errorf("%s: %v, user %q, token %q; want %v, %q, %q", name, d.Reason, d.User, d.TokenID, want, user, known)
		}
	}
	decide("nothing wrong", authz.TokenAllowed)
	for i, a := range failures {
		decide(a.reason.String(), a.reason, a)
		for _, b := range failures[i+1:] {
			if a.value != nil && b.value != nil || a.state != 0 && b.state != 0 || a.owner != "" && b.owner != "" || a.path != "" && b.path != "" {
				continue
			}
			decide(a.reason.String()+" and "+b.reason.String(), a.reason, a, b)
		}
	}
}
