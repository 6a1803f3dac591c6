package listing_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
	"github.com/tokengate/tokengate/store/listing"
	"github.com/tokengate/tokengate/store/storetest"
)

// BenchmarkFind finds the first page of a million tokens of 50,000 owners.
func BenchmarkFind(b *testing.B) {
	const tokens = 1_000_000
	x := listing.New()
	for n := range tokens {
		mixed := n * 7919 % tokens // no column has the rows' order
		token := storetest.NewToken(n, fmt.Sprintf("user%05d", mixed%50_000))
		token.Number = uint64(n) + 1
		token.Name = fmt.Sprintf("Nightly report %06d", mixed)
		token.ReadOnly = n%20 == 0
		token.Created = storetest.Epoch.Add(time.Duration(n) * time.Second)
		if n%3 > 0 {
			token.Expires = storetest.Epoch.Add(time.Duration(mixed) * time.Minute)
		}
		if n%100 == 0 {
			token.State = store.Pending
		}
		x.Put(token)
		if n%2 == 0 {
			x.AddUsage(map[string]store.Usage{token.ID: {Count: uint64(mixed), LastUsed: token.Created.Add(time.Hour)}})
		}
	}
	middle := storetest.Epoch.Add(tokens / 2 * time.Second)
	suspended := func(o store.Owner) bool { return o.Name[len(o.Name)-1] == '7' }
	for _, c := range []struct {
		name string
		q    listing.Query
	}{
		{"all", listing.Query{}},
		{"all, latest first", listing.Query{Descending: true}},
		{"by owner", listing.Query{Sort: listing.ByOwner}},
		{"by name", listing.Query{Sort: listing.ByName}},
		{"by name, from the end", listing.Query{Sort: listing.ByName, Descending: true}},
		{"by expiry", listing.Query{Sort: listing.ByExpires}},
		{"by last use, latest first", listing.Query{Sort: listing.ByLastUsed, Descending: true}},
		{"by uses, most first", listing.Query{Sort: listing.ByUses, Descending: true}},
		{"pending", listing.Query{States: []store.State{store.Pending}}},
		{"one owner", listing.Query{Owner: "USER00042", Sort: listing.ByName}},
		{"part of an owner", listing.Query{OwnerPart: "0042", Sort: listing.ByName}},
		{"owners suspended", listing.Query{OwnerIs: suspended, Sort: listing.ByLastUsed}},
		{"part of a name", listing.Query{Name: "0042", Sort: listing.ByOwner}},
		{"part of a name that all have", listing.Query{Name: "REPORT", Sort: listing.ByName}},
		{"expiring", listing.Query{ExpiresUntil: middle, Sort: listing.ByExpires}},
		{"unused since, total only", listing.Query{UnusedSince: middle}},
		{"id", listing.Query{ID: storetest.NewToken(777_777, "").ID}},
		{"everything at once", listing.Query{
			OwnerPart: "1", Name: "1", ReadOnly: new(false), Expired: new(false), Now: middle,
			CreatedFrom: storetest.Epoch, UnusedSince: middle.AddDate(1, 0, 0), OwnerIs: suspended, Sort: listing.ByName,
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			c.q.Limit = 100
			for b.Loop() {
				find(b, x, c.q)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/op")
		})
	}
	b.Run("owners", func(b *testing.B) {
		for b.Loop() {
			if _, err := x.Owners(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLookupBesideFind looks up a hundred tokens at a time, with and without a constant
// search of a million tokens.
func BenchmarkLookupBesideFind(b *testing.B) {
	const tokens = 1_000_000
	var entries index.Index
	x := listing.New()
	ids := make([]string, tokens)
	for n := range tokens {
		token := storetest.NewToken(n, fmt.Sprintf("user%05d", n%50_000))
		ids[n] = token.ID
		entries.Put(token)
		x.Put(token)
	}
	rand.Shuffle(tokens, func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, searches := range []bool{false, true} {
		b.Run(fmt.Sprintf("search=%v", searches), func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			var searching sync.WaitGroup
			if searches {
				searching.Go(func() {
					for ctx.Err() == nil {
						x.Find(ctx, listing.Query{Name: "token 7", Sort: listing.ByName, Limit: 100})
					}
				})
			}
			const round = 100
			var took []time.Duration
			for n := 0; b.Loop(); n++ {
				began := time.Now()
				for i := range round {
					if _, ok := entries.Lookup(ids[(n*round+i)%tokens]); !ok {
						b.Fatal("a token is not found")
					}
				}
				took = append(took, time.Since(began))
			}
			cancel()
			searching.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/round, "ns/lookup")
			b.ReportMetric(float64(took[len(took)*999/1000].Nanoseconds())/round, "p99.9-ns/lookup")
		})
	}
}
