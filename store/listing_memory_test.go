package store

import (
	"fmt"
	"runtime"
	"testing"
)

// What the listing takes for each of its tokens, in all, with names of 20
// characters and 20 tokens for each owner.
func TestListingMemory(t *testing.T) {
	const tokens = 200_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	x := NewListing()
	for n := range tokens {
		x.Put(Token{
			ID:     fmt.Sprintf("test%08d", n),
			Number: uint64(n),
			Owner:  Owner{Name: fmt.Sprintf("user %d", n%(tokens/20)), Key: fmt.Sprintf("JIRAUSER%d", n%(tokens/20))},
			Name:   fmt.Sprintf("nightly report %05d", n%100_000),
			State:  Active,
		})
	}
	check := func(what string) {
		t.Helper()
		each := float64(heap()-before) / tokens
		if each > 100 {
			t.Errorf("the listing takes %.1f bytes for a token %s, want 100 at most", each, what)
		}
		t.Logf("the listing takes %.1f bytes for a token %s", each, what)
	}
	check("at first")

	// Renamed again and again, and taken out and put in, they take no more.
	for round := range 5 {
		for n := range tokens / 4 {
			token := Token{ID: fmt.Sprintf("test%08d", n), Name: fmt.Sprintf("renamed report %05d", n+round), State: Active}
			if n%2 == 0 {
				x.Remove(token.ID)
			}
			x.Put(token)
		}
	}
	check("after many changes")
	runtime.KeepAlive(x)
}
