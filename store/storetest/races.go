package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

// together runs the functions concurrently and waits for them.
func together(run ...func()) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for _, r := range run {
		wg.Go(func() {
			<-start
			r()
		})
	}
	close(start)
	wg.Wait()
}

func testParallelLimit(t *testing.T, s Suite) {
	f := open(t, s)
	const limit, creators = 5, 40
	owners := []string{"fred", "FRED", "Fred"}
	var run []func()
	var mu sync.Mutex
	created := 0
	for n := range creators {
		run = append(run, func() {
			token := NewToken(n, owners[n%len(owners)])
			_, err := f.Create(t.Context(), token, func(owned []store.Token) (store.Audit, error) {
				if len(owned) >= limit {
					return store.Audit{}, errNo
				}
				return audit("token.create", token.ID), nil
			})
			switch {
			case err == nil:
				mu.Lock()
				defer mu.Unlock()
				created++
			case !errors.Is(err, errNo):
				t.Errorf("create: %v", err)
			}
		})
	}
	together(run...)
	if kept := len(f.all()); created != limit || kept != limit {
		t.Errorf("%d creates were acknowledged and %d tokens exist, the limit is %d", created, kept, limit)
	}
	if log := f.auditLog(); len(log) != limit {
		t.Errorf("%d audit records for %d creates", len(log), limit)
	}
}

func testParallelCreates(t *testing.T, s Suite) {
	f := open(t, s)
	const creators, each = 8, 25
	var run []func()
	numbers := make([][]uint64, creators)
	for c := range creators {
		run = append(run, func() {
			for n := range each {
				token := NewToken(c*each+n, fmt.Sprintf("user %d", c%4))
				created, err := f.Create(t.Context(), token, admitted(token.ID))
				if err != nil {
					t.Errorf("create: %v", err)
				}
				numbers[c] = append(numbers[c], created.Number)
			}
		})
	}
	together(run...)
	all := slices.Concat(numbers...)
	slices.Sort(all)
	for i, n := range all {
		if n != uint64(i)+1 {
			t.Fatalf("the numbers are not 1 to %d, each once: %v", creators*each, all)
		}
	}
	if log := unnumbered(t, f.auditLog()); len(log) != creators*each {
		t.Errorf("%d audit records for %d creates", len(log), creators*each)
	}
}

// testParallelUpdates checks that no update is lost.
func testParallelUpdates(t *testing.T, s Suite) {
	f := open(t, s)
	const updaters, each = 8, 20
	id := f.create(NewToken(1, "fred")).ID
	var run []func()
	for range updaters {
		run = append(run, func() {
			for range each {
				_, err := f.Update(t.Context(), id, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
					t.Expires = later(t.Expires, Epoch).Add(time.Second)
					return audit("token.update", id), nil
				})
				if err != nil {
					t.Errorf("update: %v", err)
				}
			}
		})
	}
	together(run...)
	if got, want := f.get(id).Expires.Sub(Epoch), updaters*each*time.Second; got != want {
		t.Errorf("%v of %v updates were kept", got, want)
	}
}

// renameTo renames a token unless another live token of the owner has the name.
func renameTo(name string) func(*store.Token, store.LiveFunc) (store.Audit, error) {
	return func(t *store.Token, live store.LiveFunc) (store.Audit, error) {
		owned, err := live()
		if err != nil {
			return store.Audit{}, err
		}
		for _, other := range owned {
			if other.ID != t.ID && other.Name == name {
				return store.Audit{}, errNo
			}
		}
		t.Name = name
		return audit("token.update", t.ID), nil
	}
}

// testParallelRenames checks that of two concurrent renames to one name exactly one succeeds.
func testParallelRenames(t *testing.T, s Suite) {
	f := open(t, s)
	for n := range rounds / 4 {
		owner := fmt.Sprintf("user %d", n)
		var errs [2]error
		rename := func(i int) func() {
			id := f.create(NewToken(2*n+i, owner)).ID
			return func() { _, errs[i] = f.Update(t.Context(), id, renameTo("wanted")) }
		}
		together(rename(0), rename(1))
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs[:]...), errNo) {
			t.Fatalf("the renames returned %v", errs)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func testParallelUsage(t *testing.T, s Suite) {
	f := open(t, s)
	const adders, each = 8, 20
	id := f.create(NewToken(1, "fred")).ID
	var run []func()
	for a := range adders {
		run = append(run, func() {
			for n := range each {
				use := store.Usage{Count: 1, LastUsed: Epoch.Add(time.Duration(a*each+n) * time.Second)}
				if err := f.AddUsage(t.Context(), map[string]store.Usage{id: use}); err != nil {
					t.Errorf("add usage: %v", err)
				}
			}
		})
	}
	together(run...)
	want := store.Usage{Count: adders * each, LastUsed: Epoch.Add((adders*each - 1) * time.Second)}
	same(t, "usage", f.usage(id), map[string]store.Usage{id: want})
}

func testUpdateRacesRevoke(t *testing.T, s Suite) {
	f := open(t, s)
	for n := range rounds {
		id := f.create(NewToken(n, "user "+fmt.Sprint(n))).ID
		var updateErr, revokeErr error
		together(
			func() {
				_, updateErr = f.Update(t.Context(), id, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
					t.State, t.Name = store.Active, "switched on again"
					return audit("token.update", id), nil
				})
			},
			func() { _, revokeErr = f.Update(t.Context(), id, revoked) },
		)
		if revokeErr != nil || updateErr != nil && !errors.Is(updateErr, store.ErrRevoked) {
			t.Fatalf("revoke: error %v; update beside it: error %v", revokeErr, updateErr)
		}
		if got := f.get(id); got.State != store.Revoked || got.Secret != (store.Secret{}) {
			t.Fatalf("the revoked token became %v", got.State)
		}
	}
}

func testUpdateRacesPrune(t *testing.T, s Suite) {
	f := open(t, s)
	const each = 50
	for round := range rounds / each {
		var tokens []string
		usage := make(map[string]store.Usage)
		for n := range each {
			token := NewToken(round*each+n, "fred")
			token.Expires = Epoch
			tokens = append(tokens, f.create(token).ID)
			usage[token.ID] = store.Usage{Count: 1}
		}
		updateErrs := make(map[string]error)
		var pruned []string
		together(
			func() {
				// In reverse order, to meet the prune.
				for _, id := range slices.Backward(tokens) {
					_, updateErrs[id] = f.Update(t.Context(), id, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
						t.Expires = Epoch.Add(time.Hour)
						return audit("token.update", id), nil
					})
				}
			},
			func() { pruned = f.prune(Epoch.Add(time.Second)) },
			func() { f.addUsage(usage) },
		)
		left := f.all()
		for _, id := range tokens {
			_, kept := left[id]
			extended := updateErrs[id] == nil
			if !extended && !errors.Is(updateErrs[id], store.ErrNotFound) {
				t.Fatalf("update: %v", updateErrs[id])
			}
			if kept != extended || slices.Contains(pruned, id) == kept {
				t.Fatalf("token %s: update error %v, prune removed it: %v, it exists: %v",
					id, updateErrs[id], slices.Contains(pruned, id), kept)
			}
		}
		if used := f.usage(pruned...); len(used) != 0 {
			t.Fatalf("pruned tokens have usage: %v", used)
		}
		f.prune(Epoch.Add(2 * time.Hour))
	}
	same(t, "tokens left", f.all(), map[string]store.Token{})
	same(t, "tokens left of the owner", f.list("fred", 0, 1), store.Page{})
}

// nested are deterministic races: the first call of a callback makes the concurrent write itself.
var nested = []test{
	{"update meets update", testUpdateMeetsUpdate},
	{"update meets revoke", testUpdateMeetsRevoke},
	{"update meets prune", testUpdateMeetsPrune},
	{"prune meets update", testPruneMeetsUpdate},
	{"rename meets rename, create and extension", testRenameMeets},
	{"snapshot of a watch meets changes", testWatchMeets},
	{"create meets create", testCreateMeetsCreate},
	{"create meets update", testCreateMeetsUpdate},
	{"create meets extension", testCreateMeetsExtension},
	{"create that finds expired ones is met", testCreateMeetsExpired},
}

func testUpdateMeetsUpdate(t *testing.T, s Suite) {
	f := open(t, s)
	id := f.create(fullToken(1, "fred")).ID
	calls := 0
	f.update(id, func(token *store.Token) {
		if calls++; calls == 1 {
			token.Networks[0], token.ReadOnly = token.Networks[1], false
			f.update(id, func(t *store.Token) { t.Purpose = "theirs" })
		}
		if calls == 2 {
			want := fullToken(1, "fred")
			want.Number, want.Revision, want.Purpose = token.Number, token.Revision, "theirs"
			same(t, "record of the second call", *token, want)
		}
		token.Name = "ours"
	})
	got := f.get(id)
	if calls != 2 || got.Name != "ours" || got.Purpose != "theirs" || !got.ReadOnly {
		t.Errorf("after %d calls: %+v", calls, got)
	}
	if log := f.auditLog(); len(log) != 3 {
		t.Errorf("%d audit records for a create and two updates", len(log))
	}
}

// testRenameMeets lets another token of the owner take the name while a rename runs.
func testRenameMeets(t *testing.T, s Suite) {
	for what, meet := range map[string]func(f *fixture){
		"a rename": func(f *fixture) {
			if _, err := f.Update(t.Context(), "test00000002", renameTo("wanted")); err != nil {
				t.Error(err)
			}
		},
		"a create": func(f *fixture) {
			token := NewToken(4, "FRED")
			token.Name = "wanted"
			f.create(token)
		},
		"an extension": func(f *fixture) {
			f.update("test00000003", func(t *store.Token) { t.Name, t.Expires = "wanted", time.Time{} })
		},
	} {
		f := open(t, s)
		f.create(NewToken(1, "fred"))
		f.create(NewToken(2, "fred"))
		f.create(expiring(3, "fred"))
		f.createAt(Epoch.Add(time.Hour), 5, "fred") // omits the expired token from now on
		calls := 0
		_, err := f.Update(t.Context(), "test00000001", func(token *store.Token, live store.LiveFunc) (store.Audit, error) {
			a, err := renameTo("wanted")(token, live)
			if calls++; calls == 1 {
				if err != nil {
					t.Errorf("the first call: %v", err)
				}
				meet(f)
			}
			return a, err
		})
		if wantError(t, "rename beside "+what, err, errNo); calls != 2 {
			t.Errorf("%d calls beside %s", calls, what)
		}
	}
}

func testUpdateMeetsRevoke(t *testing.T, s Suite) {
	f := open(t, s)
	id := f.create(NewToken(1, "fred")).ID
	calls := 0
	_, err := f.Update(t.Context(), id, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
		if calls++; calls == 1 {
			f.revoke(id)
		}
		t.State = store.Active
		return audit("token.update", id), nil
	})
	wantError(t, "update", err, store.ErrRevoked)
	if got := f.get(id); calls != 1 || got.State != store.Revoked || got.Secret != (store.Secret{}) {
		t.Errorf("after %d calls the token is %v", calls, got.State)
	}
}

func testUpdateMeetsPrune(t *testing.T, s Suite) {
	f := open(t, s)
	token := NewToken(1, "fred")
	token.Expires = Epoch
	id := f.create(token).ID
	calls := 0
	_, err := f.Update(t.Context(), id, func(token *store.Token, _ store.LiveFunc) (store.Audit, error) {
		if calls++; calls == 1 {
			same(t, "pruned", f.prune(Epoch.Add(time.Second)), []string{id})
		}
		token.Expires = Epoch.Add(time.Hour)
		return audit("token.update", id), nil
	})
	wantError(t, "update", err, store.ErrNotFound)
	_, err = f.Get(t.Context(), id)
	wantError(t, "get", err, store.ErrNotFound)
	same(t, "tokens", f.list("fred", 0, 10), store.Page{})
}

func testPruneMeetsUpdate(t *testing.T, s Suite) {
	f := open(t, s)
	for n := range 3 {
		token := NewToken(n, "fred")
		token.Expires = Epoch
		f.create(token)
	}
	const saved = "test00000001"
	calls := 0
	pruned, err := f.Prune(t.Context(), Epoch.Add(time.Second), func(token store.Token) store.Audit {
		if calls++; calls == 1 {
			f.update(saved, func(t *store.Token) { t.Expires = Epoch.Add(time.Hour) })
		}
		return audit("token.prune", token.ID)
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(pruned)
	same(t, "pruned", pruned, []string{"test00000000", "test00000002"})
	same(t, "left", ids(f.list("", 0, 10).Tokens), []string{saved})
	for _, a := range f.auditLog() {
		if a.Action == "token.prune" && a.TokenID == saved {
			t.Error("the audit log has a prune of the extended token")
		}
	}
}

func testCreateMeetsCreate(t *testing.T, s Suite) {
	for _, spelling := range []string{"fred", "FRED"} {
		f := open(t, s)
		calls := 0
		_, err := f.Create(t.Context(), NewToken(1, "fred"), func(owned []store.Token) (store.Audit, error) {
			if calls++; calls == 1 {
				f.create(NewToken(2, spelling))
			}
			if len(owned) >= 1 {
				return store.Audit{}, errNo
			}
			return audit("token.create", "test00000001"), nil
		})
		wantError(t, "create beside another for "+spelling, err, errNo)
		if n := len(f.all()); n != 1 || calls != 2 {
			t.Errorf("after %d calls there are %d tokens", calls, n)
		}
	}
}

func testCreateMeetsUpdate(t *testing.T, s Suite) {
	f := open(t, s)
	old := f.create(NewToken(1, "fred")).ID
	var seen []int
	_, err := f.Create(t.Context(), NewToken(2, "fred"), func(owned []store.Token) (store.Audit, error) {
		if seen = append(seen, len(owned)); len(seen) == 1 {
			f.revoke(old)
		}
		return audit("token.create", "test00000002"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "live tokens seen", seen, []int{1, 0})
}
