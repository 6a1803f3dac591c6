package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

func testPrune(t *testing.T, s Suite) {
	f := open(t, s)
	cut := Epoch.AddDate(0, 1, 0)
	expires := map[int]time.Time{
		0: {},                    // never
		1: cut.Add(time.Second),  // after
		2: cut,                   // at the instant is not before it
		3: cut.Add(-time.Second), // gone
		4: cut.Add(-time.Second), // gone, though disabled
	}
	for n := range len(expires) {
		token := NewToken(n, "fred")
		token.Expires = expires[n]
		f.create(token)
	}
	f.update("test00000004", func(t *store.Token) { t.State = store.Disabled })
	for n, at := range []time.Time{cut, cut.Add(-time.Second)} { // kept, gone
		token := f.create(NewToken(5+n, "fred"))
		_, err := f.Update(t.Context(), token.ID, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
			t.State, t.Revoked = store.Revoked, at
			return audit("token.revoke", t.ID), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	used := store.Usage{Count: 1, LastUsed: Epoch}
	f.addUsage(map[string]store.Usage{"test00000000": used, "test00000003": used})
	records := f.all()
	logged := len(f.auditLog())

	gone := []string{"test00000003", "test00000004", "test00000006"}
	kept := []string{"test00000000", "test00000001", "test00000002", "test00000005"}
	var removed []string
	ids1, err := f.Prune(t.Context(), cut, func(token store.Token) store.Audit {
		same(t, "token that record was given", token, records[token.ID])
		a := audit("token.prune", token.ID)
		a.Owner = token.Owner.Name
		return a
	})
	if err != nil {
		t.Fatal(err)
	}
	removed = slices.Sorted(slices.Values(ids1))
	same(t, "pruned ids", removed, gone)
	same(t, "left", ids(f.list("", 0, 100).Tokens), kept)
	same(t, "left of the owner", ids(f.list("fred", 0, 100).Tokens), kept)
	same(t, "usage", f.usage(append(gone, kept...)...), map[string]store.Usage{"test00000000": used})
	for _, id := range gone {
		_, err := f.Get(t.Context(), id)
		wantError(t, "get a pruned token", err, store.ErrNotFound)
		_, err = f.Update(t.Context(), id, revoked)
		wantError(t, "update a pruned token", err, store.ErrNotFound)
	}
	var told []string
	for _, a := range f.auditLog()[:len(f.auditLog())-logged] {
		if a.Action != "token.prune" || a.Owner != "fred" {
			t.Errorf("audit record %+v", a)
		}
		told = append(told, a.TokenID)
	}
	slices.Sort(told)
	same(t, "audit log", told, gone)

	f.unchanged("a second prune", func() { same(t, "pruned again", f.prune(cut), []string(nil)) })
}

// testPruneMany removes more tokens than fit into one transaction.
func testPruneMany(t *testing.T, s Suite) {
	f := open(t, s)
	var want []string
	for n := range 250 {
		token := NewToken(n, fmt.Sprintf("user %d", n%3))
		token.Expires = Epoch
		want = append(want, f.create(token).ID)
	}
	f.create(NewToken(1000, "user 0"))
	ids, err := f.Prune(t.Context(), Epoch.Add(time.Second), func(token store.Token) store.Audit {
		a := audit("token.prune", token.ID)
		a.Changes = map[string]store.Change{"purpose": {Before: string(make([]byte, 3000))}}
		return a
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ids)
	same(t, "pruned ids", ids, want)
	if left := f.all(); len(left) != 1 {
		t.Errorf("%d tokens are left, want 1", len(left))
	}
	if log := f.auditLog(); len(log) != 251+250 {
		t.Errorf("%d audit records for 251 creates and 250 removals", len(log))
	}
}

func testNumbersAfterPrune(t *testing.T, s Suite) {
	f := open(t, s)
	f.create(NewToken(1, "fred"))
	last := NewToken(2, "fred")
	last.Expires = Epoch
	number := f.create(last).Number
	f.prune(Epoch.Add(time.Second))
	f.reopen()
	if next := f.create(NewToken(3, "fred")).Number; next <= number {
		t.Errorf("number %d after %d", next, number)
	}
}

func testUsage(t *testing.T, s Suite) {
	f := open(t, s)
	a, b := f.create(NewToken(1, "fred")).ID, f.create(NewToken(2, "fred")).ID
	at := func(seconds int) time.Time { return Epoch.Add(time.Duration(seconds) * time.Second) }
	v4, v6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	before := f.get(a)

	same(t, "usage of unused tokens", f.usage(a, b, "test00000009"), map[string]store.Usage{})
	use := func(count, writes uint64, last time.Time, from netip.Addr) store.Usage {
		return store.Usage{Count: count, Writes: writes, LastUsed: last, LastAddress: from}
	}
	steps := []struct {
		name string
		add  store.Usage
		want store.Usage
	}{
		{"first", use(3, 1, at(10), v4), use(3, 1, at(10), v4)},
		{"later", use(2, 2, at(20), v6), use(5, 3, at(20), v6)},
		{"earlier: the time stays", use(1, 0, at(15), v4), use(6, 3, at(20), v6)},
		{"no time", store.Usage{Count: 1}, use(7, 3, at(20), v6)},
		{"no address", use(1, 0, at(30), netip.Addr{}), use(8, 3, at(30), netip.Addr{})},
		{"parts of a second", use(1, 1, at(40).Add(5e8).In(time.FixedZone("east", 3600)), v4), use(9, 4, at(40), v4)},
	}
	for _, step := range steps {
		f.addUsage(map[string]store.Usage{a: step.add, "test00000009": step.add, "": step.add})
		same(t, step.name, f.usage(a, b, "test00000009", ""), map[string]store.Usage{a: step.want})
	}
	same(t, "token after its use", f.get(a), before)
	f.addUsage(nil)

	f.revoke(a)
	f.addUsage(map[string]store.Usage{a: {Count: 1, LastUsed: at(50)}})
	if got := f.usage(a)[a]; got.Count != 10 {
		t.Errorf("usage of a revoked token was not counted: %+v", got)
	}
}

// testUsageOfMany adds usage of more tokens than fit into one transaction.
func testUsageOfMany(t *testing.T, s Suite) {
	f := open(t, s)
	want := make(map[string]store.Usage)
	add := make(map[string]store.Usage)
	var all []string
	for n := range 3 * store.MaxUsageBatch / 2 {
		id := NewToken(n, "fred").ID
		u := store.Usage{Count: uint64(n) + 1, LastUsed: Epoch, LastAddress: netip.MustParseAddr("2001:db8::1")}
		if n%8 == 0 {
			f.create(NewToken(n, fmt.Sprintf("user %d", n)))
			want[id] = u
		}
		add[id] = u
		all = append(all, id)
	}
	f.addUsage(add)
	same(t, "usage", f.usage(all...), want)
}

func testAllUsage(t *testing.T, s Suite) {
	f := open(t, s)
	f.create(NewToken(0, "fred"))
	same(t, "usage of an unused token", f.allUsage(), map[string]store.Usage{})
	want := make(map[string]store.Usage)
	for n := range 62 {
		token := NewToken(n, "wilma")
		token.ID = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[n:n+1] + token.ID[1:]
		want[f.create(token).ID] = store.Usage{Count: uint64(n) + 1, Writes: 1, LastUsed: Epoch, LastAddress: netip.MustParseAddr("192.0.2.7")}
	}
	f.addUsage(want)
	same(t, "all usage", f.allUsage(), want)

	// Usage added after the first call is not seen.
	seen := 0
	err := f.AllUsage(t.Context(), func(id string, u store.Usage) error {
		if seen++; seen == 1 {
			f.addUsage(want)
		}
		if u.Count != want[id].Count {
			t.Errorf("%s was used %d times, want %d", id, u.Count, want[id].Count)
		}
		return nil
	})
	if err != nil || seen != len(want) {
		t.Errorf("usage of %d tokens, error %v", seen, err)
	}

	calls := 0
	err = f.AllUsage(t.Context(), func(string, store.Usage) error {
		calls++
		return errNo
	})
	if !errors.Is(err, errNo) || calls != 1 {
		t.Errorf("failing visit: %d calls, error %v", calls, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = f.AllUsage(ctx, func(string, store.Usage) error {
		cancel()
		return nil
	})
	wantError(t, "all usage with a cancelled context", err, context.Canceled)
}

func testAuditLog(t *testing.T, s Suite) {
	f := open(t, s)
	same(t, "empty log", f.auditLog(), []store.Audit(nil))
	full := store.Audit{
		Time:    Epoch.Add(123456789).In(time.FixedZone("east", 3600)),
		Actor:   "uid:0",
		From:    "admin socket",
		Action:  "token.update",
		TokenID: "test00000001",
		Owner:   "fred",
		Outcome: "refused",
		Reason:  "name is empty",
		Changes: map[string]store.Change{"name": {Before: "a", After: ""}, "expires": {After: "never"}},
	}
	var want []store.Audit
	for n := range 12 {
		a := full
		a.Reason = fmt.Sprint(n)
		if err := f.AppendAudit(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		a.Time = Epoch.Add(123456789)
		want = append([]store.Audit{a}, want...)
	}
	same(t, "audit log", unnumbered(t, f.auditLog()), want)

	var paged []store.Audit
	for before := uint64(0); ; {
		page, err := f.AuditLog(t.Context(), before, 5)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
		before = page[len(page)-1].Sequence
	}
	same(t, "audit log by pages", unnumbered(t, paged), want)
	if _, err := f.AuditLog(t.Context(), 0, 0); err == nil {
		t.Error("no error for a limit of 0")
	}
}

func testAuditWithWrites(t *testing.T, s Suite) {
	f := open(t, s)
	token := NewToken(1, "fred")
	token.Expires = Epoch
	f.create(token)
	f.update(token.ID, func(t *store.Token) { t.Name = "new" })
	if err := f.AppendAudit(t.Context(), audit("token.show", token.ID)); err != nil {
		t.Fatal(err)
	}
	f.revoke(token.ID)
	f.prune(Epoch.Add(time.Hour))
	var got []string
	for i, a := range unnumbered(t, f.auditLog()) {
		if a.TokenID != token.ID {
			t.Errorf("record %d is about %q", i, a.TokenID)
		}
		got = append(got, a.Action)
	}
	same(t, "actions, newest first", got,
		[]string{"token.prune", "token.revoke", "token.show", "token.update", "token.create"})
}

func testHealth(t *testing.T, s Suite) {
	f := open(t, s)
	f.create(NewToken(1, "fred"))
	f.unchanged("health checks", func() {
		for range 3 {
			if err := f.Health(t.Context()); err != nil {
				t.Errorf("health: %v", err)
			}
		}
		errs := make(chan error)
		for range 8 {
			go func() { errs <- f.Health(t.Context()) }()
		}
		for range 8 {
			if err := <-errs; err != nil {
				t.Errorf("concurrent health check: %v", err)
			}
		}
	})
}

func testReopened(t *testing.T, s Suite) {
	f := open(t, s)
	for n := range 20 {
		f.create(fullToken(n, "fred"))
	}
	f.revoke("test00000003")
	f.addUsage(map[string]store.Usage{"test00000004": {Count: 7, LastUsed: Epoch}})
	tokens, log, page := f.all(), f.auditLog(), f.list("fred", 2, 5)
	for range 2 {
		f.reopen()
		same(t, "tokens", f.all(), tokens)
		same(t, "audit log", f.auditLog(), log)
		same(t, "page", f.list("fred", 2, 5), page)
		same(t, "usage", f.usage("test00000004"), map[string]store.Usage{"test00000004": {Count: 7, LastUsed: Epoch}})
	}
	if n := f.create(NewToken(50, "fred")).Number; n != 21 {
		t.Errorf("the number after 20 is %d", n)
	}
	if a := f.auditLog()[0]; a.Sequence <= log[0].Sequence {
		t.Errorf("the sequence after %d is %d", log[0].Sequence, a.Sequence)
	}
}
