package index

import (
	"runtime"
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
