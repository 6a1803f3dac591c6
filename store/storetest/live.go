package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

// expiring returns a token that expires after a minute.
func expiring(n int, owner string) store.Token {
	t := NewToken(n, owner)
	t.Expires = Epoch.Add(time.Minute)
	return t
}

// createAt creates a token at the given time, and returns the ids of the tokens that admit
// received.
func (f *fixture) createAt(at time.Time, n int, owner string) (seen []string) {
	f.t.Helper()
	token := NewToken(n, owner)
	token.Created = at
	_, err := f.Create(f.t.Context(), token, func(owned []store.Token) (store.Audit, error) {
		seen = ids(owned)
		return audit("token.create", token.ID), nil
	})
	if err != nil {
		f.t.Fatalf("create %s: %v", token.ID, err)
	}
	return seen
}

// idsOf returns the ids of tokens by number.
func idsOf(numbers ...int) (ids []string) {
	for _, n := range numbers {
		ids = append(ids, NewToken(n, "").ID)
	}
	return ids
}

func extend(to time.Time) func(*store.Token) {
	return func(t *store.Token) { t.Expires = to }
}

func testLive(t *testing.T, s Suite) {
	f := open(t, s)
	for n, owner := range []string{"fred", "Fred", "FRED", "fredric", "fred", "fred"} {
		f.create(NewToken(n, owner))
	}
	management := NewToken(6, "")
	management.Kind, management.Expires = store.Management, Epoch.AddDate(0, 1, 0)
	f.create(management)
	ended := NewToken(7, "fred")
	ended.State, ended.Revoked, ended.Secret = store.Revoked, Epoch, store.Secret{}
	f.create(ended)
	f.update("test00000002", func(t *store.Token) { t.State = store.Disabled })
	f.update("test00000004", func(t *store.Token) { t.State = store.Pending })
	f.revoke("test00000005")

	for range 2 {
		for owner, want := range map[string][]string{
			"fReD":         idsOf(0, 1, 2, 4),
			"fredric":      idsOf(3),
			"":             idsOf(6),
			"fre":          nil,
			"fred\x00":     nil,
			"fred\x00\x00": nil,
		} {
			same(t, fmt.Sprintf("live tokens of %q", owner), f.live(owner, Epoch), want)
		}
		same(t, "all of fred's", ids(f.list("fred", 0, 100).Tokens), idsOf(0, 1, 2, 4, 5, 7))
		f.reopen()
	}
}

// testLiveExpired checks that later creates omit an expired token, that an extension brings it
// back, and that List always has it.
func testLiveExpired(t *testing.T, s Suite) {
	f := open(t, s)
	later := Epoch.Add(time.Hour)
	for n := range 4 {
		f.create(expiring(n, "fred"))
	}
	same(t, "live before their end", f.live("fred", Epoch), idsOf(0, 1, 2, 3))
	same(t, "what the first create sees", f.createAt(later, 4, "fred"), []string(nil))
	same(t, "live after it", f.live("fred", later), idsOf(4))
	same(t, "listed", ids(f.list("fred", 0, 10).Tokens), idsOf(0, 1, 2, 3, 4))

	f.update("test00000000", func(t *store.Token) { t.Name = "still over" })
	same(t, "live after a change", f.live("fred", later), idsOf(4))
	f.update("test00000000", extend(later.Add(time.Second)))
	f.update("test00000001", extend(time.Time{}))
	f.revoke("test00000002")
	same(t, "live after extensions", f.live("fred", later), idsOf(0, 1, 4))
	same(t, "what the next create sees", f.createAt(later, 5, "fred"), idsOf(0, 1, 4))

	f.update("test00000001", extend(later.Add(time.Second)))
	same(t, "what sees the later end", f.createAt(later.Add(time.Second), 6, "fred"), idsOf(4, 5))
	f.update("test00000001", extend(later.Add(time.Minute)))
	f.reopen()
	same(t, "live at the end", f.live("fred", later.Add(time.Second)), idsOf(1, 4, 5, 6))
	for after, limit := uint64(0), 2; ; {
		page := f.list("fred", after, limit)
		want := idsOf(0, 1, 2, 3, 4, 5, 6)[after:]
		same(t, "a page of the list", ids(page.Tokens), want[:min(limit, len(want))])
		if after = page.Next; after == 0 {
			break
		}
	}
}

func testLiveRenamed(t *testing.T, s Suite) {
	f := open(t, s)
	later := Epoch.Add(time.Hour)
	for n := range 4 {
		token := expiring(n, "fred")
		token.Owner.Key = "JIRAUSER1"
		f.create(token)
	}
	f.createAt(later, 4, "fred") // finds them over
	named := func(change func(*store.Token)) func(*store.Token) {
		return func(t *store.Token) {
			t.Owner.Name = "freddy"
			change(t)
		}
	}
	f.update("test00000000", named(func(*store.Token) {}))
	f.update("test00000001", named(extend(later.Add(time.Minute))))
	f.update("test00000002", named(func(t *store.Token) { t.State, t.Revoked = store.Revoked, later }))
	same(t, "listed under the old name", ids(f.list("fred", 0, 10).Tokens), idsOf(3, 4))
	same(t, "listed under the new name", ids(f.list("freddy", 0, 10).Tokens), idsOf(0, 1, 2))
	same(t, "live under the new name", f.live("freddy", later), idsOf(1))
	same(t, "what a create sees", f.createAt(later, 5, "freddy"), idsOf(1))
	f.update("test00000000", extend(later.Add(time.Minute)))
	f.update("test00000003", named(extend(later.Add(time.Minute))))
	same(t, "live under the new name when extended", f.live("freddy", later), idsOf(0, 1, 3, 5))
	same(t, "live under the old name", f.live("fred", later), idsOf(4))

	// A live token moves from one owner name to the other.
	token := NewToken(6, "fred")
	token.Owner.Key, token.Expires = "JIRAUSER1", later.Add(time.Minute)
	f.create(token)
	f.update(token.ID, named(func(*store.Token) {}))
	same(t, "live under the new name at the end", f.live("freddy", later), idsOf(0, 1, 3, 5, 6))
	same(t, "live under the old name at the end", f.live("fred", later), idsOf(4))
	same(t, "what a create for the old name sees", f.createAt(later, 7, "fred"), idsOf(4))
	same(t, "what a create for the new name sees", f.createAt(later, 8, "freddy"), idsOf(0, 1, 3, 5, 6))
}

func testLivePruned(t *testing.T, s Suite) {
	f := open(t, s)
	later := Epoch.Add(time.Hour)
	for n := range 3 {
		f.create(expiring(n, "fred"))
	}
	f.createAt(later, 3, "fred") // finds them over
	f.create(expiring(4, "fred"))
	f.update("test00000000", extend(later.Add(time.Minute)))
	f.revoke("test00000001")
	pruned := f.prune(later)
	slices.Sort(pruned)
	same(t, "pruned", pruned, idsOf(1, 2, 4))
	same(t, "listed", ids(f.list("fred", 0, 10).Tokens), idsOf(0, 3))
	same(t, "live", f.live("fred", later), idsOf(0, 3))
	same(t, "what a create sees", f.createAt(later, 5, "fred"), idsOf(0, 3))
}

func testLiveAmongMany(t *testing.T, s Suite) {
	f := open(t, s)
	const many = 150
	later := Epoch.Add(time.Hour)
	var listed, live []string
	for n := range many {
		listed = append(listed, f.create(expiring(n, "fred")).ID)
	}
	for n := range many / 50 {
		same(t, "what a create sees", f.createAt(later, many+n, "fred"), live)
		live = append(live, idsOf(many+n)...)
		listed = append(listed, idsOf(many+n)...)
		same(t, "live", f.live("fred", later), live)
		same(t, "listed", ids(f.list("fred", 0, 2*many).Tokens), listed)
	}
}

// testCreateRacesUpdates runs a create concurrently with updates of the tokens that admit
// receives. The audit log shows which updates came before it.
func testCreateRacesUpdates(t *testing.T, s Suite) {
	f := open(t, s)
	later := Epoch.Add(time.Hour)
	const each = 5
	for round := range rounds / each {
		owner := fmt.Sprintf("user %d", round)
		id := idsOf(round*each, round*each+1, round*each+2, round*each+3, round*each+4)
		over := NewToken(round*each, owner)
		over.Expires = Epoch // at its own creation
		f.create(over)
		f.create(expiring(round*each+1, owner)) // this create finds it over
		f.create(expiring(round*each+2, owner)) // and this one, too
		f.create(NewToken(round*each+3, owner))
		before := f.auditLog()[0].Sequence

		var seen []string
		extended := func(id string) func() {
			return func() { f.update(id, extend(later.Add(time.Hour))) }
		}
		together(
			func() { seen = f.createAt(later, round*each+4, owner) },
			extended(id[0]),
			extended(id[1]),
			func() { f.revoke(id[2]) },
			func() { f.revoke(id[3]) },
		)
		log, err := f.AuditLog(t.Context(), 0, each+1)
		if err != nil || log[each].Sequence != before {
			t.Fatalf("audit log %+v, error %v", log, err)
		}
		slices.Reverse(log)
		log = log[1:]
		want := []string{id[3]}
		for _, a := range log {
			if a.Action == "token.create" {
				break
			}
			switch a.TokenID {
			case id[3]:
				want = slices.DeleteFunc(want, func(other string) bool { return other == id[3] })
			case id[0], id[1]:
				want = append(want, a.TokenID)
			}
		}
		slices.Sort(want)
		same(t, "what the create saw", seen, want)
		same(t, "live at the end", f.live(owner, later), []string{id[0], id[1], id[4]})
		same(t, "listed at the end", ids(f.list(owner, 0, 10).Tokens), id)
		if t.Failed() {
			t.Fatalf("round %d: audit log %+v", round, log)
		}
	}
}

// testCreateMeetsExtension extends an expired token during a create, which must then see it.
func testCreateMeetsExtension(t *testing.T, s Suite) {
	later := Epoch.Add(time.Hour)
	rename := func(t *store.Token) { t.Expires, t.Owner.Name = time.Time{}, "fred" }
	tests := []struct {
		what   string
		owner  string
		others bool // fred has had another token
		change func(*store.Token)
	}{
		{"extension", "fred", true, extend(later.Add(time.Minute))},
		{"expiry removed", "fred", true, extend(time.Time{})},
		{"extension and rename", "freddy", true, rename},
		{"extension and rename to a new name", "freddy", false, rename},
	}
	for _, test := range tests {
		f := open(t, s)
		token := expiring(1, "fred")
		token.Owner.Key = "JIRAUSER1"
		token.Owner.Name = test.owner
		f.create(token)
		f.createAt(later, 2, test.owner) // finds it over
		f.revoke("test00000002")
		if test.others {
			f.createAt(later, 4, "fred")
			f.revoke("test00000004")
		}

		next := NewToken(3, "fred")
		next.Created = later
		var seen [][]string
		_, err := f.Create(t.Context(), next, func(owned []store.Token) (store.Audit, error) {
			if seen = append(seen, ids(owned)); len(seen) == 1 {
				f.update("test00000001", test.change)
			}
			return audit("token.create", next.ID), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		same(t, "what the create beside an "+test.what+" saw", seen, [][]string{nil, idsOf(1)})
	}
}

// testCreateMeetsExpired runs a create that finds a token expired during an update of it.
func testCreateMeetsExpired(t *testing.T, s Suite) {
	later := Epoch.Add(time.Hour)
	tests := []struct {
		what         string
		change       func(*store.Token)
		fred, freddy []string // listed
		live         []string // of both
	}{
		{"a change", func(t *store.Token) { t.Name = "new" }, idsOf(1, 2), nil, idsOf(2)},
		{"an extension", extend(later.Add(time.Minute)), idsOf(1, 2), nil, idsOf(1, 2)},
		{"a revocation", func(t *store.Token) { t.State, t.Revoked = store.Revoked, later }, idsOf(1, 2), nil, idsOf(2)},
		{"a rename", func(t *store.Token) { t.Owner.Name = "freddy" }, idsOf(2), idsOf(1), idsOf(2)},
		{"a rename and extension", func(t *store.Token) { t.Owner.Name, t.Expires = "freddy", time.Time{} }, idsOf(2), idsOf(1), idsOf(2, 1)},
		{"a prune", nil, idsOf(2), nil, idsOf(2)},
	}
	for _, test := range tests {
		f := open(t, s)
		token := expiring(1, "fred")
		token.Owner.Key = "JIRAUSER1"
		f.create(token)
		calls := 0
		meet := func() {
			if calls++; calls == 1 {
				f.createAt(later, 2, "fred")
			}
		}
		if test.change == nil {
			_, err := f.Prune(t.Context(), later, func(t store.Token) store.Audit {
				meet()
				return audit("token.prune", t.ID)
			})
			if err != nil {
				t.Fatal(err)
			}
		} else {
			f.update(token.ID, func(t *store.Token) {
				meet()
				test.change(t)
			})
		}
		same(t, "fred's after "+test.what, ids(f.list("fred", 0, 10).Tokens), test.fred)
		same(t, "freddy's after "+test.what, ids(f.list("freddy", 0, 10).Tokens), test.freddy)
		same(t, "live after "+test.what, slices.Concat(f.live("fred", later), f.live("freddy", later)), test.live)
	}
}
