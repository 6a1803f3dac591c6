package main

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/store"
)

func TestDatasetIsTheSameInEveryRun(t *testing.T) {
	seen := map[string]bool{}
	for i := range 2000 {
		once, err := recordOf(i)
		if err != nil {
			t.Fatal(err)
		}
		again, err := recordOf(i)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(once, again, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Fatalf("token %d: %s", i, diff)
		}
		if seen[once.ID] {
			t.Fatalf("token %d has the id of another", i)
		}
		seen[once.ID] = true
		if err := store.Validate(once); err != nil {
			t.Errorf("token %d: %v", i, err)
		}
		value, err := valueOf(i)
		if err != nil {
			t.Fatal(err)
		}
		if !value.Matches(once.Secret.Salt, once.Secret.Hash) {
			t.Errorf("the value of token %d does not match its record", i)
		}
	}
}

func TestPickAmong(t *testing.T) {
	picked := pickAmong(1000, 100, reads)
	if len(picked) != 100 || slices.IsSorted(picked) {
		t.Errorf("picked %v", picked)
	}
	slices.Sort(picked)
	if len(slices.Compact(picked)) != 100 {
		t.Error("a number was picked twice")
	}
	if i := slices.IndexFunc(picked, func(i int) bool { return !reads(i) || i >= 1000 }); i >= 0 {
		t.Errorf("picked %d", picked[i])
	}
}

func TestCredentials(t *testing.T) {
	c, err := newCredentials(200)
	if err != nil {
		t.Fatal(err)
	}
	index, err := newIndex(200)
	if err != nil {
		t.Fatal(err)
	}
	view := permitAll(index)
	sent := map[string]bool{}
	for n := range 400 {
		f, text, owner := c.at(n)
		if scheme := [forms]string{bearer: "Bearer tgate_", basic: "Basic "}[f]; !strings.HasPrefix(string(text), scheme) {
			t.Errorf("credential %d does not begin with %s", n, scheme)
		}
		d := authz.Decide(&authz.Request{Method: "GET", Path: searchPath, Client: netip.MustParseAddr("10.1.2.3"), Authorization: string(text)}, view)
		if d.Reason != authz.TokenAllowed || d.User != owner {
			t.Errorf("credential %d of %s: %v for %q", n, owner, d.Reason, d.User)
		}
		sent[string(text)] = true
	}
	if want := len(pickAmong(200, 200, reads)); len(sent) != want {
		t.Errorf("%d tokens were sent, want %d", len(sent), want)
	}
	if _, err := newCredentials(1); err == nil {
		t.Error("one token is enough")
	}
}

func TestFilledStore(t *testing.T) {
	t.Chdir(t.TempDir())
	const size = 1050
	l, err := openStore(t.Context(), size)
	if err != nil {
		t.Fatal(err)
	}
	var found atomic.Int64
	if err := l.db.All(t.Context(), func(store.Token) error { found.Add(1); return nil }); err != nil {
		t.Fatal(err)
	}
	if found.Load() != size {
		t.Errorf("the store has %d tokens, want %d", found.Load(), size)
	}
	for _, i := range []int{0, 7, 9, 10, 500, size - 1} {
		want, err := recordOf(i)
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.db.Get(t.Context(), want.ID)
		if err != nil {
			t.Fatal(err)
		}
		want.Revision = got.Revision
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("token %d: (-want +got)\n%s", i, diff)
		}
		live, err := l.db.Live(t.Context(), ownerOf(i))
		if err != nil || len(live) != 1 {
			t.Errorf("%d live tokens of the owner of token %d, %v", len(live), i, err)
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
}
