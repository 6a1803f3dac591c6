package store

import (
	"strings"
	"sync"
	"sync/atomic"
)

// owners are the names of the tokens' owners, each kept once. A name stays when
// its last token goes: there are as many as there are people.
type owners struct {
	names atomic.Pointer[[]string] // by number

	mu      sync.Mutex
	numbers map[string]uint32
}

// name returns the name with a number that number has given out.
func (o *owners) name(number uint32) string { return (*o.names.Load())[number] }

// number returns the number of a name. Spellings that differ in case have
// numbers of their own.
func (o *owners) number(name string) uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n, known := o.numbers[name]; known {
		return n
	}
	if o.numbers == nil {
		o.numbers = make(map[string]uint32)
		o.names.Store(new([]string))
	}
	// Who reads the list that was there before does not look beyond its end.
	name = strings.Clone(name) // it may be a piece of a larger text
	names := append(*o.names.Load(), name)
	o.names.Store(&names)
	n := uint32(len(names) - 1)
	o.numbers[name] = n
	return n
}
