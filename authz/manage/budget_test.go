package manage_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/limit"
	"github.com/tokengate/tokengate/store"
)

// budgetYAML allows a user three changes at once and six an hour, and an
// administrator five at once.
const budgetYAML = `
directory: {file: /etc/tokengate/users.yaml}
access:
  admin: [admins]
  writes: {requests: 6, per: 1h, burst: 3}
  adminWrites: {requests: 60, per: 1h, burst: 5}
`

// newBudgetFixture returns a manager with budgetYAML.
func newBudgetFixture(t *testing.T) *fixture {
	return newFixtureOf(t, budgetYAML, directory.None{}, func(s store.Store) store.Store { return s })
}

func user(name, key string, groups ...string) manage.Caller {
	return manage.User(directory.User{Name: name, Key: key, Active: true, Groups: directory.Groups{Known: true, Names: groups}}, "192.0.2.7")
}

// Each kind of attempt that writes is counted, and refused beyond the budget without
// a trace in the store.
func TestBudgetCountsEachWrite(t *testing.T) {
	fred := user("fred", "K1")
	text := "x"
	for name, attempt := range map[string]struct {
		by manage.Caller
		do func(f *fixture, id string, n int) error
	}{
		"create": {fred, func(f *fixture, _ string, n int) error {
			_, err := f.Create(t.Context(), fred, manage.NewToken{Name: fmt.Sprint("token ", n)})
			return err
		}},
		"change": {fred, func(f *fixture, id string, n int) error {
			text := fmt.Sprint("purpose ", n)
			_, err := f.Change(t.Context(), fred, id, manage.Change{Purpose: &text})
			return err
		}},
		"change of nothing": {fred, func(f *fixture, id string, _ int) error {
			_, err := f.Change(t.Context(), fred, id, manage.Change{})
			return err
		}},
		"rotate": {fred, func(f *fixture, id string, _ int) error {
			_, err := f.Rotate(t.Context(), fred, id, manage.Rotation{})
			return err
		}},
		"refused create": {fred, func(f *fixture, _ string, _ int) error {
			_, err := f.Create(t.Context(), fred, manage.NewToken{})
			return err
		}},
		"refused create for another": {fred, func(f *fixture, _ string, _ int) error {
			_, err := f.Create(t.Context(), fred, manage.NewToken{Name: "x", Owner: "wilma"})
			return err
		}},
		"change of another's token": {user("wilma", "K2"), func(f *fixture, id string, _ int) error {
			_, err := f.Change(t.Context(), user("wilma", "K2"), id, manage.Change{Name: &text})
			return err
		}},
		"revoke another's token": {user("wilma", "K2"), func(f *fixture, id string, _ int) error {
			return f.Revoke(t.Context(), user("wilma", "K2"), id)
		}},
		"revoke nothing":       {fred, func(f *fixture, _ string, _ int) error { return f.Revoke(t.Context(), fred, "000000000000") }},
		"revoke all of others": {fred, func(f *fixture, _ string, _ int) error { return f.RevokeAll(t.Context(), fred, "wilma") }},
		"approve":              {fred, func(f *fixture, id string, _ int) error { return f.Approve(t.Context(), fred, id) }},
		"disable":              {fred, func(f *fixture, id string, _ int) error { return f.Disable(t.Context(), fred, id) }},
		"enable":               {fred, func(f *fixture, id string, _ int) error { return f.Enable(t.Context(), fred, id) }},
		"forbidden reading": {fred, func(f *fixture, _ string, _ int) error {
			_, err := f.List(t.Context(), fred, manage.Query{})
			return err
		}},
		"forbidden audit log": {fred, func(f *fixture, _ string, _ int) error {
			_, err := f.AuditLog(t.Context(), fred, manage.AuditQuery{})
			return err
		}},
		"unauthenticated": {manage.Caller{}, func(f *fixture, _ string, _ int) error {
			_, err := f.Me(t.Context(), manage.Caller{})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newBudgetFixture(t)
			id := f.create(t, manage.NewToken{Owner: "fred", Name: "theirs"}).Token.ID
			try := func(n int) error { return attempt.do(f, id, n) }
			before := len(f.audit(t))
			for n := range 3 {
				if err := try(n); errors.Is(err, manage.ErrTooMany) || err != nil && !isRefusal(err) {
					t.Fatalf("attempt %d: %v", n, err)
				}
			}
			for n := range 5 {
				refusal := is(t, try(10+n), manage.ErrTooMany)
				if refusal.Retry != 10*time.Minute || !strings.Contains(refusal.Message, "in 600 seconds") || !strings.Contains(refusal.Message, "access.writes") {
					t.Errorf("retry %s, %q", refusal.Retry, refusal.Message)
				}
			}
			if n := len(f.audit(t)) - before; n != 3 {
				t.Errorf("%d audit records of 3 attempts", n)
			}
			f.pass(10 * time.Minute)
			if err := try(20); errors.Is(err, manage.ErrTooMany) {
				t.Errorf("after the wait: %v", err)
			}
			is(t, try(21), manage.ErrTooMany)
			f.pass(time.Hour)
			for n := range 3 {
				if err := try(30 + n); errors.Is(err, manage.ErrTooMany) {
					t.Errorf("an hour later, attempt %d: %v", n, err)
				}
			}
			is(t, try(40), manage.ErrTooMany)
		})
	}
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[*manage.Error](err)
	return ok
}

// Callers beyond their budget can still read, and revoke each of their tokens.
func TestBudgetAllowsRevocations(t *testing.T) {
	f := newBudgetFixture(t)
	fred := user("fred", "K1")
	var ids []string
	for n := range 3 {
		issued, err := f.Create(t.Context(), fred, manage.NewToken{Name: fmt.Sprint("token ", n)})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, issued.Token.ID)
	}
	_, err := f.Create(t.Context(), fred, manage.NewToken{Name: "one more"})
	is(t, err, manage.ErrTooMany)
	if err := f.Revoke(t.Context(), fred, ids[0]); err != nil {
		t.Errorf("revoke: %v", err)
	}
	if err := f.RevokeAll(t.Context(), fred, ""); err != nil {
		t.Errorf("revoke all: %v", err)
	}
	for _, id := range ids {
		if token, err := f.Get(t.Context(), fred, id); err != nil || token.State != manage.StateRevoked {
			t.Errorf("%s is %s, %v", id, token.State, err)
		}
	}
	// A second revocation is refused, so it counts.
	is(t, f.Revoke(t.Context(), fred, ids[0]), manage.ErrTooMany)
}

// A caller's budget does not depend on the spelling of the name, and is shared with
// no one.
func TestBudgetPerCaller(t *testing.T) {
	spend := func(f *fixture, c manage.Caller) (done int) {
		for n := range 20 {
			_, err := f.Create(t.Context(), c, manage.NewToken{Owner: fmt.Sprintf("%s%d", c.Name()[:1], n), Name: fmt.Sprint(c.Name(), f.clock().Unix())})
			if errors.Is(err, manage.ErrTooMany) {
				return done
			}
			done++
		}
		return done
	}
	f := newBudgetFixture(t)
	management := func(id string) manage.Caller {
		made, err := f.Create(t.Context(), manage.Operator("uid:1000"), manage.NewToken{Management: true, Name: id, Expires: days(1), Networks: []string{"192.0.2.0/24"}})
		if err != nil {
			t.Fatal(err)
		}
		token, err := f.tokens.Get(t.Context(), made.Token.ID)
		if err != nil {
			t.Fatal(err)
		}
		return manage.ManagementToken(token, "192.0.2.7")
	}
	for _, c := range []struct {
		name string
		by   manage.Caller
		want int
	}{
		{"a person", user("fred", "K1"), 3},
		{"in another spelling", user("FRED", "K1"), 0},
		{"renamed", user("barney", "K1"), 0},
		{"another with the old name", user("fred", "K2"), 3},
		{"without a key", user("wilma", ""), 3},
		{"without a key, in another spelling", user("Wilma", ""), 0},
		{"a name like a key", user("K1", ""), 3},
		{"an administrator", user("adam", "K3", "admins"), 5},
		{"another one", user("eve", "K4", "admins"), 5},
		{"the admin socket", root, 5},
		{"the admin socket, again", root, 0},
		{"another user of the admin socket", manage.Operator("uid:7"), 5},
		{"a management token", management("a"), 5},
		{"another management token", management("b"), 5},
	} {
		if got := spend(f, c.by); got != c.want {
			t.Errorf("%s may make %d changes, want %d", c.name, got, c.want)
		}
	}
}

// The write budgets take bounded memory.
func TestBudgetsAreBounded(t *testing.T) {
	f := newBudgetFixture(t)
	for n := range limit.DefaultMax + 1000 {
		manage.CountWrite(f.Manager, fmt.Sprint("caller ", n), f.clock())
	}
	if n := manage.Writers(f.Manager); n > limit.DefaultMax {
		t.Errorf("%d callers are remembered", n)
	}
}

// Reloaded settings apply at once.
func TestBudgetAfterReload(t *testing.T) {
	f := newBudgetFixture(t)
	fred := user("fred", "K1")
	forbidden := func() error { _, err := f.List(t.Context(), fred, manage.Query{}); return err }
	for range 3 {
		is(t, forbidden(), manage.ErrForbidden)
	}
	is(t, forbidden(), manage.ErrTooMany)
	f.settings.Access.Writes.Burst = 5
	is(t, forbidden(), manage.ErrForbidden)
	is(t, forbidden(), manage.ErrForbidden)
	is(t, forbidden(), manage.ErrTooMany)
	f.settings.Access.Writes = f.settings.Access.Create[0].Rate // unlimited
	for range 100 {
		is(t, forbidden(), manage.ErrForbidden)
	}
}
