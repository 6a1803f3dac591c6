package index

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/tokengate/tokengate/store"
)

// TestEntrySize checks the memory per token that Index documents.
func TestEntrySize(t *testing.T) {
	if size := unsafe.Sizeof(entry{}); size != 128 {
		t.Errorf("an entry has %d bytes, want 128", size)
	}
}

// TestIndexMemory measures the memory per token, at a size halfway between two growth steps of
// the tables.
func TestIndexMemory(t *testing.T) {
	const tokens = 200_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	x := new(Index)
	owners := []string{"fred", "wilma", "barney", "betty"}
	var raw [store.IDLength]byte
	for n := range tokens {
		for i := range raw {
			raw[i] = "0123456789abcdefghijklmnopqrstuv"[n>>(5*(i%4))&31]
		}
		x.Put(store.Token{ID: string(raw[:]), Owner: store.Owner{Name: owners[n%len(owners)]}, State: store.Active})
	}
	each := float64(heap()-before) / tokens
	if each > 200 {
		t.Errorf("the index takes %.0f bytes per token, want at most 200", each)
	}
	t.Logf("the index takes %.0f bytes for a token", each)
	runtime.KeepAlive(x)
}

// TestUpstreamMemory measures the memory per owner with an upstream credential as long as Jira's,
// as many as a large site has.
func TestUpstreamMemory(t *testing.T) {
	const users = 50_000
	x := new(Index)
	for n := range users {
		x.Put(tokenOf(n, store.Owner{Name: fmt.Sprintf("user%d", n), Key: fmt.Sprintf("JIRAUSER%d", n)}))
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	func() {
		all := make(map[string]*Upstream)
		for n := range users {
			all[fmt.Sprintf("JIRAUSER%d", n)] = NewUpstream(strings.Repeat("x", 75))
		}
		x.SetUpstreams(all)
	}()
	each := float64(heap()-before) / users
	if each > 150 {
		t.Errorf("the index takes %.0f bytes per connected owner, want at most 150", each)
	}
	t.Logf("the index takes %.0f bytes for a connected owner", each)
	runtime.KeepAlive(x)
}
