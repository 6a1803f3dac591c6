package authz_test

import (
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
)

// now is the time of every decision in these tests.
var now = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// world is an index with one token of each kind and state, and their values.
type world struct {
	index  *index.Index
	values map[string]token.Value
}

func newWorld(t testing.TB) world {
	t.Helper()
	w := world{&index.Index{}, map[string]token.Value{}}
	w.index.UpdateOwnerStatus(ownerStatus, now.Add(staleAfter))
	w.index.SetTokensFresh(now.Add(tokensStaleAfter))
	w.add(t, "fred", func(e *store.Token) {})
	w.add(t, "reader", func(e *store.Token) { e.ReadOnly = true })
	w.add(t, "office", func(e *store.Token) {
		e.Networks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
	})
	w.add(t, "expired", func(e *store.Token) { e.Expires = now })
	w.add(t, "expiring", func(e *store.Token) { e.Expires = now.Add(time.Second) })
	w.add(t, "disabled", func(e *store.Token) { e.State = store.Disabled })
	w.add(t, "pending", func(e *store.Token) { e.State = store.Pending })
	w.add(t, "stateless", func(e *store.Token) { e.State = 0 })
	w.add(t, "revoked", func(e *store.Token) { e.State, e.Secret = store.Revoked, store.Secret{} })
	w.values["posing"] = pose(t, w.values["fred"])
	w.rotate(t, "overlapping", now.Add(time.Second))
	w.rotate(t, "overlapped", now)
	w.values["fred forged"] = remint(t, w.values["fred"])
	w.values["overlapping forged"] = remint(t, w.values["overlapping"])
	w.values["unknown"] = mint(t, token.Ordinary)
	w.values["unknown management"] = mint(t, token.Management)
	w.add(t, "gone", func(e *store.Token) { e.Owner.Name = "Gone" })
	w.add(t, "unheard-of", func(e *store.Token) { e.Owner.Key = "UNKNOWN" })
	w.add(t, "connected", func(e *store.Token) { e.Owner.Key = "CONNECTED" })
	w.add(t, "broken", func(e *store.Token) { e.Owner.Key = "BROKEN" })
	w.index.SetUpstreams(map[string]*index.Upstream{"CONNECTED": index.NewUpstream("answer"), "BROKEN": index.BrokenUpstream})
	w.add(t, "banned", func(e *store.Token) { e.Owner.Key = "BANNED" })
	w.add(t, "another user's name", func(e *store.Token) { e.Owner.Key = "JIRAUSER1" })
	w.add(t, "rated", func(e *store.Token) { e.Rate = store.Rate{Requests: 1, Per: time.Minute, Burst: 1} })
	w.add(t, "spent", func(e *store.Token) { e.Rate = store.Rate{Requests: 1, Per: time.Minute, Burst: 1} })
	w.spend(t, "spent")
	w.addKind(t, token.Management, "management", func(e *store.Token) {
		e.Kind, e.Owner, e.ReadOnly = store.Management, store.Owner{}, true
		e.Networks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	})
	w.addKind(t, token.Management, "management over", func(e *store.Token) {
		e.Kind, e.Owner, e.Expires = store.Management, store.Owner{}, now
	})
	w.values["posing ordinary"] = poseOrdinary(t, w.values["management"])
	return w
}

// After these times the directory and the tokens are stale.
const (
	staleAfter       = time.Hour
	tokensStaleAfter = 3 * staleAfter
)

// ownerStatus returns the status of an owner.
func ownerStatus(o store.Owner, _ index.OwnerStatus) index.OwnerStatus {
	switch {
	case o == store.Owner{Name: "Fred"}, o.Key == "CONNECTED", o.Key == "BROKEN":
		return index.OwnerPermitted
	case o.Key == "UNKNOWN":
		return index.OwnerUnknown
	case o.Key == "BANNED":
		return index.OwnerNotPermitted
	}
	return index.OwnerInactive
}

// spend makes the only request that a token of the world may make.
func (w world) spend(t testing.TB, name string) {
	t.Helper()
	d := w.decide(name)
	if d.CountAgainstRate(now); d.Reason != authz.TokenAllowed {
		t.Fatalf("the first request is %v", d.Reason)
	}
}

// decide decides a plain request with a token.
func (w world) decide(name string) authz.Decision {
	r, view := decisionCase{authorization: "Bearer {" + name + "}"}.request(w)
	return authz.Decide(r, view)
}

func mint(t testing.TB, kind token.Kind) token.Value {
	t.Helper()
	v, err := token.Mint(kind, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// remint returns a value with the id of v and another secret.
func remint(t testing.TB, v token.Value) token.Value {
	t.Helper()
	fresh, err := token.Remint(v.Kind(), v.ID(), token.Random)
	if err != nil {
		t.Fatal(err)
	}
	return fresh
}

// pose returns a management token with the id and secret of an ordinary one.
// Clients can make it, because the checksum is not secret.
func pose(t testing.TB, v token.Value) token.Value { return withPrefix(t, "tgadm_", v) }

func poseOrdinary(t testing.TB, v token.Value) token.Value { return withPrefix(t, "tgate_", v) }

func withPrefix(t testing.TB, prefix string, v token.Value) token.Value {
	t.Helper()
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	text := prefix + v.Reveal()[len("tgate_"):61]
	sum := make([]byte, 6)
	for crc, i := crc32.ChecksumIEEE([]byte(text)), 5; i >= 0; i-- {
		sum[i] = digits[crc%62]
		crc /= 62
	}
	posing, err := token.Parse(text + string(sum))
	if err != nil {
		t.Fatal(err)
	}
	return posing
}

func secretOf(t testing.TB, v token.Value) store.Secret {
	t.Helper()
	salt, err := token.Salt(token.Random)
	if err != nil {
		t.Fatal(err)
	}
	return store.Secret{Salt: salt, Hash: v.Hash(salt)}
}

// add puts a token of Fred into the index, with its value under a name.
func (w world) add(t testing.TB, name string, change func(*store.Token)) {
	t.Helper()
	w.addKind(t, token.Ordinary, name, change)
}

func (w world) addKind(t testing.TB, kind token.Kind, name string, change func(*store.Token)) {
	t.Helper()
	v := mint(t, kind)
	w.values[name] = v
	record := store.Token{ID: v.ID().String(), Owner: store.Owner{Name: "Fred"}, State: store.Active, Secret: secretOf(t, v)}
	change(&record)
	w.index.Put(record)
}

// rotate adds a token with a new secret, under name, and a previous one, under
// name+" old", that is valid until the given time.
func (w world) rotate(t testing.TB, name string, until time.Time) {
	t.Helper()
	old := mint(t, token.Ordinary)
	fresh := remint(t, old)
	w.values[name], w.values[name+" old"] = fresh, old
	w.index.Put(store.Token{
		ID: old.ID().String(), Owner: store.Owner{Name: "Fred"}, State: store.Active,
		Secret: secretOf(t, fresh), Previous: store.Previous{Secret: secretOf(t, old), Until: until},
	})
}

// fill replaces {name} with that token's value, and {b64 text} with its base64.
func (w world) fill(text string) string {
	if !strings.Contains(text, "{") {
		return text
	}
	for name, v := range w.values {
		text = strings.ReplaceAll(text, "{"+name+"}", v.Reveal())
	}
	text = tails(w.values["fred"].Reveal()).Replace(text)
	for {
		before, rest, found := strings.Cut(text, "{b64 ")
		if !found {
			return text
		}
		plain, after, _ := strings.Cut(rest, "}")
		text = before + base64.StdEncoding.EncodeToString([]byte(plain)) + after
	}
}

// A decisionCase is one case of the decision table. By default the request is GET
// /rest/api/2/myself from 10.1.2.3.
type decisionCase struct {
	name          string
	authorization string
	method        string
	path          string
	client        string
	protocol      string
	later         time.Duration // than now
	header        map[string]string
	body          string // of a POST to a session; "": a password's; "none": none
	config        func(*config.Config)

	outcome authz.Outcome
	reason  authz.Reason
	detail  authz.Detail
	user    string
	newPath string
	write   bool
	observe bool
}

const (
	refused  = authz.Denied
	passed   = authz.PassThrough
	admitted = authz.Allowed
)

func block(c *config.Config)   { c.Passwords.Mode = config.PasswordsBlock }
func observe(c *config.Config) { c.Passwords.Mode = config.PasswordsObserve }
func query(c *config.Config)   { c.Tokens.QueryParameter = "access_token" }

func both(fs ...func(*config.Config)) func(*config.Config) {
	return func(c *config.Config) {
		for _, f := range fs {
			f(c)
		}
	}
}

func prefixes(texts ...string) (ps []config.Prefix) {
	for _, t := range texts {
		ps = append(ps, config.Prefix{Prefix: netip.MustParsePrefix(t)})
	}
	return ps
}

// request returns the request and the View of the case.
func (c decisionCase) request(w world) (*authz.Request, authz.View) {
	settings := config.Default()
	if c.config != nil {
		c.config(&settings)
	}
	r := &authz.Request{
		Method:        "GET",
		Path:          "/rest/api/2/myself",
		Client:        netip.MustParseAddr("10.1.2.3"),
		Protocol:      c.protocol,
		Authorization: w.fill(c.authorization),
	}
	if c.method != "" {
		r.Method = c.method
	}
	if c.path != "" {
		r.Path = w.fill(c.path)
	}
	switch c.client {
	case "":
	case "none":
		r.Client = netip.Addr{}
	default:
		r.Client = netip.MustParseAddr(c.client)
	}
	for name, value := range c.header {
		*r.Header(name) = value
	}
	switch {
	case c.body == "none":
	case c.body != "":
		r.Body = w.fill(c.body)
	case strings.Contains(r.Path, "session"):
		r.Body = `{"username":"fred","password":"pw"}`
	}
	return r, authz.View{Policy: policy.New(settings), Index: w.index, Now: now.Add(c.later)}
}

// run makes the decision and checks that Explain agrees with it.
func (c decisionCase) run(t *testing.T, w world) authz.Decision {
	t.Helper()
	r, view := c.request(w)
	decision := authz.Decide(r, view)

	explained, verdicts := authz.Explain(r, view)
	if decision != explained {
		t.Errorf("Explain differs from Decide (-Decide +Explain):\n%s", cmp.Diff(decision, explained, cmpopts.IgnoreUnexported(authz.Decision{})))
	}
	// "passed" before the deciding check, "not reached" after it.
	at := slices.IndexFunc(verdicts, func(v authz.CheckResult) bool { return v.Result == "decides" })
	if at < 0 {
		t.Errorf("Explain has no deciding check: %+v", verdicts)
	}
	for i, v := range verdicts {
		want := authz.CheckResult{Check: v.Check, Result: "passed"}
		switch {
		case i == at:
			want.Result, want.Reason = "decides", decision.Reason
		case i > at:
			want.Result = "not reached"
		}
		if v != want || v.Check == "" {
			t.Errorf("verdict %d is %+v, want %+v", i, v, want)
		}
	}
	return decision
}

// check makes the decision and compares it with the expected one.
func (c decisionCase) check(t *testing.T, w world) authz.Decision {
	t.Helper()
	d := c.run(t, w)
	got := fmt.Sprintf("%v %v user=%q path=%q write=%v observe=%v", d.Outcome, d.Reason, d.User, redact(d.Path), d.Write, d.WouldBlock)
	want := fmt.Sprintf("%v %v user=%q path=%q write=%v observe=%v", c.outcome, c.reason, c.user, c.newPath, c.write, c.observe)
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	return d
}

func TestDecisionTable(t *testing.T) {
	w := newWorld(t)
	seen := map[authz.Reason]bool{authz.BadCheck: true} // a question that is no HTTP request: package envoy
	for _, c := range decisionCases() {
		t.Run(strings.ReplaceAll(c.name, "/", "|"), func(t *testing.T) {
			seen[c.check(t, w).Reason] = true
		})
	}
	for _, reason := range authz.Reasons() {
		if !seen[reason] {
			t.Errorf("no case for %v", reason)
		}
	}
}

func redact(s string) string { return token.Redact(s) }

func TestZeroValuesDeny(t *testing.T) {
	w := newWorld(t)
	settings := policy.New(config.Default())
	good := &authz.Request{
		Method: "GET", Path: "/rest/api/2/myself", Client: netip.MustParseAddr("10.1.2.3"),
		Authorization: "Bearer " + w.values["fred"].Reveal(),
	}
	if d := authz.Decide(good, authz.View{Policy: settings, Index: w.index, Now: now}); d.Outcome != authz.Allowed {
		t.Fatalf("the good request is %v %v", d.Outcome, d.Reason)
	}
	fred := store.Token{ID: w.values["fred"].ID().String(), Owner: store.Owner{Name: "Fred"}, State: store.Active,
		Secret: secretOf(t, w.values["fred"])}
	bare, unjudged := &index.Index{}, &index.Index{}
	bare.Put(fred)
	unjudged.Put(fred)
	unjudged.SetTokensFresh(store.Forever)
	for name, c := range map[string]struct {
		request *authz.Request
		view    authz.View
		want    authz.Reason
	}{
		"the zero view":               {good, authz.View{}, authz.BadCheck},
		"no policy":                   {good, authz.View{Index: w.index, Now: now}, authz.BadCheck},
		"the zero policy":             {good, authz.View{Policy: &policy.Policy{}, Index: w.index, Now: now}, authz.BadCheck},
		"no index":                    {good, authz.View{Policy: settings, Now: now}, authz.BadCheck},
		"an empty index":              {good, authz.View{Policy: settings, Index: &index.Index{}, Now: now}, authz.IndexStale},
		"an index without a feed":     {good, authz.View{Policy: settings, Index: bare, Now: now}, authz.IndexStale},
		"an index that nobody judged": {good, authz.View{Policy: settings, Index: unjudged, Now: now}, authz.DirectoryStale},
		"no clock":                    {good, authz.View{Policy: settings, Index: w.index}, authz.BadCheck},
		"a bare token":                {&authz.Request{Authorization: good.Authorization}, authz.View{Policy: settings, Index: w.index, Now: now}, authz.NoClientAddress},
		"no view, nor any credential": {&authz.Request{Path: "/"}, authz.View{}, authz.BadCheck},
	} {
		if d := authz.Decide(c.request, c.view); d.Outcome != authz.Denied || d.Reason != c.want {
			t.Errorf("%s: %v %v, want %v", name, d.Outcome, d.Reason, c.want)
		}
	}
	var zero authz.Decision
	if zero.Outcome != authz.Denied || zero.Reason.Status() != 503 || authz.Reason(200).Status() != 503 {
		t.Errorf("the zero decision is %v, status %d", zero.Outcome, zero.Reason.Status())
	}
}

// Without a verified secret, the text of a denial must not reveal whether a token
// exists.
func TestTextsRevealNothing(t *testing.T) {
	texts := map[string]bool{}
	for _, r := range []authz.Reason{authz.UnknownToken, authz.WrongSecret} {
		if r.SecretVerified() {
			t.Errorf("%v counts as proved", r)
		}
		texts[fmt.Sprint(r.Status(), r.Text())] = true
	}
	if len(texts) != 1 {
		t.Errorf("a stranger can tell the cases apart: %v", texts)
	}
}

func TestHeadersIsComplete(t *testing.T) {
	var r authz.Request
	places := map[*string]string{}
	for _, name := range authz.Headers {
		place := r.Header(name)
		if place == nil {
			t.Fatalf("no place for %s", name)
		}
		if other, taken := places[place]; taken {
			t.Errorf("%s and %s share a place", name, other)
		}
		places[place] = name
	}
	if r.Header("cookie") != nil {
		t.Error("cookies are read")
	}
}

// Decisions of one Request reuse its Memory, but the Decision of an explanation
// stays valid.
func TestRequestMemory(t *testing.T) {
	w := newWorld(t)
	c := decisionCase{authorization: "Basic {b64 fred:{fred}}"}
	r, view := c.request(w)
	r.Path = "/rest/api/latest/search?os_authType=basic&a=%41"
	explained, _ := authz.Explain(r, view)
	const want = "/rest/api/latest/search?a=%41"
	for range 100 {
		if d := authz.Decide(r, view); d.Reason != authz.TokenAllowed || d.Path != want {
			t.Fatalf("%v, path %q", d.Reason, d.Path)
		}
	}
	if n := cap(r.Memory); n > 4<<10 {
		t.Errorf("the memory of one request has grown to %d bytes", n)
	}
	clear(r.Memory[:cap(r.Memory)])
	if explained.Path != want {
		t.Errorf("the explained path has become %q", explained.Path)
	}
}
