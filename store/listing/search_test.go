package listing_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/listing"
	"github.com/tokengate/tokengate/store/storetest"
)

func FuzzCursor(f *testing.F) {
	x := listing.New()
	for n := range 9 {
		token := storetest.NewToken(n, fmt.Sprintf("Fred %d", n%2))
		token.Number = uint64(n)
		x.Put(token)
	}
	for column := listing.ByNumber; column <= listing.ByUses; column++ {
		f.Add(string(find(f, x, listing.Query{Sort: column, Limit: 1}).Next), uint8(column), false)
		f.Add(string(find(f, x, listing.Query{Sort: column, Descending: true, Limit: 1}).Next), uint8(column), true)
	}
	f.Add("", uint8(0), false)
	f.Add("AQAAAAAAAA", uint8(0), true)
	f.Fuzz(func(t *testing.T, cursor string, column uint8, descending bool) {
		q := listing.Query{After: listing.Cursor(cursor), Sort: listing.Column(column % 6), Descending: descending, Limit: 20}
		found, err := x.Find(t.Context(), q)
		switch {
		case err != nil && !errors.Is(err, store.ErrInvalid):
			t.Errorf("error %v", err)
		case err == nil && found.Total != 9:
			t.Errorf("found %+v", found)
		}
	})
}

func TestCursor(t *testing.T) {
	x := listing.New()
	for n := range 9 {
		token := storetest.NewToken(n, "fred")
		token.Number = uint64(n)
		x.Put(token)
	}
	q := listing.Query{Sort: listing.ByName, Limit: 2}
	next := string(find(t, x, q).Next)
	if strings.Trim(next, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("cursor %q is not safe in a URL", next)
	}
	wantError := func(what string, q listing.Query) {
		t.Helper()
		if f, err := x.Find(t.Context(), q); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: found %+v, error %v", what, f, err)
		}
	}
	for i := range next {
		for what, cursor := range map[string]string{
			"cut off":     next[:i],
			"changed":     next[:i] + string('A'+('B'-next[i])&1) + next[i+1:],
			"with a hole": next[:i] + next[i+1:],
			"with a line": next[:i] + "\n" + next[i:],
		} {
			if cursor != "" && cursor != next {
				q.After = listing.Cursor(cursor)
				wantError(fmt.Sprintf("%s at %d", what, i), q)
			}
		}
	}
	q.After = listing.Cursor(next)
	q.Descending = true
	wantError("from the other end", q)
	q.Descending, q.Sort = false, listing.ByOwner
	wantError("by another column", q)
}
