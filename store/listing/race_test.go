package listing_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/listing"
	"github.com/tokengate/tokengate/store/storetest"
)

var columns = []listing.Column{listing.ByNumber, listing.ByOwner, listing.ByName, listing.ByExpires, listing.ByLastUsed, listing.ByUses}

// tokenOf returns a token with this number, and few different values per column.
func tokenOf(n int) store.Token {
	t := storetest.NewToken(n, fmt.Sprintf("user %d", n%7))
	t.Number = uint64(n) + 1
	t.Name = fmt.Sprintf("Token %d", n%11)
	if n%3 > 0 {
		t.Expires = storetest.Epoch.Add(time.Duration(n%5) * time.Hour)
	}
	return t
}

// TestListingWalk pages through every order while tokens are added, removed and changed. It finds
// each unchanged token exactly once, and in the order by number changed ones as well.
func TestListingWalk(t *testing.T) {
	const tokens, limit = 3000, 97
	for _, column := range columns {
		for _, descending := range []bool{false, true} {
			d := draw{rand.New(rand.NewPCG(7, uint64(column)))}
			x := listing.New()
			for n := range tokens {
				x.Put(tokenOf(n))
				x.AddUsage(map[string]store.Usage{tokenOf(n).ID: {Count: uint64(n % 4), LastUsed: one(d, time.Time{}, storetest.Epoch)}})
			}
			change := func(next int) {
				for range 20 {
					token := tokenOf(d.IntN(tokens/4) * 4)
					switch d.IntN(4) {
					case 0:
						x.Remove(token.ID)
					case 1:
						token.State, token.Revoked = store.Revoked, storetest.Epoch
						x.Put(store.Normalize(token))
					case 2:
						token.Name, token.Expires = d.name(), d.time()
						x.Put(token)
						x.AddUsage(map[string]store.Usage{token.ID: {Count: 9, LastUsed: d.time()}})
					case 3:
						x.Put(tokenOf(tokens + 20*next + d.IntN(20)))
					}
				}
			}
			met := map[string]int{}
			q := listing.Query{Sort: column, Descending: descending, Limit: limit}
			for page := 0; page == 0 || q.After != ""; page++ {
				if page > 2*tokens/limit {
					t.Fatalf("by column %d, page %d is not the last", column, page)
				}
				f := find(t, x, q)
				for _, id := range f.IDs {
					met[id]++
				}
				q.After = f.Next
				change(page)
			}
			for n := range tokens {
				id := tokenOf(n).ID
				if n%4 != 0 && met[id] != 1 {
					t.Fatalf("by column %d, descending %v: token %d was found %d times", column, descending, n, met[id])
				}
				if column == listing.ByNumber && met[id] > 1 {
					t.Fatalf("by number: changed token %d was found %d times", n, met[id])
				}
			}
		}
	}
}

// TestListingRaces searches while tokens change. Each search finds every permanent token once.
func TestListingRaces(t *testing.T) {
	const tokens, rounds = 5000, 3
	x := listing.New()
	for n := range tokens {
		x.Put(tokenOf(n))
	}
	var writers, readers sync.WaitGroup
	var done atomic.Bool
	searches := 0
	readers.Go(func() {
		for n := 0; !done.Load() || n < len(columns); n++ {
			f, err := x.Find(t.Context(), listing.Query{
				Name: "oken", OwnerPart: "USER", Sort: columns[n%len(columns)], Descending: n%2 == 0, Limit: 3 * tokens,
			})
			met := map[string]int{}
			for _, id := range f.IDs {
				met[id]++
			}
			for n := range tokens {
				if id := tokenOf(n).ID; met[id] != 1 {
					t.Errorf("token %d is found %d times, error %v", n, met[id], err)
					return
				}
			}
			searches++
		}
	})
	readers.Go(func() {
		for !done.Load() {
			owners, err := x.Owners(t.Context())
			live := 0
			for _, o := range owners {
				live += o.Tokens
			}
			if live < tokens || err != nil {
				t.Errorf("%d live tokens; error %v", live, err)
				return
			}
		}
	})
	writers.Go(func() {
		for round := range rounds {
			for n := range tokens { // they change and stay
				token := tokenOf(n)
				token.Name = fmt.Sprintf("%d. token", (n+round)%13)
				x.Put(token)
			}
		}
	})
	writers.Go(func() {
		for range rounds {
			for n := range tokens { // others come and go beside them
				x.Put(tokenOf(tokens + n))
				x.AddUsage(map[string]store.Usage{tokenOf(tokens + n).ID: {Count: 1, LastUsed: storetest.Epoch}})
				if n > 1000 {
					x.Remove(tokenOf(tokens + n - 1000).ID)
				}
			}
		}
	})
	writers.Wait()
	done.Store(true)
	readers.Wait()
	t.Logf("%d searches", searches)
}
