package cached_test

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/storetest"
)

// versioned is a store that other processes change.
type versioned struct {
	*faulty
	at       uint64        // the revision of the next snapshot; 0: the highest of its tokens
	snapshot chan struct{} // receives a value after each snapshot
	resume   chan struct{} // Revisions returns after receiving a value
}

func openVersioned(t *testing.T) *versioned {
	t.Helper()
	return &versioned{faulty: openFaulty(t), snapshot: make(chan struct{}), resume: make(chan struct{})}
}

func (v *versioned) Revisions(ctx context.Context, visit func(id string, revision uint64)) (uint64, error) {
	var all []store.Token
	err := v.All(ctx, func(t store.Token) error { all = append(all, t); return nil })
	at := v.at
	for _, t := range all {
		visit(t.ID, t.Revision)
		at = max(at, t.Revision)
	}
	v.snapshot <- struct{}{}
	<-v.resume
	return at, err
}

func (v *versioned) CompareEvery() time.Duration { return time.Millisecond }

// comparison is the report of one comparison.
type comparison struct {
	differing []string
	err       error
}

// begin begins a comparison, up to its snapshot.
func (v *versioned) begin(t *testing.T, x *cached.Store) (end func() comparison) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reports, ended := make(chan comparison, 1), make(chan struct{})
	go func() {
		defer close(ended)
		x.KeepCompared(ctx, func(differing []string, err error) {
			reports <- comparison{differing, err}
			<-ctx.Done()
		})
	}()
	<-v.snapshot
	return func() comparison {
		v.resume <- struct{}{}
		defer func() { cancel(); <-ended }()
		return <-reports
	}
}

// TestCompare makes index and store differ, and checks what a comparison finds and corrects.
func TestCompare(t *testing.T) {
	const kept, other = "test00000001", "test00000002"
	version := func(x *versioned, revision uint64) store.Token {
		token, err := x.Get(t.Context(), kept)
		if err != nil {
			t.Fatal(err)
		}
		token.ReadOnly, token.Revision = !token.ReadOnly, revision
		return token
	}
	for name, test := range map[string]struct {
		before, during func(*versioned, *cached.Store) // of the snapshot
		want           []string
	}{
		"equal": {},
		"missing in the index": {
			before: func(_ *versioned, x *cached.Store) { x.Index().Remove(kept) },
			want:   []string{kept},
		},
		"older in the index": {
			before: func(v *versioned, x *cached.Store) {
				x.Index().Remove(kept)
				x.Index().Put(version(v, 1))
			},
			want: []string{kept},
		},
		"newer in the index": {
			before: func(v *versioned, x *cached.Store) {
				v.at = 1000
				x.Index().Put(version(v, 999))
			},
			want: []string{kept},
		},
		"only in the index": {
			before: func(v *versioned, x *cached.Store) {
				token := version(v, 1)
				token.ID = "test00000009"
				x.Index().Put(token)
			},
			want: []string{"test00000009"},
		},
		"created after the snapshot": {
			during: func(_ *versioned, x *cached.Store) { create(t, x, storetest.NewToken(3, "fred")) },
		},
		"changed after the snapshot": {
			during: func(_ *versioned, x *cached.Store) {
				if _, err := x.Update(t.Context(), kept, rename); err != nil {
					t.Fatal(err)
				}
			},
		},
		"removed after the snapshot": {
			during: func(_ *versioned, x *cached.Store) {
				if _, err := x.Prune(t.Context(), storetest.Epoch.AddDate(1, 0, 0), noAudit); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := openVersioned(t)
			create(t, v, storetest.NewToken(1, "fred"))
			expiring := storetest.NewToken(2, "fred")
			expiring.Expires = storetest.Epoch.Add(time.Hour)
			create(t, v, expiring)
			x := newIndexed(t, v)
			if test.before != nil {
				test.before(v, x)
			}
			end := v.begin(t, x)
			if test.during != nil {
				test.during(v, x)
			}
			got := end()
			if diff := cmp.Diff(test.want, got.differing); diff != "" || got.err != nil {
				t.Errorf("error %v, tokens that differ (-want +got):\n%s", got.err, diff)
			}
			for _, id := range []string{kept, other, "test00000009"} {
				wantIndex(t, "the comparison", x, v, id)
			}
		})
	}
}

// TestCompareUnreadable checks that a token that is known to be wrong is refused if it cannot be read again.
func TestCompareUnreadable(t *testing.T) {
	v := openVersioned(t)
	token := create(t, v, storetest.NewToken(1, "fred"))
	x := newIndexed(t, v)
	x.Index().Remove(token.ID)
	token.Revision--
	x.Index().Put(token)
	v.beforeGet = func() error { return errDisk }
	end := v.begin(t, x)
	if got := end(); got.err != nil || !slices.Equal(got.differing, []string{token.ID}) {
		t.Errorf("error %v, differing %v", got.err, got.differing)
	}
	if _, ok := x.Index().Lookup(token.ID); ok {
		t.Error("the index keeps a version that the store does not have")
	}
	v.beforeGet = nil
	v.begin(t, x)()
	wantIndex(t, "the next comparison", x, v, token.ID)
}

// TestCompareWaits checks that changes that are on the way are no differences.
func TestCompareWaits(t *testing.T) {
	v := openVersioned(t)
	var late lateFeed
	v.feed = func(to store.Feed) store.Feed { return late.of(to) }
	changed := create(t, v, storetest.NewToken(1, "fred"))
	x := newIndexed(t, v)
	for !x.Index().TokensFresh(time.Now()) { // until the store has said that it is fresh, which comes after New
		runtime.Gosched()
	}
	late.Fresh(time.Now().Add(-time.Hour))
	// By another process:
	if _, err := v.faulty.Update(t.Context(), changed.ID, rename); err != nil {
		t.Fatal(err)
	}
	created := create(t, v, storetest.NewToken(2, "fred"))
	different := storetest.NewToken(3, "fred")
	different.Revision = 1
	x.Index().Put(different)
	gets := v.gets
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		x.KeepCompared(ctx, func([]string, error) { t.Error("a comparison without the changes has a result") })
	}()
	<-v.snapshot
	v.resume <- struct{}{}
	cancel()
	<-ended
	if v.gets != gets {
		t.Error("tokens were corrected whose changes are on the way")
	}

	end := v.begin(t, x)
	late.deliver()
	late.Fresh(time.Now().Add(time.Hour))
	if got := end(); got.err != nil || !slices.Equal(got.differing, []string{different.ID}) {
		t.Errorf("error %v, differing %v", got.err, got.differing)
	}
	for _, id := range []string{changed.ID, created.ID} {
		wantIndex(t, "the comparison", x, v, id)
	}
}

// TestCompareFails checks that a failed snapshot changes nothing.
func TestCompareFails(t *testing.T) {
	v := openVersioned(t)
	create(t, v, storetest.NewToken(1, "fred"))
	x := newIndexed(t, v)
	end := v.begin(t, x)
	if got := end(); got.err != nil || got.differing != nil {
		t.Fatalf("%+v", got)
	}
	v.Close()
	end = v.begin(t, x)
	if got := end(); got.err == nil || got.differing != nil {
		t.Errorf("%+v", got)
	}
	if _, ok := x.Index().Lookup("test00000001"); !ok {
		t.Error("the index lacks a token")
	}
}

// TestNothingToCompare checks that a store that only one process changes is not compared.
func TestNothingToCompare(t *testing.T) {
	newIndexed(t, openFaulty(t)).KeepCompared(t.Context(), nil)
}
