package listing_test

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/listing"
	"github.com/tokengate/tokengate/store/storetest"
)

// listed is a token in plainListing.
type listed struct {
	store.Token
	store.Usage
}

// plainListing is a simple listing that the real one is compared with.
type plainListing map[string]*listed

func (p plainListing) put(t store.Token) {
	if p[t.ID] == nil {
		p[t.ID] = &listed{}
	}
	p[t.ID].Token = t
}

func (p plainListing) addUsage(id string, u store.Usage) {
	if l := p[id]; l != nil {
		l.Usage = l.Usage.Add(u)
	}
}

// selected returns what a query selects, in its order.
func (p plainListing) selected(q listing.Query) []*listed {
	var all []*listed
	for _, l := range p {
		if selects(q, l) {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b *listed) int {
		c := cmp.Or(compareBy(q.Sort, a, b), cmp.Compare(a.Number, b.Number))
		if q.Descending {
			return -c
		}
		return c
	})
	return all
}

func compareBy(column listing.Column, a, b *listed) int {
	switch column {
	case listing.ByOwner:
		return strings.Compare(strings.ToLower(a.Owner.Name), strings.ToLower(b.Owner.Name))
	case listing.ByName:
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	case listing.ByExpires:
		never := func(l *listed) time.Time {
			if l.Expires.IsZero() {
				return time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
			}
			return l.Expires
		}
		return never(a).Compare(never(b))
	case listing.ByLastUsed:
		return a.LastUsed.Compare(b.LastUsed)
	case listing.ByUses:
		return cmp.Compare(a.Count, b.Count)
	}
	return 0
}

func selects(q listing.Query, l *listed) bool {
	within := func(at, from, until time.Time) bool {
		if from.IsZero() && until.IsZero() {
			return true
		}
		return !at.IsZero() && !at.Before(from) && (until.IsZero() || at.Before(until))
	}
	contains := func(text, part string) bool {
		return strings.Contains(strings.ToLower(text), strings.ToLower(part))
	}
	since := l.LastUsed
	if since.IsZero() {
		since = l.Created
	}
	return (q.ID == "" || q.ID == l.ID) &&
		(q.Owner == "" || strings.EqualFold(q.Owner, l.Owner.Name)) &&
		contains(l.Owner.Name, q.OwnerPart) &&
		contains(l.Name, q.Name) &&
		(len(q.States) == 0 || slices.Contains(q.States, l.State)) &&
		(q.ReadOnly == nil || *q.ReadOnly == l.ReadOnly) &&
		(q.Kind == nil || *q.Kind == l.Kind) &&
		(q.Expired == nil || *q.Expired == (!l.Expires.IsZero() && !q.Now.Before(l.Expires))) &&
		within(l.Created, q.CreatedFrom, q.CreatedUntil) &&
		within(l.Expires, q.ExpiresFrom, q.ExpiresUntil) &&
		within(l.LastUsed, q.UsedFrom, q.UsedUntil) &&
		(!q.NeverExpires || l.Expires.IsZero()) &&
		(!q.NeverUsed || l.LastUsed.IsZero()) &&
		(q.UnusedSince.IsZero() || since.Before(q.UnusedSince)) &&
		(q.OwnerIs == nil || q.OwnerIs(l.Owner))
}

func idsOf(all []*listed) (ids []string) {
	for _, l := range all {
		ids = append(ids, l.ID)
	}
	return ids
}

// draw makes random tokens, times and queries of few different values, so that many are equal.
type draw struct{ *rand.Rand }

func one[T any](d draw, of ...T) T { return of[d.IntN(len(of))] }

// maybe returns the zero T in four of five cases.
func maybe[T any](d draw, value func() T) (t T) {
	if d.IntN(5) == 0 {
		return value()
	}
	return t
}

func (d draw) time() time.Time {
	return one(d,
		time.Unix(0, 0).UTC(), // whose seconds are none
		storetest.Epoch.Add(time.Duration(d.IntN(8))*time.Second),
		storetest.Epoch.AddDate(100, 0, d.IntN(3)), // beyond what 32 bits hold
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	)
}

func (d draw) bound() time.Time {
	return one(d, d.time(), d.time().Add(time.Nanosecond), d.time().Add(-time.Millisecond),
		time.Date(1815, 6, 18, 0, 0, 0, 0, time.UTC), time.Date(12_000, 1, 1, 0, 0, 0, 0, time.UTC))
}

func (d draw) owner() store.Owner {
	return store.Owner{
		Name: one(d, "fred", "Fred", "wilma", "barney rubble", "WILMA2", "b"),
		Key:  one(d, "", "JIRAUSER10100", "b"),
	}
}

func (d draw) name() string {
	return one(d, "nightly report", "Nightly Report", "report", "r", "Été", "été", "ÉTÉ ", "kelvin", "\u212aelvin", "ключ 鍵", strings.Repeat("鍵", 100))
}

func (d draw) token(tokens int) store.Token {
	n := d.IntN(tokens)
	t := storetest.NewToken(n, "")
	t.Number = uint64(n) * 1e12
	t.Owner, t.Name = d.owner(), d.name()
	t.Created = d.time()
	t.Expires = one(d, time.Time{}, d.time())
	t.ReadOnly = one(d, true, false)
	if t.Kind = one(d, store.Ordinary, store.Ordinary, store.Management); t.Kind == store.Management {
		t.Owner = store.Owner{}
	}
	t.State = one(d, store.Pending, store.Active, store.Active, store.Disabled, store.Revoked)
	if t.State == store.Revoked {
		t.Revoked = storetest.Epoch
	}
	return store.Normalize(t)
}

func (d draw) query(tokens int) listing.Query {
	return listing.Query{
		ID:        maybe(d, func() string { return one(d, storetest.NewToken(d.IntN(tokens), "").ID, "x") }),
		Owner:     maybe(d, func() string { return one(d, "FRED", "wilma", "nobody") }),
		OwnerPart: maybe(d, func() string { return one(d, "R", "re", "wilma", "x") }),
		Name:      maybe(d, func() string { return one(d, "REPORT", "r", "É", "t", "K", "\u212a", "鍵", "none") }),
		States:    maybe(d, func() []store.State { return []store.State{store.Active, one(d, store.Pending, store.Revoked)} }),
		ReadOnly:  maybe(d, func() *bool { return new(one(d, true, false)) }),
		Kind:      maybe(d, func() *store.Kind { return new(one(d, store.Ordinary, store.Management)) }),
		Expired:   maybe(d, func() *bool { return new(one(d, true, false)) }),
		Now:       d.bound(),

		CreatedFrom: maybe(d, d.bound), CreatedUntil: maybe(d, d.bound),
		ExpiresFrom: maybe(d, d.bound), ExpiresUntil: maybe(d, d.bound),
		UsedFrom: maybe(d, d.bound), UsedUntil: maybe(d, d.bound),
		NeverExpires: d.IntN(20) == 0,
		NeverUsed:    d.IntN(20) == 0,
		UnusedSince:  maybe(d, d.bound),
		OwnerIs: maybe(d, func() func(store.Owner) bool {
			return func(o store.Owner) bool { return o.Key != "" }
		}),
		Sort:       one(d, listing.ByNumber, listing.ByOwner, listing.ByName, listing.ByExpires, listing.ByLastUsed, listing.ByUses),
		Descending: one(d, true, false),
		Limit:      one(d, 0, 1, 3, 50, 10_000),
	}
}

// TestListingAgainstPlain changes a listing at random, and compares the pages of random queries
// with those of a simple one.
func TestListingAgainstPlain(t *testing.T) {
	d := draw{rand.New(rand.NewPCG(5, 6))}
	x, plain := listing.New(), plainListing{}
	const tokens = 5000
	for round := range 5 {
		for range tokens / 2 {
			token := d.token(tokens)
			switch d.IntN(6) {
			case 0:
				x.Remove(token.ID)
				delete(plain, token.ID)
			case 1, 2:
				u := store.Usage{Count: uint64(d.IntN(3)), LastUsed: one(d, time.Time{}, d.time())}
				x.AddUsage(map[string]store.Usage{token.ID: u})
				plain.addUsage(token.ID, u)
			default:
				x.Put(token)
				plain.put(token)
			}
		}
		if round == 5 {
			for id := range plain {
				x.Remove(id)
			}
			clear(plain)
		}
		for range 15 {
			wantPages(t, x, plain, d.query(tokens))
		}
		wantListed(t, x, plain)
	}
}

// wantPages compares all pages of a query.
func wantPages(t *testing.T, x *listing.Listing, plain plainListing, q listing.Query) {
	t.Helper()
	want := idsOf(plain.selected(q))
	var got []string
	for page := 1; ; page++ {
		f := find(t, x, q)
		got = append(got, f.IDs...)
		if f.Total != len(want) || len(f.IDs) > q.Limit {
			t.Fatalf("page %d of %+v has %d ids and a total of %d, want %d", page, q, len(f.IDs), f.Total, len(want))
		}
		if f.Next == "" {
			break
		}
		if len(f.IDs) != q.Limit {
			t.Fatalf("page %d of %+v is not the last and has %d ids", page, q, len(f.IDs))
		}
		if page == 40 { // enough of the many small ones
			want = want[:len(got)]
			break
		}
		q.After = f.Next
	}
	if q.Limit > 0 && !slices.Equal(got, want) {
		t.Fatalf("%+v (-want +found):\n%s", q, gocmp.Diff(want, got))
	}
}

func find(t testing.TB, x interface {
	Find(context.Context, listing.Query) (listing.Result, error)
}, q listing.Query) listing.Result {
	t.Helper()
	f, err := x.Find(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// wantListed compares counts and owners.
func wantListed(t *testing.T, x *listing.Listing, plain plainListing) {
	t.Helper()
	wantOwners := map[store.Owner]listing.Owned{}
	for _, l := range plain {
		if l.State != store.Revoked {
			o := wantOwners[l.Owner]
			o.Owner, o.Tokens = l.Owner, o.Tokens+1
			if l.LastUsed.After(o.LastUsed) {
				o.LastUsed = l.LastUsed
			}
			wantOwners[l.Owner] = o
		}
	}
	all, err := x.Owners(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	owners := map[store.Owner]listing.Owned{}
	for _, o := range all {
		if _, twice := owners[o.Owner]; twice {
			t.Errorf("owner %v is listed twice", o.Owner)
		}
		owners[o.Owner] = o
	}
	if diff := gocmp.Diff(wantOwners, owners); diff != "" {
		t.Fatalf("owners (-want +got):\n%s", diff)
	}
}

func TestListingErrors(t *testing.T) {
	x := listing.New()
	for n := range 3 {
		x.Put(storetest.NewToken(n, "fred"))
	}
	for what, q := range map[string]listing.Query{
		"a limit below none":  {Limit: -1},
		"an unknown column":   {Sort: 99},
		"an unknown state":    {States: []store.State{store.Active, 0}},
		"expired, and no now": {Expired: new(true)},
	} {
		if _, err := x.Find(t.Context(), q); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: error %v", what, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := x.Find(ended, listing.Query{Limit: 1})
	_, errOwners := x.Owners(ended)
	for _, err := range []error{err, errOwners} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: error %v", err)
		}
	}
}

// TestListingSearchesWait checks that one search runs at a time, and that waiting ends with the
// context.
func TestListingSearchesWait(t *testing.T) {
	x := listing.New()
	x.Put(storetest.NewToken(1, "fred"))
	ctx, cancel := context.WithCancel(t.Context())
	inside := false
	find(t, x, listing.Query{OwnerIs: func(store.Owner) bool {
		inside = true
		time.AfterFunc(0, cancel)
		_, err := x.Owners(ctx)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a second search: error %v", err)
		}
		return true
	}})
	if !inside {
		t.Error("OwnerIs was not called")
	}
}

// TestListingNewOwner checks that owners added after a query started are not selected.
func TestListingNewOwner(t *testing.T) {
	x := listing.New()
	x.Put(storetest.NewToken(1, "fred"))
	f := find(t, x, listing.Query{Limit: 9, OwnerIs: func(store.Owner) bool {
		x.Put(storetest.NewToken(2, "wilma"))
		return true
	}})
	if f.Total != 1 || len(f.IDs) != 1 {
		t.Errorf("found %+v", f)
	}
}
