package store

import (
	"net/netip"
	"testing"
	"time"
)

func factsOf(n int) (f facts) {
	copy(f.id[:], "000000000000")
	for i := idLength - 1; n > 0; i-- {
		f.id[i] = byte('0' + n%10)
		n /= 10
	}
	f.state = Active
	return f
}

// A table that a reader has taken stays safe to use while writers go on: where a
// slot leads beyond it, it says so.
func TestOldTableKnowsItsEnd(t *testing.T) {
	office := limits{networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for name, l := range map[string]limits{"one more chunk": {}, "one more limit": office} {
		var s shard
		n := 0
		put := func(l limits) facts {
			n++
			f := factsOf(n)
			s.put(f.hash(), f, l)
			return f
		}
		put(limits{})
		for s.given != len(s.table.Load().chunks)*chunkLength {
			put(limits{})
		}
		if name == "one more limit" {
			put(limits{}) // one more chunk
		}
		old := s.table.Load()
		fresh := put(l)
		if &s.table.Load().slots[0] != &old.slots[0] {
			t.Fatalf("%s: the slots were made anew; choose another number of tokens", name)
		}
		if _, c, whole := old.find(fresh.hash(), string(fresh.id[:])); whole {
			t.Errorf("%s: the old table gives cell %v as whole", name, c)
		}
		if c, now := s.find(fresh.hash(), string(fresh.id[:])); c == nil || int(c.limits) > len(now.limits) {
			t.Errorf("%s: the token is not found", name)
		}
	}
}

// A flush may come after another cell has taken a token's place, and before
// that cell was given the use.
func TestHandedUseIsFlushed(t *testing.T) {
	var s shard
	var old, fresh cell
	old.facts, fresh.facts = factsOf(1), factsOf(1)
	at := time.Unix(1e9, 0).UTC()
	client := netip.MustParseAddr("192.0.2.7")
	old.add(Usage{Count: 2, Writes: 1, LastUsed: at, LastAddress: client})
	s.hand(&old, &fresh)
	if ids := s.used.take(); len(ids) != 1 || ids[0] != fresh.id {
		t.Errorf("%q are to be flushed", ids)
	}
	if _, ok := old.add(Usage{Count: 1}); ok {
		t.Error("the old cell counts on")
	}
	if got, want := fresh.take(), (Usage{Count: 2, Writes: 1, LastUsed: at, LastAddress: client}); got != want {
		t.Errorf("handed over %+v, want %+v", got, want)
	}
}
