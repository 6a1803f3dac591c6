package cached_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/index"
	"github.com/tokengate/tokengate/store/storetest"
)

var comparer = cmp.Options{cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty()}

// fullToken returns a token of which an entry has every field.
func fullToken() store.Token {
	t := storetest.NewToken(1, "fred")
	t.Owner.Key = "JIRAUSER10100"
	t.Expires = storetest.Epoch.AddDate(0, 3, 0)
	t.ReadOnly, t.State = true, store.Disabled
	t.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	t.Rate = store.Rate{Requests: 600, Per: time.Minute, Burst: 100}
	t.Previous = store.Previous{Secret: t.Secret, Until: storetest.Epoch.Add(time.Hour)}
	return t
}

func newIndexed(t *testing.T, s store.Store) *cached.Store {
	t.Helper()
	x, err := cached.New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// wantIndex checks that index and store agree about a token.
func wantIndex(t *testing.T, what string, x *cached.Store, s store.Store, id string) {
	t.Helper()
	var want index.Entry
	token, err := s.Get(t.Context(), id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	live := err == nil && token.State != store.Revoked
	if live {
		want = index.Entry{
			Owner: token.Owner.Name, Expires: token.Expires, ReadOnly: token.ReadOnly, State: token.State,
			Kind: token.Kind, Networks: token.Networks, Secret: token.Secret, Previous: token.Previous,
		}
	}
	got, ok := x.Index().Lookup(id)
	if diff := cmp.Diff(want, got, comparer, cmpopts.IgnoreFields(index.Entry{}, "Limiter")); ok != live || diff != "" {
		t.Errorf("index after %s: found %v, want %v (-store +index):\n%s", what, ok, live, diff)
	}
}

func TestCached(t *testing.T) {
	s := openFaulty(t)
	full := fullToken()
	create(t, s, full)
	gone := storetest.NewToken(2, "fred")
	create(t, s, gone)
	if _, err := s.Update(t.Context(), gone.ID, revoke); err != nil {
		t.Fatal(err)
	}

	x := newIndexed(t, s)
	wantIndex(t, "loading", x, s, full.ID)
	wantIndex(t, "loading", x, s, gone.ID)
	wantCounts(t, x, map[store.State]int{store.Disabled: 1, store.Revoked: 1})

	token := storetest.NewToken(3, "fred")
	token.Networks = fullToken().Networks
	created := create(t, x, token)
	wantIndex(t, "create", x, s, token.ID)
	created.Networks[0] = netip.MustParsePrefix("0.0.0.0/0")
	wantIndex(t, "a change of what create returned", x, s, token.ID)

	held, _ := x.Index().Lookup(token.ID)
	updated, err := x.Update(t.Context(), token.ID, rename)
	if err != nil || !updated.ReadOnly {
		t.Fatalf("update: %+v, error %v", updated, err)
	}
	wantIndex(t, "update", x, s, token.ID)
	updated.Networks[0] = netip.MustParsePrefix("0.0.0.0/0")
	wantIndex(t, "a change of what update returned", x, s, token.ID)
	if held.ReadOnly {
		t.Error("an entry changed after the lookup")
	}

	if _, err := x.Update(t.Context(), token.ID, revoke); err != nil {
		t.Fatal(err)
	}
	if _, ok := x.Index().Lookup(token.ID); ok {
		t.Error("a revoked token is in the index")
	}
	wantCounts(t, x, map[store.State]int{store.Disabled: 1, store.Revoked: 2})

	ids, err := x.Prune(t.Context(), storetest.Epoch.AddDate(1, 0, 0), noAudit)
	if err != nil || len(ids) != 3 {
		t.Errorf("pruned %v, error %v", ids, err)
	}
	wantIndex(t, "prune", x, s, full.ID)
	wantCounts(t, x, nil)
}

func wantCounts(t *testing.T, x *cached.Store, want map[store.State]int) {
	t.Helper()
	states := x.Index().Counts(storetest.Epoch).States
	for state := store.Pending; state <= store.Revoked; state++ {
		if states[state] != want[state] {
			t.Errorf("the index counts %d %v tokens, want %d", states[state], state, want[state])
		}
	}
}

func TestIndexCounts(t *testing.T) {
	var x index.Index
	for n, expires := range []time.Time{
		{}, storetest.Epoch.Add(index.EndingWithin + time.Second), storetest.Epoch.Add(index.EndingWithin), storetest.Epoch.Add(time.Second),
		storetest.Epoch, storetest.Epoch.Add(-time.Second),
	} {
		token := storetest.NewToken(n, "fred")
		token.Expires = expires
		x.Put(token)
		token.ID, token.State = strings.ToUpper(token.ID), store.Pending
		x.Put(token)
	}
	want := index.Counts{
		States:  map[store.State]int{store.Pending: 6, store.Active: 6, store.Disabled: 0, store.Revoked: 0},
		Expired: 2, Ending: 2,
	}
	if diff := cmp.Diff(want, x.Counts(storetest.Epoch)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	var zero index.Index
	if _, ok := zero.Lookup("test00000001"); ok {
		t.Error("the zero index has a token")
	}
	zero.Remove("test00000001")
}

// TestCachedUnreadable checks that an unreadable record fails the start.
func TestCachedUnreadable(t *testing.T) {
	s := openFaulty(t)
	create(t, s, storetest.NewToken(1, "fred"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if x, err := cached.New(ctx, s); !errors.Is(err, context.Canceled) || x != nil {
		t.Errorf("index %v, error %v", x, err)
	}
}

// TestCachedUnknownOutcome makes writes fail before or after they reach the disk, with a store
// that is readable afterwards or not.
func TestCachedUnknownOutcome(t *testing.T) {
	fail := func() error { return errDisk }
	writes := map[string]func(context.Context, *cached.Store) error{
		"create": func(ctx context.Context, x *cached.Store) error {
			_, err := x.Create(ctx, storetest.NewToken(2, "fred"), func([]store.Token) (store.Audit, error) { return store.Audit{}, nil })
			return err
		},
		"update": func(ctx context.Context, x *cached.Store) error {
			_, err := x.Update(ctx, "test00000001", rename)
			return err
		},
		"revoke": func(ctx context.Context, x *cached.Store) error {
			_, err := x.Update(ctx, "test00000001", revoke)
			return err
		},
	}
	for name, write := range writes {
		for _, written := range []bool{false, true} {
			for _, readable := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/written %v/readable %v", name, written, readable), func(t *testing.T) {
					s := openFaulty(t)
					create(t, s, storetest.NewToken(1, "fred"))
					x := newIndexed(t, s)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if written {
						// The index must be updated even if the write's context has ended.
						s.afterWrite = func() error { cancel(); return errDisk }
					} else {
						s.beforeWrite = fail
					}
					if !readable {
						s.beforeGet = fail
					}
					if err := write(ctx, x); !errors.Is(err, errDisk) {
						t.Errorf("error %v", err)
					}
					id := "test00000001"
					if name == "create" {
						id = "test00000002"
					}
					if !readable {
						if _, ok := x.Index().Lookup(id); ok {
							t.Error("the index has a token whose state is unknown")
						}
						return
					}
					if s.gets != 1 {
						t.Errorf("%d reads of the store, want 1", s.gets)
					}
					wantIndex(t, name, x, s, id)
				})
			}
		}
	}
}

// TestCachedUnknownOutcomeOfShared is the same for a store that others change. Its feed brings the change if it was
// made, and ages if it cannot, so a token that can neither be changed nor read stays as it was.
func TestCachedUnknownOutcomeOfShared(t *testing.T) {
	s := openVersioned(t)
	create(t, s, storetest.NewToken(1, "fred"))
	x := newIndexed(t, s)
	fail := func() error { return errDisk }
	s.beforeWrite, s.beforeGet = fail, fail
	if _, err := x.Update(t.Context(), "test00000001", rename); !errors.Is(err, errDisk) {
		t.Errorf("error %v", err)
	}
	if _, ok := x.Index().Lookup("test00000001"); !ok {
		t.Error("a token that nobody has revoked is gone from the index")
	}
	gets := s.gets
	s.beforeWrite = func() error { return store.ErrUnavailable }
	if _, err := x.Update(t.Context(), "test00000001", rename); !errors.Is(err, store.ErrUnavailable) || s.gets != gets {
		t.Errorf("error %v, %d reads of a store that does not answer", err, s.gets-gets)
	}
	s.beforeWrite, s.beforeGet, s.afterWrite = nil, fail, fail
	if _, err := x.Update(t.Context(), "test00000001", revoke); !errors.Is(err, errDisk) {
		t.Errorf("error %v", err)
	}
	if _, ok := x.Index().Lookup("test00000001"); ok {
		t.Error("the index has a token whose revocation the feed has delivered")
	}
}

// TestCachedRefused checks that the index is unchanged, and the store not read, if nothing was
// written for certain.
func TestCachedRefused(t *testing.T) {
	errNo := errors.New("no")
	for name, run := range map[string]func(*cached.Store, string) error{
		"refused update": func(x *cached.Store, id string) error {
			_, err := x.Update(t.Context(), id, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
				t.State, t.Networks = store.Disabled, nil
				return store.Audit{}, errNo
			})
			return err
		},
		"refused create": func(x *cached.Store, id string) error {
			_, err := x.Create(t.Context(), storetest.NewToken(9, "fred"), func([]store.Token) (store.Audit, error) {
				return store.Audit{}, errNo
			})
			return err
		},
		"closed": func(x *cached.Store, id string) error {
			if err := x.Close(); err != nil {
				return err
			}
			_, err := x.Update(context.WithoutCancel(t.Context()), id, rename)
			if !errors.Is(err, store.ErrClosed) {
				return err
			}
			return errNo
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openFaulty(t)
			id := create(t, s, storetest.NewToken(1, "fred")).ID
			x := newIndexed(t, s)
			before, _ := x.Index().Lookup(id)
			if err := run(x, id); err != errNo {
				t.Errorf("error %v", err)
			}
			after, ok := x.Index().Lookup(id)
			if diff := cmp.Diff(before, after, comparer); s.gets != 0 || !ok || diff != "" {
				t.Errorf("%d reads of the store, index (-before +after):\n%s", s.gets, diff)
			}
		})
	}
}

// TestCachedPanic checks that a token stays usable after a callback has panicked.
func TestCachedPanic(t *testing.T) {
	s := openFaulty(t)
	id := create(t, s, storetest.NewToken(1, "fred")).ID
	x := newIndexed(t, s)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		x.Update(t.Context(), id, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) { panic("oops") })
	}()
	if _, err := x.Update(t.Context(), id, revoke); err != nil {
		t.Error(err)
	}
	wantIndex(t, "panic and revoke", x, s, id)
}

// TestCachedPruneFails checks that tokens removed before an error are removed from the index.
func TestCachedPruneFails(t *testing.T) {
	s := openFaulty(t)
	token := storetest.NewToken(1, "fred")
	token.Expires = storetest.Epoch
	id := create(t, s, token).ID
	x := newIndexed(t, s)
	s.afterPrune = func(ids []string) ([]string, error) { return ids, errDisk }
	if ids, err := x.Prune(t.Context(), storetest.Epoch.Add(time.Hour), noAudit); !errors.Is(err, errDisk) || len(ids) != 1 {
		t.Errorf("pruned %v, error %v", ids, err)
	}
	wantIndex(t, "a prune that failed half way", x, s, id)
}
