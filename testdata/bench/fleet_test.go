package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

func TestFleetIsTheSameInEveryRun(t *testing.T) {
	seen := map[string]bool{}
	for i := range 2000 {
		once, err := recordOf(i, kindOf(i))
		if err != nil {
			t.Fatal(err)
		}
		again, err := recordOf(i, kindOf(i))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(once, again, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Fatalf("token %d: %s", i, diff)
		}
		if seen[once.ID] {
			t.Fatalf("token %d has another one's id", i)
		}
		seen[once.ID] = true
		if err := store.Validate(once); err != nil {
			t.Errorf("token %d: %v", i, err)
		}
		if len(once.Owner.Name) != nameLength {
			t.Errorf("owner %q is not %d characters long", once.Owner.Name, nameLength)
		}
		value, err := valueOf(i)
		if err != nil {
			t.Fatal(err)
		}
		stored := once.Secret
		if kindOf(i) == rotated {
			stored = once.Previous.Secret
		}
		if !value.Matches(stored.Salt, stored.Hash) {
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
		t.Error("one was picked twice")
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
	sent := map[string]bool{}
	for n := range 400 {
		f, text, owner := c.at(n)
		if len(text) != formLength[f] {
			t.Fatalf("credential %d has %d characters", n, len(text))
		}
		if scheme := [forms]string{bearer: "Bearer tgate_", basic: "Basic "}[f]; !strings.HasPrefix(string(text), scheme) {
			t.Errorf("credential %d is not sent as %s", n, scheme)
		}
		if want := ownerOf(int(owner)); string(c.name(owner)) != want {
			t.Errorf("the owner is %q, not %q", c.name(owner), want)
		}
		sent[string(text)] = true
	}
	if good := len(pickAmong(200, 200, reads)); len(sent) != good {
		t.Errorf("%d tokens were sent, of %d", len(sent), good)
	}
	if _, err := newCredentials(1); err == nil {
		t.Error("credentials were made of one token")
	}
}

// What fill writes must be what the store's own package would have written.
func TestFilledStore(t *testing.T) {
	if last, err := recordOf(createdEvery-1, plain); err != nil || !last.Created.Before(ended) {
		t.Errorf("the last token is made at %v, when the store lists as ended what expired at %v (error %v)", last.Created, ended, err)
	}
	const size = 1050
	dir := t.TempDir()
	if _, err := emptyStore(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if err := fill(t.Context(), dir, size); err != nil {
		t.Fatal(err)
	}
	if err := verify(t.Context(), dir, size); err != nil {
		t.Fatal(err)
	}
	if err := verify(t.Context(), dir, size-1); err == nil {
		t.Error("a token too many was not seen")
	}
	copied := t.TempDir() + "/copy"
	if err := copyData(dir, copied); err != nil {
		t.Fatal(err)
	}
	s, err := badger.Open(t.Context(), badger.Options{Dir: copied})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, i := range []int{0, 7, 10, 500, size - 1} {
		want, err := recordOf(i, kindOf(i))
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(t.Context(), want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("token %d: (-want +got)\n%s", i, diff)
		}
	}
	fresh, err := newToken()
	if err != nil {
		t.Fatal(err)
	}
	owned := 0
	fresh.Owner.Name = ownerOf(3)
	created, err := s.Create(t.Context(), fresh, func(of []store.Token) (store.Audit, error) {
		owned = len(of)
		return benchAudit("token.create"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if created.Number != size+1 || owned != 1 {
		t.Errorf("the next token has number %d, and its owner had %d", created.Number, owned)
	}
}
