package store

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// encoder is a record that is being written, field by field in the order of
// their numbers. A field without a value is left out.
type encoder []byte

func (r *encoder) uint(n protowire.Number, v uint64) {
	if v != 0 {
		*r = protowire.AppendVarint(protowire.AppendTag(*r, n, protowire.VarintType), v)
	}
}

// int writes 0, too.
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
// and then looks at err, which the first failure sets and which ends the loop.
type decoder struct {
	number protowire.Number // of the field at hand
	err    error

	rest   []byte // behind the field at hand
	whole  string // a copy of the record: the texts are parts of it
	kind   protowire.Type
	value  []byte // of the field at hand, if its kind is BytesType
	varint uint64 // of the field at hand, if its kind is VarintType
}

func newDecoder(data []byte) decoder { return decoder{rest: data, whole: string(data)} }

// next goes to the next field, and reports whether there is one. A number that
// is not above the one before is an error, unless it is repeated's again.
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
		f.fail("stands behind field %d", before)
		return false
	}
	return true
}

// malformed says that the bytes are no record; code is what protowire returned.
func (f *decoder) malformed(code int) bool {
	f.err = fmt.Errorf("it is no whole record: %w", protowire.ParseError(code))
	return false
}

// fail says what is wrong with the field at hand.
func (f *decoder) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("field %d "+format, append([]any{f.number}, args...)...)
	}
}

func (f *decoder) uint() uint64 {
	if f.kind != protowire.VarintType {
		f.fail("is no number")
		return 0
	}
	return f.varint
}

// atMost returns a number that must not be above most.
func (f *decoder) atMost(most uint64) uint64 {
	v := f.uint()
	if v > most {
		f.fail("is %d, above %d", v, most)
		return 0
	}
	return v
}

// bytes returns a part of the record that was given.
func (f *decoder) bytes() []byte {
	if f.kind != protowire.BytesType {
		f.fail("is no text and no bytes")
		return nil
	}
	return f.value
}

// text returns a part of the record's copy.
func (f *decoder) text() string {
	end := len(f.whole) - len(f.rest)
	return f.whole[end-len(f.bytes()) : end]
}
