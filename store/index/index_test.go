package index_test

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
	"github.com/tokengate/tokengate/store/storetest"
)

var comparer = cmp.Options{cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()}

// version returns a token that differs from its other versions in every field.
func version(n, v int) store.Token {
	t := storetest.NewToken(n, "user "+string(rune('a'+v%7)))
	t.ReadOnly = v%2 == 0
	t.State = store.State(1 + v%3)
	t.Expires = storetest.Epoch.Add(time.Duration(v) * time.Hour)
	t.Secret = secretOf(v)
	if v%3 == 0 {
		t.Networks = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(v), 0, 0}), 16)}
	}
	if v%5 == 0 {
		t.Previous = store.Previous{Secret: secretOf(v + 1), Until: t.Expires}
	}
	return t
}

func secretOf(v int) (s store.Secret) {
	s.Salt[v%16], s.Hash[v%32] = byte(v>>8)|1, byte(v)|1
	return s
}

func entryOf(t store.Token) index.Entry {
	return index.Entry{
		Owner: t.Owner.Name, Expires: t.Expires, ReadOnly: t.ReadOnly, State: t.State,
		Networks: t.Networks, Secret: t.Secret, Previous: t.Previous,
	}
}

// TestIndexAgainstMap changes an index at random, often enough that shards grow, are compacted
// and shrink, and compares it with a map.
func TestIndexAgainstMap(t *testing.T) {
	var x index.Index
	want := map[string]store.Token{}
	random := rand.New(rand.NewPCG(1, 2))
	const tokens = 4000
	check := func() {
		t.Helper()
		states := map[store.State]int{store.Pending: 0, store.Active: 0, store.Disabled: 0, store.Revoked: 0}
		for n := range tokens {
			id := storetest.NewToken(n, "").ID
			token, there := want[id]
			if there {
				states[token.State]++
			}
			got, ok := x.Lookup(id)
			if live := there && token.State != store.Revoked; ok != live {
				t.Fatalf("token %d found: %v, want %v", n, ok, live)
			} else if want := entryOf(token); live && !reflect.DeepEqual(want, got) {
				t.Fatalf("token %d (-want +index):\n%s", n, cmp.Diff(want, got, comparer))
			}
		}
		if got := x.Counts(storetest.Epoch).States; !cmp.Equal(states, got) {
			t.Fatalf("counts %v, want %v", got, states)
		}
	}
	for range 3 {
		for range 3 * tokens {
			token := version(random.IntN(tokens), random.IntN(1000))
			switch random.IntN(10) {
			case 0:
				x.Remove(token.ID)
				delete(want, token.ID)
				continue
			case 1:
				token.State, token.Revoked = store.Revoked, storetest.Epoch
				token = store.Normalize(token)
			}
			x.Put(token)
			want[token.ID] = token
		}
		check()
	}
	for id := range want {
		x.Remove(id)
	}
	clear(want)
	check()
}

// TestIndexRaces looks up tokens while they change. An existing token is always found, and an
// entry is always one version.
func TestIndexRaces(t *testing.T) {
	var x index.Index
	const tokens, versions = 3000, 12
	for n := range tokens {
		x.Put(version(n, 0))
	}
	var writers, readers sync.WaitGroup
	var done atomic.Bool
	for range 2 {
		readers.Go(func() {
			for n := 0; !done.Load(); n = (n + 1) % tokens {
				token := version(n, 0)
				got, ok := x.Lookup(token.ID)
				if !ok {
					t.Errorf("token %d is not found", n)
					return
				}
				v := int(got.Expires.Sub(storetest.Epoch) / time.Hour)
				if want := entryOf(version(n, v)); !reflect.DeepEqual(want, got) {
					t.Errorf("token %d mixes versions (-one version +index):\n%s", n, cmp.Diff(want, got, comparer))
					return
				}
				runtime.Gosched()
			}
		})
	}
	for w := range 2 {
		writers.Go(func() {
			for v := range versions {
				for n := w; n < tokens; n += 2 {
					x.Put(version(n, v))
				}
				for n := range tokens { // others come and go beside them
					token := version(tokens*(w+1)+n, v)
					if v%2 == 0 {
						x.Put(token)
					} else {
						x.Remove(token.ID)
					}
				}
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
}

func BenchmarkLookup(b *testing.B) {
	const tokens = 1 << 20
	var x index.Index
	ids := make([]string, tokens)
	for n := range ids {
		token := storetest.NewToken(n, "fred")
		ids[n] = token.ID
		x.Put(token)
	}
	rand.Shuffle(tokens, func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if _, ok := x.Lookup(ids[n%tokens]); !ok {
			b.Fatal("a token is not found")
		}
	}
}

// TestOwnerStatusExpires checks that owner status is fresh before an instant and not from then
// on.
func TestOwnerStatusExpires(t *testing.T) {
	good := func(store.Owner, index.OwnerStatus) index.OwnerStatus { return index.OwnerPermitted }
	x := new(index.Index)
	if x.OwnersFresh(storetest.Epoch) {
		t.Error("owner status is fresh before the first update")
	}
	for name, c := range map[string]struct {
		until time.Time
		at    time.Time
		want  bool
	}{
		"before":                        {storetest.Epoch, storetest.Epoch.Add(-1), true},
		"then":                          {storetest.Epoch, storetest.Epoch, false},
		"no time":                       {time.Time{}, storetest.Epoch, false},
		"long ago":                      {time.Date(-5000, 1, 1, 0, 0, 0, 0, time.UTC), storetest.Epoch, false},
		"beyond what nanoseconds count": {time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC), storetest.Epoch, false},
		"far off":                       {time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), storetest.Epoch, true},
		"forever":                       {store.Forever, storetest.Epoch, true},
		"beyond ever":                   {store.Forever.Add(time.Hour), storetest.Epoch, true},
	} {
		if x.UpdateOwnerStatus(good, c.until); x.OwnersFresh(c.at) != c.want {
			t.Errorf("%s: fresh: %v", name, !c.want)
		}
	}
	if x.OwnerStatus(store.Owner{Name: "unknown"}) != index.OwnerPermitted {
		t.Error("the status function was not called")
	}
}
