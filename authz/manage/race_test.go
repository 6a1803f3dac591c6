package manage_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// together runs the functions concurrently and waits for them.
func together(run ...func()) {
	var ready, done sync.WaitGroup
	ready.Add(len(run))
	for _, fn := range run {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			fn()
		})
	}
	done.Wait()
}

// Of two concurrent rotations the later one's secret is the token's, and the other's
// is its previous secret for the later overlap.
func TestConcurrentRotations(t *testing.T) {
	f := newFixture(t)
	for i := range rounds {
		first := f.create(t, manage.NewToken{Owner: "user" + strconv.Itoa(i), Name: "ci"})
		overlap := time.Duration(i%2) * time.Hour
		var issued [2]manage.Issued
		var errs [2]error
		rotate := func(n int) func() {
			return func() {
				issued[n], errs[n] = f.Rotate(t.Context(), root, first.Token.ID, manage.Rotation{Overlap: overlap})
			}
		}
		together(rotate(0), rotate(1))
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatal(err)
		}
		good := 0
		for _, k := range issued {
			if f.reason(k.Value) == authz.TokenAllowed {
				good++
			}
		}
		if want := 1 + i%2; good != want {
			t.Fatalf("%d of the two new values are good with an overlap of %v, want %d", good, overlap, want)
		}
		f.decides(t, first.Value, authz.WrongSecret)
	}
}

// another returns a second manager of the same store, as another replica has.
func (f *fixture) another() *manage.Manager {
	m := f.Manager
	return &manage.Manager{Tokens: m.Tokens, Usage: m.Usage, Directory: m.Directory, Settings: m.Settings, Now: m.Now, Random: m.Random}
}

func TestCreateAtTheLimitInParallel(t *testing.T) {
	f := newFixture(t)
	for i := range rounds {
		owner := "user" + strconv.Itoa(i)
		errs := make([]error, 2*maxPerUser)
		var run []func()
		for n := range errs {
			run = append(run, func() {
				_, errs[n] = f.Create(t.Context(), root, manage.NewToken{Owner: owner, Name: strconv.Itoa(n)})
			})
		}
		together(run...)
		tally(t, errs, maxPerUser, manage.ErrLimit)
	}
}

func TestSameNameInParallel(t *testing.T) {
	f := newFixture(t)
	for i := range rounds {
		owner := "user" + strconv.Itoa(i)
		errs := make([]error, maxPerUser)
		var run []func()
		for n := range errs {
			run = append(run, func() {
				_, errs[n] = f.Create(t.Context(), root, manage.NewToken{Owner: owner, Name: "ci"})
			})
		}
		together(run...)
		tally(t, errs, 1, manage.ErrConflict)
	}
}

// A token that comes into force again and a new one cannot both take the last place
// or the same name.
func TestRotateExpiredDuringCreate(t *testing.T) {
	f := newFixture(t)
	var old []manage.Issued
	for i := range rounds {
		old = append(old, f.create(t, manage.NewToken{Owner: "user" + strconv.Itoa(i), Name: "ci", Expires: days(1)}))
	}
	f.pass(24 * time.Hour)
	for i, k := range old {
		name, want := "ci", manage.ErrConflict
		if i%2 == 1 {
			name, want = "last", manage.ErrLimit
			for n := range maxPerUser - 1 {
				f.create(t, manage.NewToken{Owner: k.Token.Owner, Name: strconv.Itoa(n)})
			}
		}
		errs := make([]error, 2)
		together(
			func() { _, errs[0] = f.Rotate(t.Context(), root, k.Token.ID, manage.Rotation{Expires: days(1)}) },
			func() {
				_, errs[1] = f.another().Create(t.Context(), root, manage.NewToken{Owner: k.Token.Owner, Name: name})
			},
		)
		tally(t, errs, 1, want)
	}
}

// A revoked token stays revoked during concurrent changes.
func TestRevokeAgainstRotate(t *testing.T) {
	f := newFixture(t)
	for i := range rounds {
		first := f.create(t, manage.NewToken{Owner: "user" + strconv.Itoa(i), Name: "ci"})
		id := first.Token.ID
		values := []token.Value{first.Value}
		var mu sync.Mutex
		rotate := func() {
			issued, err := f.Rotate(t.Context(), root, id, manage.Rotation{Overlap: time.Hour})
			if err != nil && !errors.Is(err, manage.ErrRevoked) {
				t.Errorf("rotate: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			values = append(values, issued.Value)
		}
		var revoked [2]error
		together(
			rotate,
			func() { revoked[0] = f.Revoke(t.Context(), root, id) },
			func() { revoked[1] = f.Revoke(t.Context(), root, id) },
			rotate,
		)
		tally(t, revoked[:], 1, manage.ErrRevoked)
		for _, v := range values {
			if v != (token.Value{}) {
				f.decides(t, v, authz.UnknownToken)
			}
		}
		if _, ok := f.tokens.Index().Lookup(id); ok {
			t.Fatalf("a revoked token is in the index")
		}
		record, err := f.tokens.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if reach := record.Secret.Hash != [32]byte{} || record.Previous.Secret.Hash != [32]byte{}; reach {
			t.Fatal("a revoked token has a hash")
		}
	}
}

// A token that is approved or rotated while it is pruned is either kept or removed
// entirely.
func TestApproveAndRotateAgainstPrune(t *testing.T) {
	c := newCompany(t)
	c.settings.Tokens.MaxPerUser = 10 * rounds
	for i := range rounds {
		pending := c.creates(t, "vic", manage.NewToken{Name: "pending " + strconv.Itoa(i), Networks: office, Expires: days(29)})
		over := c.creates(t, "ada", manage.NewToken{Owner: "rover", Name: "over " + strconv.Itoa(i), Expires: days(1)})
		live := i%2 == 0 // the pending token can be approved, and nothing but the other is pruned
		if c.pass(28 * day); !live {
			c.pass(400 * day)
		}
		if live {
			c.settings.Tokens.Retention = config.Lifetime{Duration: day}
		}
		c.refresh(t)
		var approve, rotate, prune, follow error
		var issued manage.Issued
		together(
			func() { approve = c.Approve(t.Context(), root, pending.Token.ID) },
			func() {
				issued, rotate = c.Rotate(t.Context(), root, over.Token.ID, manage.Rotation{Expires: days(1)})
			},
			func() { _, prune = c.Prune(t.Context()) },
			func() { follow = c.SyncOwners(t.Context(), c.directory.Snapshot()) },
		)
		if err := errors.Join(prune, follow); err != nil {
			t.Fatal(err)
		}
		switch {
		case live && (approve != nil || c.reason(pending.Value) != authz.TokenAllowed):
			t.Fatalf("approve: %v; it is decided as %v", approve, c.reason(pending.Value))
		case !live && !errors.Is(approve, manage.ErrState) && !errors.Is(approve, manage.ErrNotFound):
			t.Fatalf("approve what is over: %v", approve)
		case !live && c.reason(pending.Value) != authz.UnknownToken && c.reason(pending.Value) != authz.Expired:
			t.Fatalf("what is over is decided as %v", c.reason(pending.Value))
		}
		_, err := c.tokens.Get(t.Context(), over.Token.ID)
		switch {
		case rotate == nil && (err != nil || c.reason(issued.Value) != authz.TokenAllowed):
			t.Fatalf("rotated, and then %v, %v", err, c.reason(issued.Value))
		case rotate != nil && (!errors.Is(rotate, manage.ErrNotFound) || !errors.Is(err, store.ErrNotFound)):
			t.Fatalf("not rotated: %v, and then %v", rotate, err)
		}
	}
}

// Concurrent renames lead to no duplicate names and no more tokens in force than
// allowed.
func TestRenamesInParallel(t *testing.T) {
	c := newCompany(t)
	for i := range rounds {
		c.pass(time.Minute) // within the budget for changes
		var ids [2]string
		for n := range ids {
			ids[n] = c.creates(t, "alice", manage.NewToken{Name: fmt.Sprint(i, n)}).Token.ID
		}
		errs := make([]error, 2)
		rename := func(n int) func() {
			return func() {
				_, errs[n] = c.another().Change(t.Context(), c.as(t, "alice"), ids[n], manage.Change{Name: given("one")})
			}
		}
		together(rename(0), rename(1))
		tally(t, errs, 1, manage.ErrConflict)
		if err := c.RevokeAll(t.Context(), c.as(t, "alice"), ""); err != nil {
			t.Fatal(err)
		}
	}
}

// Under concurrent operations of users, administrators and maintenance, a revoked
// token stays revoked.
func TestConcurrentOperations(t *testing.T) {
	c := newCompany(t)
	ada, me := c.as(t, "ada"), c.as(t, "alice")
	for i := range rounds {
		c.pass(10 * time.Second) // within the budget for changes
		k := c.creates(t, "alice", manage.NewToken{Name: strconv.Itoa(i)})
		id := k.Token.ID
		moved := directory.User{Name: fmt.Sprintf("alice%d", i), Key: "KEY1", Active: true, Groups: directory.Groups{Known: true, Names: []string{"staff", "devs"}}}
		var rotated manage.Issued
		ignore := func(err error) {
			if _, refusal := errors.AsType[*manage.Error](err); err != nil && !refusal {
				t.Error(err)
			}
		}
		var revoked error
		together(
			func() { ignore(c.Disable(t.Context(), ada, id)) },
			func() { ignore(c.Enable(t.Context(), ada, id)) },
			func() {
				_, err := c.Change(t.Context(), me, id, manage.Change{Name: given("x" + strconv.Itoa(i))})
				ignore(err)
			},
			func() {
				_, err := c.Change(t.Context(), manage.User(moved, ""), id, manage.Change{ReadOnly: given(true)})
				ignore(err)
			},
			func() {
				var err error
				rotated, err = c.Rotate(t.Context(), me, id, manage.Rotation{})
				ignore(err)
			},
			func() { revoked = c.Revoke(t.Context(), me, id) },
			func() { ignore(c.SyncOwners(t.Context(), c.directory.Snapshot())) },
			func() { ignore(c.DisableExposedTokens(t.Context())) },
		)
		if revoked != nil {
			t.Fatal(revoked)
		}
		c.decides(t, k.Value, authz.UnknownToken)
		if rotated.Value != (token.Value{}) {
			c.decides(t, rotated.Value, authz.UnknownToken)
		}
		if got, err := c.Get(t.Context(), me, id); err != nil || got.State != manage.StateRevoked {
			t.Fatalf("it is %s, %v", got.State, err)
		}
	}
}

// tally fails the test unless the given number of attempts succeeded and the others
// were refused with the same code.
func tally(t *testing.T, errs []error, through int, otherwise *manage.Error) {
	t.Helper()
	got := 0
	for _, err := range errs {
		switch {
		case err == nil:
			got++
		case !errors.Is(err, otherwise):
			t.Errorf("refused by %v, want code %q", err, otherwise.Code)
		}
	}
	if got != through {
		t.Fatalf("%d of %d got through, want %d: %v", got, len(errs), through, slices.Compact(errs))
	}
}
