package manage_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

const organisation = `
directory: {file: "FILE"}
access:
  use: [staff]
  create:
    - {groups: [devs], maxLifetime: 90d}
    - {groups: [readers], maxLifetime: 365d, readOnly: true}
    - {groups: [vendors], maxLifetime: 30d, approval: true, networks: required, rate: {requests: 60, per: 1m, burst: 10}}
    - {groups: [leads], maxLifetime: unlimited}
  createForOthers: [{groups: [leads, vendors], for: [robots]}]
  admin: [admins]
tokens: {maxPerUser: 5, maxOverlap: 2d}
`

const everybody = `
users:
  - {name: alice, key: KEY1, groups: [staff, devs]}
  - {name: rita, key: KEY2, groups: [staff, readers]}
  - {name: vic, key: KEY3, groups: [staff, vendors]}
  - {name: lea, key: KEY4, groups: [staff, leads]}
  - {name: rob, key: KEY5, groups: [staff, robots]}
  - {name: rover, key: KEY6, groups: [staff, robots, readers]}
  - {name: ada, key: KEY7, groups: [staff, admins]}
  - {name: adam, key: KEY8, groups: [staff, admins]}
  - {name: rex, key: KEY9, groups: [staff, robots, admins]}
  - {name: otto, key: KEY10, groups: [devs]}
  - {name: nell, key: KEY11, groups: [staff]}
  - {name: gus, key: KEY12, groups: [staff, devs], active: false}
`

// company is a fixture with users and policies.
type company struct {
	*fixture
	file string
}

func newCompany(t testing.TB) *company {
	t.Helper()
	c := &company{file: filepath.Join(t.TempDir(), "users.yaml")}
	c.write(t, everybody)
	c.fixture = newFixtureOf(t, strings.ReplaceAll(organisation, "FILE", c.file), directory.NewFile(c.file), func(s store.Store) store.Store { return s })
	return c
}

// write replaces the directory's file.
func (c *company) write(t testing.TB, users string) {
	t.Helper()
	if err := os.WriteFile(c.file, []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
}

// now writes and refreshes the directory.
func (c *company) now(t testing.TB, old, new string) {
	t.Helper()
	if !strings.Contains(everybody, old) {
		t.Fatalf("there is no user %q", old)
	}
	c.write(t, strings.ReplaceAll(everybody, old, new))
	c.refresh(t)
}

// as returns a logged-in user.
func (c *company) as(t testing.TB, name string) manage.Caller {
	t.Helper()
	u, err := c.directory.Lookup(t.Context(), name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return manage.User(u, "192.0.2.7")
}

// creates creates a token.
func (c *company) creates(t testing.TB, name string, n manage.NewToken) manage.Issued {
	t.Helper()
	if n.Name == "" {
		n.Name = "ci"
	}
	issued, err := c.Create(t.Context(), c.as(t, name), n)
	if err != nil {
		t.Fatalf("%s creates %+v: %v", name, n, err)
	}
	return issued
}

const day = 24 * time.Hour

var rateText = config.Rate{Requests: 30, Per: time.Minute, Burst: 5}

// What users may create, and the result.
func TestTerms(t *testing.T) {
	office := []string{"10.1.0.0/16"}
	for name, test := range map[string]struct {
		who  string
		ask  manage.NewToken
		code *manage.Error // nil: done
		says string

		owner    string
		life     time.Duration // 0: without end
		readOnly bool
		state    manage.State
		rate     config.Rate
	}{
		"the policy's maximum":  {who: "alice", owner: "alice", life: 90 * day, state: manage.StateActive},
		"by name":               {who: "alice", ask: manage.NewToken{Owner: "ALICE"}, owner: "alice", life: 90 * day, state: manage.StateActive},
		"90 days":               {who: "alice", ask: manage.NewToken{Expires: days(90)}, owner: "alice", life: 90 * day, state: manage.StateActive},
		"91 days":               {who: "alice", ask: manage.NewToken{Expires: days(91)}, code: manage.ErrInvalid, says: "90d"},
		"for ever":              {who: "alice", ask: manage.NewToken{Expires: unlimited}, code: manage.ErrInvalid, says: "access.create[0].maxLifetime"},
		"narrower":              {who: "alice", ask: manage.NewToken{Expires: days(1), ReadOnly: true, Networks: office, Rate: rateText}, owner: "alice", life: day, readOnly: true, state: manage.StateActive, rate: config.Rate{Requests: 30, Per: time.Minute, Burst: 5}},
		"read-only by policy":   {who: "rita", owner: "rita", life: 365 * day, readOnly: true, state: manage.StateActive},
		"without end":           {who: "lea", owner: "lea", state: manage.StateActive},
		"with approval":         {who: "vic", ask: manage.NewToken{Networks: office}, owner: "vic", life: 30 * day, state: manage.StatePending, rate: config.Rate{Requests: 60, Per: time.Minute, Burst: 10}},
		"a lower rate":          {who: "vic", ask: manage.NewToken{Networks: office, Rate: rateText}, owner: "vic", life: 30 * day, state: manage.StatePending, rate: config.Rate{Requests: 30, Per: time.Minute, Burst: 5}},
		"a higher rate":         {who: "vic", ask: manage.NewToken{Networks: office, Rate: config.Rate{Requests: 61, Per: time.Minute, Burst: 1}}, code: manage.ErrInvalid, says: "60 per 1m"},
		"a larger burst":        {who: "vic", ask: manage.NewToken{Networks: office, Rate: config.Rate{Requests: 60, Per: time.Minute, Burst: 11}}, code: manage.ErrInvalid, says: "access.create[2].rate"},
		"from everywhere":       {who: "vic", ask: manage.NewToken{Networks: []string{"0.0.0.0/1", "128.0.0.0/1"}}, code: manage.ErrInvalid, says: "no larger than a /8"},
		"from all of IPv6":      {who: "vic", ask: manage.NewToken{Networks: []string{"2000::/3"}}, code: manage.ErrInvalid, says: "no larger than a /8"},
		"the internet in parts": {who: "vic", ask: manage.NewToken{Networks: slash8s(1, 65)}, code: manage.ErrInvalid, says: "together no larger"},
		"without networks":      {who: "vic", code: manage.ErrInvalid, says: "networks"},
		"no policy":             {who: "nell", code: manage.ErrForbidden, says: "access.create"},
		"may not use":           {who: "otto", code: manage.ErrForbidden, says: "access.use"},
		"for another":           {who: "alice", ask: manage.NewToken{Owner: "rob"}, code: manage.ErrForbidden, says: "access.createForOthers"},
		"for another, refused":  {who: "alice", ask: manage.NewToken{Owner: "who"}, code: manage.ErrForbidden, says: "access.createForOthers"},
		"for a robot":           {who: "lea", ask: manage.NewToken{Owner: "rob"}, owner: "rob", state: manage.StateActive},
		"for a bound robot":     {who: "lea", ask: manage.NewToken{Owner: "Rover"}, owner: "rover", life: 365 * day, readOnly: true, state: manage.StateActive},
		"for no robot":          {who: "lea", ask: manage.NewToken{Owner: "alice"}, code: manage.ErrForbidden, says: "No policy lets you"},
		"for an administrator":  {who: "lea", ask: manage.NewToken{Owner: "rex"}, code: manage.ErrForbidden, says: "No policy lets you"},
		"for an unknown user":   {who: "lea", ask: manage.NewToken{Owner: "who"}, code: manage.ErrInvalid, says: "no such user"},
		"for an inactive user":  {who: "ada", ask: manage.NewToken{Owner: "gus"}, code: manage.ErrInvalid, says: "deactivated"},
		"for others, bound":     {who: "vic", ask: manage.NewToken{Owner: "rover", Networks: office}, owner: "rover", life: 30 * day, readOnly: true, state: manage.StatePending, rate: config.Rate{Requests: 60, Per: time.Minute, Burst: 10}},
		"administrator for all": {who: "ada", ask: manage.NewToken{Owner: "alice", Expires: unlimited}, owner: "alice", state: manage.StateActive},
		"administrators, too":   {who: "ada", ask: manage.NewToken{Owner: "rex"}, owner: "rex", life: 365 * day, state: manage.StateActive},
		"for who may not use":   {who: "ada", ask: manage.NewToken{Owner: "otto"}, code: manage.ErrForbidden, says: "access.use"},
		"management":            {who: "alice", ask: manage.NewToken{Management: true, Expires: days(1), Networks: office}, code: manage.ErrForbidden, says: "access.admin"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCompany(t)
			test.ask.Name = "ci"
			issued, err := c.Create(t.Context(), c.as(t, test.who), test.ask)
			audit := c.lastAudit(t)
			if audit.Actor != test.who || audit.From != "192.0.2.7" || audit.Action != "token.create" {
				t.Errorf("audit record %+v", audit)
			}
			if test.code != nil {
				refusal := is(t, err, test.code)
				if !strings.Contains(refusal.Message, test.says) {
					t.Errorf("the message is %q; it does not say %q", refusal.Message, test.says)
				}
				if n := c.count(t); n != 0 || audit.Outcome != "refused" {
					t.Errorf("%d tokens, audit record %+v", n, audit)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			k := issued.Token
			want := manage.Token{
				ID: k.ID, Number: 1, Owner: test.owner, Mine: test.owner == test.who, Name: "ci", Created: start, CreatedBy: test.who,
				ReadOnly: test.readOnly, Networks: k.Networks, State: test.state, Rate: test.rate,
			}
			if test.life > 0 {
				want.Expires = start.Add(test.life)
			}
			equal(t, "token", k, want)
			if reason := map[manage.State]authz.Reason{manage.StateActive: authz.TokenAllowed, manage.StatePending: authz.Pending}[test.state]; len(k.Networks) == 0 {
				c.decides(t, issued.Value, reason)
			}
			record, err := c.tokens.Get(t.Context(), k.ID)
			if err != nil || record.Owner.Key == "" || record.CreatedByKey == "" {
				t.Errorf("the record has the keys %q and %q, %v", record.Owner.Key, record.CreatedByKey, err)
			}
		})
	}
}

// Tokens of others, revoked tokens and unknown ids are indistinguishable.
func TestOthersTokensLookUnknown(t *testing.T) {
	c := newCompany(t)
	live := c.creates(t, "alice", manage.NewToken{}).Token
	gone := c.creates(t, "alice", manage.NewToken{Name: "gone"}).Token
	if err := c.Revoke(t.Context(), c.as(t, "alice"), gone.ID); err != nil {
		t.Fatal(err)
	}
	rita := c.as(t, "rita")
	for _, id := range []string{live.ID, gone.ID, "000000000000", "1", "2", "99", "x"} {
		_, get := c.Get(t.Context(), rita, id)
		_, change := c.Change(t.Context(), rita, id, manage.Change{})
		_, rotate := c.Rotate(t.Context(), rita, id, manage.Rotation{})
		_, _, explain := c.Explain(t.Context(), rita, &authz.Request{}, id, authz.View{})
		for what, err := range map[string]error{"get": get, "change": change, "rotate": rotate, "explain": explain, "revoke": c.Revoke(t.Context(), rita, id)} {
			if refusal := is(t, err, manage.ErrNotFound); refusal.Message != "There is no token with this id." || refusal.Field != "" {
				t.Errorf("%s %s: %+v", what, id, refusal)
			}
		}
		for what, err := range map[string]error{
			"approve": c.Approve(t.Context(), rita, id), "disable": c.Disable(t.Context(), rita, id), "enable": c.Enable(t.Context(), rita, id),
		} {
			if refusal := is(t, err, manage.ErrForbidden); refusal.Message != "Only administrators may do this (access.admin)." {
				t.Errorf("%s %s: %+v", what, id, refusal)
			}
		}
	}
	if owned, err := c.own(t, rita); err != nil || len(owned) != 0 {
		t.Errorf("rita has %v, %v", owned, err)
	}
	if err := c.RevokeAll(t.Context(), rita, ""); err != nil {
		t.Errorf("rita revokes her tokens: %v", err)
	}
	is(t, c.RevokeAll(t.Context(), rita, "alice"), manage.ErrForbidden)
	if k, err := c.Get(t.Context(), c.as(t, "alice"), "1"); err != nil || k.ID != live.ID || k.State != manage.StateActive {
		t.Errorf("alice's token is %+v, %v", k, err)
	}
}

// slash8s returns the IPv4 /8 networks from the first to before the last.
func slash8s(first, last int) (networks []string) {
	for n := first; n < last; n++ {
		networks = append(networks, fmt.Sprintf("%d.0.0.0/8", n))
	}
	return networks
}

// Required networks must restrict something, all of them together.
func TestRequiredNetworksTogether(t *testing.T) {
	sixteens := func(n int) (networks []string) {
		for i := range n {
			networks = append(networks, fmt.Sprintf("20%02x::/16", i))
		}
		return networks
	}
	for name, asked := range map[string]struct {
		networks []string
		good     bool
	}{
		"one /8":                        {[]string{"10.0.0.0/8"}, true},
		"private networks":              {[]string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.1"}, true},
		"two /8":                        {slash8s(10, 12), true},
		"two /8 and an address":         {append(slash8s(10, 12), "192.0.2.1"), false},
		"two /8 and an address in them": {append(slash8s(10, 12), "10.0.0.1", "11.1.0.0/16"), true},
		"one /8 in two spellings":       {[]string{"10.0.0.0/8", "::ffff:10.0.0.0/104", "11.0.0.0/8"}, true},
		"three /8":                      {slash8s(10, 13), false},
		"64 /8":                         {slash8s(0, 64), false},
		"five /9":                       {[]string{"10.0.0.0/9", "20.0.0.0/9", "30.0.0.0/9", "40.0.0.0/9", "50.0.0.0/9"}, false},
		"four /9":                       {[]string{"10.0.0.0/9", "20.0.0.0/9", "30.0.0.0/9", "40.0.0.0/9"}, true},
		"a /7":                          {[]string{"10.0.0.0/7"}, false},
		"64 addresses":                  {strings.Fields(strings.Repeat("192.0.2.1 2001:db8::1 ", 32)), true},
		"two /16 of IPv6":               {sixteens(2), true},
		"two /16 of IPv6 and a /64":     {append(sixteens(2), "fd00::/64"), false},
		"two /16 of IPv6, two /8":       {append(sixteens(2), slash8s(10, 12)...), true},
		"three /16 of IPv6":             {sixteens(3), false},
		"64 /16 of IPv6":                {sixteens(64), false},
		"a /15 of IPv6":                 {[]string{"2000::/15"}, false},
	} {
		c := newCompany(t)
		_, err := c.Create(t.Context(), c.as(t, "vic"), manage.NewToken{Name: "x", Networks: asked.networks})
		management := manage.NewToken{Management: true, Name: "x", Networks: asked.networks, Expires: days(1)}
		_, errManagement := c.Create(t.Context(), root, management)
		for kind, err := range map[string]error{"token": err, "management token": errManagement} {
			if asked.good && err != nil {
				t.Errorf("%s, for a %s: %v", name, kind, err)
			} else if !asked.good {
				is(t, err, manage.ErrInvalid, manage.FieldNetworks)
			}
		}
	}
	// A change does not get around it.
	c := newCompany(t)
	made, err := c.Create(t.Context(), root, manage.NewToken{Management: true, Name: "x", Networks: slash8s(10, 11), Expires: days(1)})
	if err != nil {
		t.Fatal(err)
	}
	wide := slash8s(10, 13)
	_, err = c.Change(t.Context(), root, made.Token.ID, manage.Change{Networks: &wide})
	is(t, err, manage.ErrInvalid, manage.FieldNetworks)
}

// Revoking all tokens of a user who never had one fails, because the name is
// probably mistyped.
func TestRevokeAllOfUnknownUser(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "alice", manage.NewToken{})
	ada := c.as(t, "ada")
	for _, by := range []manage.Caller{ada, root} {
		for _, name := range []string{"nobody", "alic", "rob"} {
			if refusal := is(t, c.RevokeAll(t.Context(), by, name), manage.ErrNotFound); !strings.Contains(refusal.Message, name+" has never had") {
				t.Errorf("%q", refusal.Message)
			}
		}
	}
	for range 2 { // the second time there is nothing left to do, and no mistake
		if err := c.RevokeAll(t.Context(), ada, "ALICE"); err != nil {
			t.Error(err)
		}
	}
	c.decides(t, k.Value, authz.UnknownToken)
	if err := c.RevokeAll(t.Context(), ada, "ada"); err != nil {
		t.Errorf("one's own, where there are none: %v", err)
	}
	if a := c.lastAudit(t); a.Action != "token.revoke" || a.Owner != "alice" && a.Outcome != "done" {
		t.Errorf("the last record is %+v", a)
	}
}

// Administrators see and manage all tokens until they lose the role.
func TestAdministrator(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "alice", manage.NewToken{})
	ada := c.as(t, "ada")
	page, err := c.List(t.Context(), ada, manage.Query{})
	if err != nil || page.Total != 1 || page.Tokens[0].ID != k.Token.ID {
		t.Errorf("the list is %+v, %v", page, err)
	}
	for _, who := range []string{"alice", "lea", "rob"} {
		_, err := c.List(t.Context(), c.as(t, who), manage.Query{})
		is(t, err, manage.ErrForbidden)
	}
	if err := c.Disable(t.Context(), ada, k.Token.ID); err != nil {
		t.Fatal(err)
	}
	c.decides(t, k.Value, authz.Disabled)
	c.now(t, "{name: ada, key: KEY7, groups: [staff, admins]}", "{name: ada, key: KEY7, groups: [staff]}")
	is(t, c.Enable(t.Context(), c.as(t, "ada"), k.Token.ID), manage.ErrForbidden)
	if err := c.Enable(t.Context(), c.as(t, "adam"), k.Token.ID); err != nil {
		t.Fatal(err)
	}
	c.decides(t, k.Value, authz.TokenAllowed)
	if err := c.RevokeAll(t.Context(), c.as(t, "adam"), "Alice"); err != nil {
		t.Fatal(err)
	}
	c.decides(t, k.Value, authz.UnknownToken)
}

// While the groups are unknown, operations that depend on them are unavailable
// rather than forbidden, with the same answer for every id. Other operations work.
func TestGroupsUnknown(t *testing.T) {
	c := newCompany(t)
	own := c.creates(t, "ada", manage.NewToken{}).Token.ID
	others := c.creates(t, "alice", manage.NewToken{}).Token.ID
	ada := manage.User(directory.User{Name: "ada", Key: "KEY7", Active: true}, "192.0.2.7")
	before := len(c.audit(t))
	_, create := c.Create(t.Context(), ada, manage.NewToken{Name: "x"})
	_, forOthers := c.Create(t.Context(), ada, manage.NewToken{Name: "x", Owner: "rob"})
	_, list := c.List(t.Context(), ada, manage.Query{})
	_, me := c.Me(t.Context(), ada)
	_, get := c.Get(t.Context(), ada, others)
	_, unknown := c.Get(t.Context(), ada, "000000000000")
	_, longer := c.Rotate(t.Context(), ada, own, manage.Rotation{Expires: days(9999)})
	for what, err := range map[string]error{
		"create": create, "create for another": forOthers, "list": list, "me": me, "another's": get, "unknown": unknown,
		"approve": c.Approve(t.Context(), ada, others), "longer": longer,
	} {
		if refusal := is(t, err, manage.ErrUnavailable); refusal.Message != is(t, create, manage.ErrUnavailable).Message {
			t.Errorf("%s: %s", what, refusal.Message)
		}
	}
	if n := len(c.audit(t)) - before; n != 0 {
		t.Errorf("%d records of unavailable decisions", n)
	}
	if _, err := c.Get(t.Context(), ada, own); err != nil {
		t.Error(err)
	}
	if err := c.Revoke(t.Context(), ada, own); err != nil {
		t.Error(err)
	}
	// Administrators can create for users of unknown groups.
	c.Directory = directoryWithoutGroups{c.Directory}
	if _, err := c.Create(t.Context(), root, manage.NewToken{Name: "y", Owner: "rob"}); err != nil {
		t.Error(err)
	}
	_, err := c.Create(t.Context(), c.as(t, "lea"), manage.NewToken{Name: "z", Owner: "rob"})
	is(t, err, manage.ErrUnavailable)
}

// directoryWithoutGroups is a directory that does not know the groups.
type directoryWithoutGroups struct{ manage.Directory }

func (u directoryWithoutGroups) Lookup(ctx context.Context, name string) (directory.User, error) {
	found, err := u.Directory.Lookup(ctx, name)
	found.Groups = directory.Groups{}
	return found, err
}

// The record of a refused attempt names its token.
func TestRefusalsNameTheToken(t *testing.T) {
	c := newCompany(t)
	id := c.creates(t, "alice", manage.NewToken{}).Token.ID
	is(t, c.Disable(t.Context(), c.as(t, "rita"), id), manage.ErrForbidden)
	if audit := c.lastAudit(t); audit.TokenID != id || audit.Owner != "" || audit.Outcome != "refused" {
		t.Errorf("audit record %+v", audit)
	}
	_, err := c.AuditLog(t.Context(), root, manage.AuditQuery{Action: "token.revok"})
	if refusal := is(t, err, manage.ErrInvalid, manage.FieldAction); !strings.Contains(refusal.Message, "token.revoke, ") {
		t.Errorf("the message is %q", refusal.Message)
	}
}
