package listing

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/tokengate/tokengate/store"
)

// TestListingMemory measures the memory per token, with names of 20 characters and 20 tokens per
// owner.
func TestListingMemory(t *testing.T) {
	const tokens = 50_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	x := New()
	for n := range tokens {
		x.Put(store.Token{
			ID:     fmt.Sprintf("test%08d", n),
			Number: uint64(n),
			Owner:  store.Owner{Name: fmt.Sprintf("user %d", n%(tokens/20)), Key: fmt.Sprintf("JIRAUSER%d", n%(tokens/20))},
			Name:   fmt.Sprintf("nightly report %05d", n%25_000),
			State:  store.Active,
		})
	}
	check := func(what string) {
		t.Helper()
		each := float64(heap()-before) / tokens
		if each > 100 {
			t.Errorf("the listing takes %.1f bytes per token %s, want at most 100", each, what)
		}
		t.Logf("the listing takes %.1f bytes for a token %s", each, what)
	}
	check("at first")

	// Repeated renames, removals and additions take no more.
	for round := range 5 {
		for n := range tokens / 4 {
			token := store.Token{ID: fmt.Sprintf("test%08d", n), Name: fmt.Sprintf("renamed report %05d", n+round), State: store.Active}
			if n%2 == 0 {
				x.Remove(token.ID)
			}
			x.Put(token)
		}
	}
	check("after many changes")
	runtime.KeepAlive(x)
}
