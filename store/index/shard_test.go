package index

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

func factsOf(n int) (f tokenData) {
	copy(f.id[:], "000000000000")
	for i := store.IDLength - 1; n > 0; i-- {
		f.id[i] = byte('0' + n%10)
		n /= 10
	}
	f.state = store.Active
	return f
}

// TestOldTable checks that a reader can use an old table during writes, and that find reports
// slots that refer to newer entries.
func TestOldTable(t *testing.T) {
	office := restrictions{networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for name, l := range map[string]restrictions{"one more chunk": {}, "one more limit": office} {
		var s shard
		n := 0
		put := func(l restrictions) tokenData {
			n++
			f := factsOf(n)
			s.put(f.hash(), f, l, store.Rate{}, new(dirtyIDs))
			return f
		}
		put(restrictions{})
		for s.allocated != len(s.table.Load().chunks)*chunkLength {
			put(restrictions{})
		}
		if name == "one more limit" {
			put(restrictions{}) // one more chunk
		}
		old := s.table.Load()
		fresh := put(l)
		if &s.table.Load().slots[0] != &old.slots[0] {
			t.Fatalf("%s: the slots were reallocated; choose another number of tokens", name)
		}
		if _, c, whole := old.find(fresh.hash(), string(fresh.id[:])); whole {
			t.Errorf("%s: the old table returns entry %v as complete", name, c)
		}
		if c, now := s.find(fresh.hash(), string(fresh.id[:])); c == nil || int(c.restrictions) > len(now.restrictions) {
			t.Errorf("%s: the token is not found", name)
		}
	}
}

// TestMovedUsageIsFlushed flushes after a new entry was published and before the usage was moved
// to it.
func TestMovedUsageIsFlushed(t *testing.T) {
	var dirty dirtyIDs
	s := shard{dirty: &dirty}
	var old, fresh entry
	old.tokenData, fresh.tokenData = factsOf(1), factsOf(1)
	at := time.Unix(1e9, 0).UTC()
	client := netip.MustParseAddr("192.0.2.7")
	old.add(store.Usage{Count: 2, Writes: 1, LastUsed: at, LastAddress: client})
	s.moveUsage(&old, &fresh)
	var ids [][store.IDLength]byte
	for list := range dirty {
		ids = append(ids, dirty.take(list)...)
	}
	if len(ids) != 1 || ids[0] != fresh.id {
		t.Errorf("ids to flush: %q", ids)
	}
	if _, ok := old.add(store.Usage{Count: 1}); ok {
		t.Error("the old entry counts usage")
	}
	old.take()
	if _, ok := old.add(store.Usage{Count: 1}); ok {
		t.Error("the old entry counts usage after a flush")
	}
	if got, want := fresh.take(), (store.Usage{Count: 2, Writes: 1, LastUsed: at, LastAddress: client}); got != want {
		t.Errorf("moved usage %+v, want %+v", got, want)
	}
}

// TestFirstTokenOfAShard looks up a token while the first token of its shard is added.
func TestFirstTokenOfAShard(t *testing.T) {
	for range 30 {
		var x Index
		var looking sync.WaitGroup
		stop := make(chan struct{})
		looking.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					x.Lookup(fmt.Sprintf("u%011d", n%4096))
				}
			}
		})
		for n := range 600 {
			x.Put(store.Token{ID: fmt.Sprintf("a%011d", n), Owner: store.Owner{Name: "fred"}, State: store.Active})
		}
		close(stop)
		looking.Wait()
	}
}

// TestPendingUsageStays checks that pending usage stays visible while its token changes.
func TestPendingUsageStays(t *testing.T) {
	var x Index
	token := store.Token{ID: "000000000001", Owner: store.Owner{Name: "fred"}, State: store.Active}
	x.Put(token)
	x.AddUsage(token.ID, store.Usage{Count: 7, LastUsed: time.Unix(1e9, 0), LastAddress: netip.MustParseAddr("192.0.2.7")})
	var changing sync.WaitGroup
	changing.Go(func() {
		for range 20_000 {
			x.Put(token)
		}
	})
	for range 20_000 {
		if n := x.PendingUsage(token.ID).Count; n != 7 {
			t.Fatalf("%d of 7 uses are visible", n)
		}
	}
	changing.Wait()
}

// TestShardStaysSmall checks a shard's counts, and that compaction removes replaced and removed
// entries.
func TestShardStaysSmall(t *testing.T) {
	for _, tokens := range []int{1, 2, chunkLength - 1, chunkLength, chunkLength + 1, 4 * chunkLength, 1000} {
		var s shard
		for round := range 20 {
			for n := range tokens {
				f := factsOf(1 + n + round%3*tokens)
				s.put(f.hash(), f, restrictions{}, store.Rate{}, new(dirtyIDs))
			}
			if round%3 == 2 {
				for n := range 2 * tokens {
					f := factsOf(1 + n)
					s.remove(f.hash(), string(f.id[:]))
				}
			}
			table, live, filled := s.table.Load(), 0, 0
			for range table.live() {
				live++
			}
			for i := range table.slots {
				if table.slots[i].Load() != 0 {
					filled++
				}
			}
			if s.live != live || s.filled != filled {
				t.Fatalf("%d tokens, round %d: counted %d entries and %d slots, want %d and %d", tokens, round, s.live, s.filled, live, filled)
			}
			if room := len(table.chunks) * chunkLength; room > 8*tokens+6*chunkLength {
				t.Fatalf("%d tokens, round %d: room for %d entries", tokens, round, room)
			}
		}
	}
}

// TestOwners checks that each owner has a distinct number, across chunks and at the end of one.
func TestOwners(t *testing.T) {
	var o owners
	numbers := map[uint32]string{}
	for n := range 1500 {
		name := fmt.Sprintf("%d", n)
		name += strings.Repeat("x", (n*37)%(255-len(name))+1)[1:]
		number := o.numberOf(store.Owner{Name: name})
		if other, taken := numbers[number]; taken {
			t.Fatalf("%q and %q have the same number", name, other)
		}
		numbers[number] = name
		if again := o.numberOf(store.Owner{Name: strings.Clone(name)}); again != number {
			t.Fatalf("%q has the numbers %d and %d", name, number, again)
		}
	}
	for number, name := range numbers {
		if got, _, _ := o.lookup(number); got != name {
			t.Fatalf("%q is %q", name, got)
		}
	}
	if chunks := len(*o.chunks.Load()); chunks < 2 {
		t.Errorf("%d chunks", chunks)
	}
	for _, chunk := range *o.chunks.Load() {
		if len(chunk) != 1<<wordBits {
			t.Fatalf("a chunk has %d words", len(chunk))
		}
	}

	o = owners{}
	for n := range 252 { // of 65 words each: 4 are left
		o.numberOf(store.Owner{Name: strings.Repeat("x", 253) + string(rune('a'+n%16)) + string(rune('a'+n/16))})
	}
	for length := 0; length <= 13; length++ { // 12 fit
		o := o.copied()
		last := strings.Repeat("z", length)
		if name, _, _ := o.lookup(o.numberOf(store.Owner{Name: last})); name != last {
			t.Errorf("the name at the end of a chunk is %q", name)
		}
		if chunks := len(*o.chunks.Load()); chunks != 1 && length <= 12 {
			t.Errorf("%d chunks for %d bytes more", chunks, length)
		}
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a name that is too long was accepted")
			}
		}()
		o.numberOf(store.Owner{Name: strings.Repeat("x", 255+1)})
	}()
}

// copied returns owners that change apart from these.
func (o *owners) copied() *owners {
	other := &owners{numbers: maps.Clone(o.numbers), end: o.end}
	chunks := slices.Clone(*o.chunks.Load())
	for i, c := range chunks {
		chunks[i] = new(*c)
	}
	other.chunks.Store(&chunks)
	return other
}

// TestOwnerStatus checks the status of owners by name and key, and of owners added after an
// update.
func TestOwnerStatus(t *testing.T) {
	var o owners
	fred, renamed, wilma := store.Owner{Name: "fred"}, store.Owner{Name: "fred", Key: "JIRAUSER1"}, store.Owner{Name: "wilma"}
	numbers := map[store.Owner]uint32{fred: o.numberOf(fred), renamed: o.numberOf(renamed)}
	check := func(want map[store.Owner]OwnerStatus) {
		t.Helper()
		for owner, standing := range want {
			if name, got, _ := o.lookup(numbers[owner]); got != standing || name != owner.Name {
				t.Errorf("%v is %q with status %v, want %v", owner, name, got, standing)
			}
		}
	}
	check(map[store.Owner]OwnerStatus{fred: OwnerUnknown, renamed: OwnerUnknown})
	o.updateAll(func(o store.Owner, _ OwnerStatus) OwnerStatus {
		if o.Key == "" {
			return OwnerPermitted
		}
		return OwnerNotPermitted
	})
	numbers[wilma] = o.numberOf(wilma)
	check(map[store.Owner]OwnerStatus{fred: OwnerPermitted, renamed: OwnerNotPermitted, wilma: OwnerPermitted})
	o.updateAll(func(o store.Owner, _ OwnerStatus) OwnerStatus { return OwnerInactive })
	barney := store.Owner{Name: "barney"}
	numbers[barney] = o.numberOf(barney)
	check(map[store.Owner]OwnerStatus{fred: OwnerInactive, renamed: OwnerInactive, wilma: OwnerInactive, barney: OwnerInactive})

	// A new token of a denied owner counts as soon as the owner is known, and one of a permitted owner denies nothing.
	known := false
	o.updateAll(func(store.Owner, OwnerStatus) OwnerStatus {
		if known {
			return OwnerPermitted
		}
		return OwnerUnknown
	})
	o.numberOf(fred)
	check(map[store.Owner]OwnerStatus{fred: OwnerUnknown, barney: OwnerUnknown})
	known = true
	o.numberOf(fred)
	check(map[store.Owner]OwnerStatus{fred: OwnerPermitted, barney: OwnerUnknown})
	known = false
	o.numberOf(fred)
	check(map[store.Owner]OwnerStatus{fred: OwnerPermitted, barney: OwnerUnknown})
}

// TestOwnerStatusRace reads the status while it is updated.
func TestOwnerStatusRace(t *testing.T) {
	var o owners
	n := o.numberOf(store.Owner{Name: "fred"})
	var wg sync.WaitGroup
	for _, s := range []OwnerStatus{OwnerNotPermitted, OwnerPermitted} {
		wg.Go(func() {
			for range 1000 {
				o.updateAll(func(store.Owner, OwnerStatus) OwnerStatus { return s })
				o.numberOf(store.Owner{Name: strings.Repeat("x", int(s))})
			}
		})
	}
	for range 1000 {
		if name, _, _ := o.lookup(n); name != "fred" {
			t.Fatalf("fred is %q", name)
		}
	}
	wg.Wait()
}
