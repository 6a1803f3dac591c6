package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

// testPruneEnded checks that PruneEnded keeps each owner's latest ended tokens and all that have
// not ended.
func testPruneEnded(t *testing.T, s Suite) {
	f := open(t, s)
	at := Epoch.AddDate(0, 1, 0)
	n := 0
	add := func(owner, key string, expires, revoked time.Time) string {
		n++
		token := NewToken(n, owner)
		token.Owner.Key, token.Expires = key, expires
		f.create(token)
		if !revoked.IsZero() {
			_, err := f.Update(t.Context(), token.ID, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
				t.State, t.Revoked = store.Revoked, revoked
				return audit("token.revoke", t.ID), nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return token.ID
	}
	day := func(d int) time.Time { return Epoch.AddDate(0, 0, d) }
	never := time.Time{}
	kept := []string{
		add("fred", "K1", never, never),
		add("fred", "K1", at.Add(time.Second), never), // valid for one more second
		add("fred", "K1", day(5), never),
		add("fred", "K1", never, day(4)),
		add("wilma", "", day(1), never), // of another owner
		add("WILMA", "", day(2), never),
		add("fred", "K2", day(1), never), // another user with the same name
	}
	gone := []string{
		add("fred", "K1", day(3), never),
		add("Freddy", "K1", never, day(2)), // the same user, renamed
		add("fred", "K1", day(1), day(9)),  // ended when it expired
		add("wilma", "", never, day(0)),
	}
	f.addUsage(map[string]store.Usage{gone[0]: {Count: 1, LastUsed: Epoch}, kept[0]: {Count: 1, LastUsed: Epoch}})
	for range 3 { // of the management tokens
		n++
		token := NewToken(n, "")
		token.Owner, token.Kind = store.Owner{}, store.Management
		token.Expires = day(n)
		if id := f.create(token).ID; n == 12 {
			gone = append(gone, id)
		} else {
			kept = append(kept, id)
		}
	}
	logged := len(f.auditLog())
	prune := func() []string {
		ids, err := f.PruneEnded(t.Context(), at, 2, func(t store.Token) store.Audit { return audit("token.prune", t.ID) })
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(ids)
		return ids
	}
	slices.Sort(gone)
	same(t, "pruned", prune(), gone)
	left := ids(f.list("", 0, 100).Tokens)
	slices.Sort(left)
	slices.Sort(kept)
	same(t, "left", left, kept)
	if got := len(f.auditLog()) - logged; got != len(gone) {
		t.Errorf("%d audit records of %d removals", got, len(gone))
	}
	if got := f.usage(gone[0], kept[0]); len(got) != 1 {
		t.Errorf("usage %v", got)
	}
	f.unchanged("a second prune", func() { same(t, "pruned again", prune(), []string(nil)) })
}

// testPruneAudit checks that PruneAudit removes the oldest records and no others.
func testPruneAudit(t *testing.T, s Suite) {
	f := open(t, s)
	var written []uint64 // sequences
	append := func(at time.Time) {
		t.Helper()
		a := audit("token.show", "test00000001")
		a.Time, a.Reason = at, strings.Repeat("long ", 100) // so that the size of keys matters little
		if err := f.AppendAudit(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		written = slices.Insert(written, len(written), f.auditLog()[0].Sequence)
	}
	prune := func(before time.Time, maxBytes int64) store.AuditPruned {
		pruned, err := f.PruneAudit(t.Context(), before, maxBytes)
		if err != nil {
			t.Fatal(err)
		}
		return pruned
	}
	left := func() (numbers []int) { // of the records that were written, from 1
		for _, a := range f.auditLog() {
			numbers = slices.Insert(numbers, 0, slices.Index(written, a.Sequence)+1)
		}
		return numbers
	}
	f.unchanged("nothing to prune", func() { same(t, "pruned of nothing", prune(Epoch, 1), store.AuditPruned{}) })
	for hour := range 10 {
		append(Epoch.Add(time.Duration(hour) * time.Hour))
	}
	each := int64(len(store.EncodeAudit(f.auditLog()[0], 0))) + 15 // approximate size with the key
	f.unchanged("a prune within bounds", func() { same(t, "pruned within bounds", prune(Epoch, 0), store.AuditPruned{}) })
	f.unchanged("a prune within a size", func() { same(t, "pruned within a size", prune(time.Time{}, 11*each), store.AuditPruned{}) })
	same(t, "by age", prune(Epoch.Add(2*time.Hour), 0), store.AuditPruned{Old: 2})
	same(t, "left by age", left(), []int{3, 4, 5, 6, 7, 8, 9, 10})
	same(t, "by size", prune(time.Time{}, 5*each+each/2), store.AuditPruned{Cut: 3})
	same(t, "left by size", left(), []int{6, 7, 8, 9, 10})
	same(t, "by both", prune(Epoch.Add(6*time.Hour), 3*each+each/2), store.AuditPruned{Old: 1, Cut: 1})
	same(t, "left by both", left(), []int{8, 9, 10})
	same(t, "all", prune(Epoch.Add(100*time.Hour), 1), store.AuditPruned{Old: 2})
	same(t, "the newest stays", left(), []int{10})
	f.reopen()
	append(Epoch)
	same(t, "sequences continue", left(), []int{10, 11})
}

// testPruneAuditMany removes more records than fit into one transaction.
func testPruneAuditMany(t *testing.T, s Suite) {
	f := open(t, s)
	for n := range 1800 {
		token := NewToken(n, fmt.Sprint("user ", n%7))
		token.Expires = Epoch
		if n%3 == 0 {
			f.create(token)
		}
	}
	f.prune(Epoch.Add(time.Hour))
	log := f.auditLog()
	pruned, err := f.PruneAudit(t.Context(), Epoch.Add(time.Hour), 0)
	if err != nil || pruned.Old != len(log)-1 {
		t.Errorf("removed %+v of %d records, error %v", pruned, len(log), err)
	}
	same(t, "left", f.auditLog(), log[:1])
}

// testAuditBounded checks that audit records are truncated in every write.
func testAuditBounded(t *testing.T, s Suite) {
	f := open(t, s)
	large := func(action, id string) store.Audit {
		a := audit(action, id)
		a.From, a.Actor = strings.Repeat("agent ", 5000), strings.Repeat("鍵", 5000)
		a.Changes = make(map[string]store.Change)
		for n := range 12 {
			a.Changes[fmt.Sprint("field", n)] = store.Change{Before: strings.Repeat("b", 9000), After: strings.Repeat("a", 9000)}
		}
		return a
	}
	id := NewToken(1, "fred").ID
	token := NewToken(1, "fred")
	token.Expires = Epoch
	_, err := f.Create(t.Context(), token, func([]store.Token) (store.Audit, error) { return large("token.create", id), nil })
	if err == nil {
		_, err = f.Update(t.Context(), id, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
			t.Name = "x"
			return large("token.update", id), nil
		})
	}
	if err == nil {
		err = f.AppendAudit(t.Context(), large("token.show", id))
	}
	if err == nil {
		_, err = f.Prune(t.Context(), Epoch.Add(time.Hour), func(store.Token) store.Audit { return large("token.prune", id) })
	}
	if err != nil {
		t.Fatal(err)
	}
	log := unnumbered(t, f.auditLog())
	for i, action := range []string{"token.prune", "token.show", "token.update", "token.create"} {
		same(t, action, log[i], store.BoundAudit(large(action, id)))
	}
}
