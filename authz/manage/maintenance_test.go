package manage_test

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
)

const alice = "{name: alice, key: KEY1, groups: [staff, devs]}"

// own returns a user's own tokens.
func (c *company) own(t testing.TB, who manage.Caller) (owned []manage.Token, err error) {
	t.Helper()
	err = c.Own(t.Context(), who, func(some []manage.Token) error {
		owned = append(owned, some...)
		return nil
	})
	return owned, err
}

// state returns the state of a user's only token.
func (c *company) state(t testing.TB, who manage.Caller) manage.State {
	t.Helper()
	owned, err := c.own(t, who)
	if err != nil || len(owned) != 1 {
		t.Fatalf("%d tokens, %v", len(owned), err)
	}
	return owned[0].State
}

// Users who are deactivated lose the use of their tokens with the next refresh, and
// regain it when they return.
func TestDeactivatedOwner(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "alice", manage.NewToken{})
	before := c.as(t, "alice")
	for _, test := range []struct {
		name, now string
		reason    authz.Reason
	}{
		{"out of use", "{name: alice, key: KEY1, groups: [devs]}", authz.OwnerNotPermitted},
		{"deactivated", "{name: alice, key: KEY1, groups: [staff, devs], active: false}", authz.OwnerInactive},
		{"deleted", "{name: alison, key: KEY13, groups: [staff, devs]}", authz.OwnerInactive},
		{"name reused", "{name: alice, key: KEY13, groups: [staff, devs]}", authz.OwnerInactive},
	} {
		name := test.name
		c.now(t, alice, test.now)
		if got := c.reason(k.Value); got != test.reason {
			t.Errorf("%s: %v, want %v", name, got, test.reason)
		}
		if got := c.state(t, before); got != manage.StateSuspended {
			t.Errorf("%s: shown as %s", name, got)
		}
		page, err := c.List(t.Context(), root, manage.Query{State: manage.StateSuspended})
		if err != nil || page.Total != 1 {
			t.Errorf("%s: %d are listed as suspended, %v", name, page.Total, err)
		}
		if name == "name reused" {
			if owned, err := c.own(t, c.as(t, "alice")); err != nil || len(owned) != 0 {
				t.Errorf("the new alice has %v, %v", owned, err)
			}
			if page, err := c.ListOwn(t.Context(), c.as(t, "alice"), manage.Query{}); err != nil || page.Total != 0 {
				t.Errorf("%d tokens are listed for the new alice, %v", page.Total, err)
			}
			_, err := c.Get(t.Context(), c.as(t, "alice"), k.Token.ID)
			is(t, err, manage.ErrNotFound)
			if err := c.RevokeAll(t.Context(), c.as(t, "alice"), ""); err != nil {
				t.Error(err)
			}
			c.creates(t, "alice", manage.NewToken{}) // of the same name: it is another's
		}
		c.now(t, alice, alice)
		if c.reason(k.Value) != authz.TokenAllowed || name != "name reused" && c.state(t, before) != manage.StateActive {
			t.Errorf("%s, and back: %v, shown as %s", name, c.reason(k.Value), c.state(t, before))
		}
	}
}

// Tokens follow users whom Jira renames, and get the keys of owners who had none.
func TestSyncOwners(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "alice", manage.NewToken{})
	old := c.as(t, "alice")
	c.between = func() { c.decides(t, k.Value, authz.DirectoryStale) } // the old name may be another's
	c.now(t, alice, "{name: alicia, key: KEY1, groups: [staff, devs]}")
	c.between = nil
	got, err := c.Get(t.Context(), root, k.Token.ID)
	if err != nil || got.Owner != "alicia" {
		t.Fatalf("the owner is %q, %v", got.Owner, err)
	}
	c.decides(t, k.Value, authz.TokenAllowed)
	entry, _ := c.tokens.Index().Lookup(k.Token.ID)
	if entry.Owner != "alicia" {
		t.Errorf("Jira gets the owner %q", entry.Owner)
	}
	audit := c.lastAudit(t)
	if audit.Actor != "tokengate:maintenance" || audit.Action != "token.owner" || audit.Changes["owner"] != (store.Change{Before: "alice", After: "alicia"}) {
		t.Errorf("audit record %+v", audit)
	}
	if owned, err := c.own(t, c.as(t, "alicia")); err != nil || len(owned) != 1 {
		t.Errorf("alicia has %v, %v", owned, err)
	}
	if _, err := c.Get(t.Context(), old, k.Token.ID); err != nil {
		t.Errorf("a session from before the renaming: %v", err)
	}

	before := len(c.audit(t))
	c.refresh(t)
	if n := len(c.audit(t)) - before; n != 0 {
		t.Errorf("another refresh left %d records", n)
	}
	// Also for deactivated users, and never for a user with another key.
	c.now(t, alice, "{name: alison, key: KEY1, groups: [staff, devs], active: false}")
	if got, err := c.Get(t.Context(), root, k.Token.ID); err != nil || got.Owner != "alison" {
		t.Errorf("the owner is %q, %v", got.Owner, err)
	}
	c.now(t, alice, "{name: alison, key: KEY99, groups: [staff, devs]}")
	record, err := c.tokens.Get(t.Context(), k.Token.ID)
	if err != nil || record.Owner != (store.Owner{Name: "alison", Key: "KEY1"}) {
		t.Errorf("the owner is %v, %v", record.Owner, err)
	}
}

// A token from before the directory existed gets its owner's key and is then bound
// to it.
func TestSyncOwnersBindsKeys(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "alice", manage.NewToken{})
	record, err := c.tokens.Get(t.Context(), k.Token.ID)
	if err != nil {
		t.Fatal(err)
	}
	record.ID, record.Name, record.Owner.Key = "000000000001", "older", ""
	_, err = c.tokens.Create(t.Context(), record, func([]store.Token) (store.Audit, error) { return store.Audit{Action: "test"}, nil })
	if err != nil {
		t.Fatal(err)
	}
	c.refresh(t)
	if record, err = c.tokens.Get(t.Context(), record.ID); err != nil || record.Owner != (store.Owner{Name: "alice", Key: "KEY1"}) {
		t.Errorf("the owner is %v, %v", record.Owner, err)
	}
}

// During an outage of the directory, tokens work until its data is too old, and
// again after the next refresh.
func TestDirectoryOutage(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "alice", manage.NewToken{})
	if err := os.WriteFile(c.file, []byte("users: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	for minute := range 60 {
		c.pass(time.Minute)
		if err := c.directory.Refresh(t.Context()); err == nil {
			t.Fatal("half a file was taken")
		}
		c.UpdateOwnerStatus(c.directory.Snapshot)
		want := authz.TokenAllowed
		if time.Duration(minute+1)*time.Minute >= staleAfter {
			want = authz.DirectoryStale
		}
		if got := c.reason(k.Value); got != want {
			t.Fatalf("after %d minutes: %v, want %v", minute+1, got, want)
		}
	}
	if got := c.state(t, manage.User(mustFind(t, c, "alice"), "")); got != manage.StateActive {
		t.Errorf("while nothing is known it is shown as %s", got)
	}
	_, err := c.Create(t.Context(), root, manage.NewToken{Owner: "rob", Name: "ci"})
	is(t, err, manage.ErrUnavailable)
	c.write(t, everybody)
	c.refresh(t)
	c.decides(t, k.Value, authz.TokenAllowed)
}

// Old ended tokens are removed and recorded; others stay.
func TestPrune(t *testing.T) {
	c := newCompany(t)
	revoked := c.creates(t, "alice", manage.NewToken{Name: "revoked"}).Token.ID
	if err := c.Revoke(t.Context(), c.as(t, "alice"), revoked); err != nil {
		t.Fatal(err)
	}
	over := c.creates(t, "alice", manage.NewToken{Name: "over", Expires: days(2)}).Token.ID
	stays := c.creates(t, "lea", manage.NewToken{Name: "stays"}).Token.ID
	for _, step := range []struct {
		wait time.Duration
		gone []string
	}{{365 * day, nil}, {time.Second, []string{revoked}}, {2 * day, []string{over}}, {9999 * day, nil}} {
		c.pass(step.wait)
		removed, err := c.Prune(t.Context())
		if err != nil || removed != len(step.gone) {
			t.Errorf("%d were removed, %v; want %v", removed, err, step.gone)
		}
		for n, id := range step.gone {
			_, err := c.Get(t.Context(), root, id)
			is(t, err, manage.ErrNotFound)
			_, err = c.Get(t.Context(), root, strconv.Itoa(n+1)) // the number does not lead to another
			if _, found := errors.AsType[*manage.Error](err); !found && id == revoked {
				t.Errorf("number %d: %v", n+1, err)
			}
			if audit := c.lastAudit(t); audit.Actor != "tokengate:maintenance" || audit.Action != "token.prune" || audit.TokenID != id || audit.Owner != "alice" {
				t.Errorf("audit record %+v", audit)
			}
		}
	}
	if _, err := c.Get(t.Context(), root, stays); err != nil {
		t.Error(err)
	}
	c.settings.Tokens.Retention.Unlimited = true
	c.creates(t, "alice", manage.NewToken{Name: "over", Expires: days(2)})
	c.pass(99999 * day)
	if removed, err := c.Prune(t.Context()); err != nil || removed != 0 {
		t.Errorf("%d were removed, %v", removed, err)
	}
}

// Only the configured number of an owner's newest ended tokens is kept.
func TestPruneEndedOfAnOwner(t *testing.T) {
	c := newCompany(t)
	c.settings.Tokens.MaxEnded = 2
	var ids []string
	for n := range 4 {
		ids = append(ids, c.creates(t, "alice", manage.NewToken{Name: strconv.Itoa(n)}).Token.ID)
		c.pass(time.Minute)
		if err := c.Revoke(t.Context(), c.as(t, "alice"), ids[n]); err != nil {
			t.Fatal(err)
		}
	}
	lea := c.creates(t, "lea", manage.NewToken{Name: "stays"}).Token.ID
	if err := c.Revoke(t.Context(), c.as(t, "lea"), lea); err != nil {
		t.Fatal(err)
	}
	live := c.creates(t, "alice", manage.NewToken{Name: "live"})
	if removed, err := c.Prune(t.Context()); err != nil || removed != 2 {
		t.Errorf("%d were removed, %v", removed, err)
	}
	for n, id := range append(ids, lea, live.Token.ID) {
		_, err := c.Get(t.Context(), root, id)
		if gone := errors.Is(err, manage.ErrNotFound); gone != (n < 2) {
			t.Errorf("token %d: %v", n, err)
		}
	}
	c.decides(t, live.Value, authz.TokenAllowed)
	var records []string
	for _, a := range c.audit(t) {
		if a.TokenID == ids[0] {
			records = append(records, a.Action)
		}
	}
	equal(t, "what the audit log tells of a pruned token", records, []string{"token.create", "token.revoke", "token.prune"})
}

// The audit log keeps the configured age and size.
func TestPruneAudit(t *testing.T) {
	c := newCompany(t)
	prune := func() store.AuditPruned {
		t.Helper()
		pruned, err := c.PruneAudit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return pruned
	}
	for n := range 5 {
		c.creates(t, "alice", manage.NewToken{Name: strconv.Itoa(n), Expires: days(1)})
		c.pass(day)
	}
	equal(t, "nothing is old", prune(), store.AuditPruned{})
	c.settings.Audit.Retention.Duration = 4 * day // the first is from 5 days ago, the second from 4
	equal(t, "old", prune(), store.AuditPruned{Old: 1})
	c.settings.Audit.Retention.Unlimited = true
	c.pass(9999 * day)
	equal(t, "kept for ever", prune(), store.AuditPruned{})
	c.settings.Audit.MaxMiB = 1
	large := store.Audit{Time: c.clock(), Action: "token.change", Changes: map[string]store.Change{}}
	for n := range 7 {
		large.Changes[strconv.Itoa(n)] = store.Change{After: strings.Repeat("x", 1000)}
	}
	for range 200 {
		if err := c.tokens.AppendAudit(t.Context(), large); err != nil {
			t.Fatal(err)
		}
	}
	if pruned := prune(); pruned.Old != 0 || pruned.Cut < 4+40 || pruned.Cut > 4+80 {
		t.Errorf("of 200 large records in a log of 1 MiB %+v are removed", pruned)
	}
	if log := c.audit(t); log[0].Action != "token.change" {
		t.Errorf("the oldest record left is %+v", log[0])
	}
	equal(t, "again", prune(), store.AuditPruned{})
}

func TestAuditLogQueries(t *testing.T) {
	c := newCompany(t)
	first := c.creates(t, "alice", manage.NewToken{}).Token.ID
	c.pass(time.Hour)
	c.creates(t, "rita", manage.NewToken{})
	_, err := c.Create(t.Context(), c.as(t, "nell"), manage.NewToken{Name: "x"})
	is(t, err, manage.ErrForbidden)
	c.pass(time.Hour)
	if err := c.Disable(t.Context(), c.as(t, "ada"), first); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		query manage.AuditQuery
		want  string // actors, newest first
	}{
		"all":       {manage.AuditQuery{}, "ada nell rita alice"},
		"actor":     {manage.AuditQuery{Actor: "AL"}, "alice"},
		"action":    {manage.AuditQuery{Action: "token.create"}, "nell rita alice"},
		"token":     {manage.AuditQuery{TokenID: first}, "ada alice"},
		"owner":     {manage.AuditQuery{Owner: "Alice"}, "ada alice"},
		"refused":   {manage.AuditQuery{Outcome: "refused"}, "nell"},
		"from":      {manage.AuditQuery{From: start.Add(time.Hour)}, "ada nell rita"},
		"until":     {manage.AuditQuery{Until: start.Add(time.Hour)}, "alice"},
		"none":      {manage.AuditQuery{Actor: "nobody"}, ""},
		"in twos":   {manage.AuditQuery{Limit: 2}, "ada nell | rita alice"},
		"by ones":   {manage.AuditQuery{Limit: 1, Action: "token.create"}, "nell | rita | alice"},
		"from, one": {manage.AuditQuery{Limit: 1, From: start.Add(90 * time.Minute)}, "ada"},
	} {
		var pages []string
		for q := test.query; ; {
			page, err := c.AuditLog(t.Context(), root, q)
			if err != nil {
				t.Fatal(err)
			}
			var actors []string
			for _, r := range page.Records {
				actors = append(actors, r.Actor)
			}
			if len(actors) > 0 || len(pages) == 0 {
				pages = append(pages, strings.Join(actors, " "))
			}
			if q.Before = page.Next; q.Before == 0 {
				break
			}
		}
		if got := strings.Join(pages, " | "); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	_, err = c.AuditLog(t.Context(), root, manage.AuditQuery{Limit: manage.MaxPage + 1})
	is(t, err, manage.ErrInvalid, manage.FieldLimit)
}

// All visits all tokens, owner by owner.
func TestAll(t *testing.T) {
	c := newCompany(t)
	for _, who := range []string{"rita", "alice"} {
		c.creates(t, who, manage.NewToken{Name: "one"})
		c.creates(t, who, manage.NewToken{Name: "two"})
	}
	gone := c.creates(t, "lea", manage.NewToken{}).Token.ID
	if err := c.Revoke(t.Context(), root, gone); err != nil {
		t.Fatal(err)
	}
	c.management(t, "ada", manage.NewToken{})
	var got []string
	err := c.All(t.Context(), c.as(t, "ada"), func(owner string, tokens []manage.Token) error {
		for _, k := range tokens {
			got = append(got, owner+" "+k.Name)
		}
		return nil
	})
	if want := []string{"alice one", "alice two", "rita one", "rita two"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestMe(t *testing.T) {
	c := newCompany(t)
	c.creates(t, "alice", manage.NewToken{})
	for who, check := range map[string]func(manage.Me) bool{
		"alice": func(m manage.Me) bool {
			return m.MayUse && m.MayCreate && !m.Administrator && !m.ForOthers && m.Terms.Key == "access.create[0]" && m.InForce == 1
		},
		"nell": func(m manage.Me) bool { return m.MayUse && !m.MayCreate && m.Terms == nil },
		"otto": func(m manage.Me) bool { return !m.MayUse && !m.MayCreate },
		"lea":  func(m manage.Me) bool { return m.ForOthers && m.Terms.MaxLifetime.Unlimited },
		"ada":  func(m manage.Me) bool { return m.Administrator && m.ForOthers && m.MayCreate && m.Terms == nil },
	} {
		me, err := c.Me(t.Context(), c.as(t, who))
		if err != nil || me.Name != who || me.From != "192.0.2.7" || me.MaxPerUser != 5 || me.MaxOverlap != 2*day || !check(me) {
			t.Errorf("%s is %+v, %v", who, me, err)
		}
	}
	if me, err := c.Me(t.Context(), root); err != nil || !me.Administrator || me.Name != "uid:0" {
		t.Errorf("root is %+v, %v", me, err)
	}
}

// Users may explain requests with their own tokens without a value, but not with
// tokens of others.
func TestExplainOwn(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "rita", manage.NewToken{})
	view := authz.View{Policy: policy.New(c.settings), Index: c.tokens.Index(), Now: start}
	request := func() *authz.Request {
		return &authz.Request{Method: "POST", Path: "/rest/api/2/issue", Client: client}
	}
	d, verdicts, err := c.Explain(t.Context(), c.as(t, "rita"), request(), k.Token.ID, view)
	if err != nil || d.Reason != authz.ReadOnly || d.User != "rita" || len(verdicts) == 0 {
		t.Errorf("%v for %q, %v", d.Reason, d.User, err)
	}
	with := request()
	with.Authorization = "Bearer " + k.Value.Reveal()
	if d, _, err := c.Explain(t.Context(), c.as(t, "rita"), with, "", view); err != nil || d.Reason != authz.ReadOnly {
		t.Errorf("with the value: %v, %v", d.Reason, err)
	}
	for name, r := range map[string]*authz.Request{"another's value": with, "nothing": request()} {
		d, verdicts, err := c.Explain(t.Context(), c.as(t, "alice"), r, "", view)
		is(t, err, manage.ErrForbidden)
		if d.User != "" || verdicts != nil {
			t.Errorf("%s: a refusal tells of %q", name, d.User)
		}
	}
}
