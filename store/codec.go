package store

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// encoder builds a record in protobuf's wire format, field by field in the order of their
// numbers. Fields without a value are omitted.
type encoder []byte

func (r *encoder) uint(n protowire.Number, v uint64) {
	if v != 0 {
		*r = protowire.AppendVarint(protowire.AppendTag(*r, n, protowire.VarintType), v)
	}
}

// int writes 0, too: it is for fields with explicit presence.
func (r *encoder) int(n protowire.Number, v int64) {
	*r = protowire.AppendVarint(protowire.AppendTag(*r, n, protowire.VarintType), uint64(v))
}

func (r *encoder) text(n protowire.Number, s string) {
	if s != "" {
		*r = protowire.AppendString(protowire.AppendTag(*r, n, protowire.BytesType), s)
	}
}

func (r *encoder) bytes(n protowire.Number, b []byte) {
	*r = protowire.AppendBytes(protowire.AppendTag(*r, n, protowire.BytesType), b)
}

// decoder reads a record:
//
//	for f.next(repeated) {
//		switch f.number { … f.text() … }
//	}
//
// The first error ends the loop and is in err.
type decoder struct {
	number protowire.Number // of the current field
	err    error

	rest   []byte // after the current field
	whole  string // a copy of the input, which the texts share
	kind   protowire.Type
	value  []byte // of the current field if its kind is BytesType
	varint uint64 // of the current field if its kind is VarintType
}

func newDecoder(data []byte) decoder { return decoder{rest: data, whole: string(data)} }

// next reads the next field and reports whether there is one. A field number that is not higher
// than the previous one is an error, except that of repeated.
func (f *decoder) next(repeated protowire.Number) bool {
	if len(f.rest) == 0 || f.err != nil {
		return false
	}
	before := f.number
	number, kind, n := protowire.ConsumeTag(f.rest)
	if n < 0 {
		return f.malformed(n)
	}
	f.number, f.kind, f.rest = number, kind, f.rest[n:]
	switch kind {
	case protowire.VarintType:
		f.varint, n = protowire.ConsumeVarint(f.rest)
	case protowire.BytesType:
		f.value, n = protowire.ConsumeBytes(f.rest)
	default:
		n = protowire.ConsumeFieldValue(number, kind, f.rest)
	}
	if n < 0 {
		return f.malformed(n)
	}
	f.rest = f.rest[n:]
	if number < before || number == before && number != repeated {
		f.fail("comes after field %d", before)
		return false
	}
	return true
}

// malformed fails because of malformed wire format; code is from protowire.
func (f *decoder) malformed(code int) bool {
	f.err = fmt.Errorf("it is malformed: %w", protowire.ParseError(code))
	return false
}

// fail reports an error in the current field.
func (f *decoder) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("field %d "+format, append([]any{f.number}, args...)...)
	}
}

func (f *decoder) uint() uint64 {
	if f.kind != protowire.VarintType {
		f.fail("is not a number")
		return 0
	}
	return f.varint
}

// atMost returns a number, and fails if it is above most.
func (f *decoder) atMost(most uint64) uint64 {
	v := f.uint()
	if v > most {
		f.fail("is %d, above %d", v, most)
		return 0
	}
	return v
}

// bytes returns a part of the input.
func (f *decoder) bytes() []byte {
	if f.kind != protowire.BytesType {
		f.fail("is not text or bytes")
		return nil
	}
	return f.value
}

// text returns a part of the copy of the input.
func (f *decoder) text() string {
	end := len(f.whole) - len(f.rest)
	return f.whole[end-len(f.bytes()) : end]
}
