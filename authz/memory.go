package authz

import "unsafe"

// memory is where a decision puts what it decodes, so that it takes none from
// the heap: the Memory of the Request. What was put there stays as it is, unless
// whoever put it there takes it back at once. When memory is full, it goes on
// elsewhere.
type memory []byte

// since returns what was put into memory since it had the given length.
func (m *memory) since(start int) string {
	b := (*m)[start:]
	return unsafe.String(unsafe.SliceData(b), len(b))
}
