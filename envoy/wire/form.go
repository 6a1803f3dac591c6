package wire

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// schema says of a message which of its fields proto.Unmarshal looks into: texts,
// which must be UTF-8, and messages, which must be well formed. It is made from
// the generated type's descriptor, so that it knows every field that that knows.
type schema struct {
	fields []fieldForm // by number
}

type fieldForm struct {
	kind    fieldKind
	message *schema
}

type fieldKind uint8

const (
	opaque     fieldKind = iota // a number, bytes, or unknown
	textual                     // a string
	message                     // a message, single or repeated
	mapEntries                  // a map: a repeated message that is checked a bit otherwise
)

// formOf makes the form of a message type. It panics on what no message within
// a CheckRequest has, and checkField does not know: groups, extensions, required
// fields and packed numbers.
func formOf(d protoreflect.MessageDescriptor) *schema {
	return formsOf(d, map[protoreflect.FullName]*schema{})
}

func formsOf(d protoreflect.MessageDescriptor, known map[protoreflect.FullName]*schema) *schema {
	if f := known[d.FullName()]; f != nil {
		return f
	}
	f := new(schema)
	known[d.FullName()] = f
	if d.ExtensionRanges().Len() > 0 || d.RequiredNumbers().Len() > 0 {
		panic(fmt.Sprintf("%s has extensions or required fields", d.FullName()))
	}
	for i := range d.Fields().Len() {
		field := d.Fields().Get(i)
		var ff fieldForm
		switch {
		case field.IsMap():
			ff = fieldForm{mapEntries, formsOf(field.Message(), known)}
		case field.Kind() == protoreflect.MessageKind:
			ff = fieldForm{message, formsOf(field.Message(), known)}
		case field.Kind() == protoreflect.StringKind:
			// The interface by which the protobuf module itself asks.
			if e, ok := field.(interface{ EnforceUTF8() bool }); ok && e.EnforceUTF8() {
				ff.kind = textual
			}
		case field.Kind() == protoreflect.GroupKind, field.IsPacked():
			panic(fmt.Sprintf("%s is a group or packed", field.FullName()))
		}
		for int(field.Number()) >= len(f.fields) {
			f.fields = append(f.fields, fieldForm{})
		}
		f.fields[field.Number()] = ff
	}
	return f
}

func (f *schema) field(number protowire.Number) fieldForm {
	if int(number) < len(f.fields) {
		return f.fields[number]
	}
	return fieldForm{}
}

// message returns the form of a message field.
func (f *schema) message(number protowire.Number) *schema { return f.field(number).message }

// checkField checks a length-delimited field of a message that lies on the
// given level, the outermost message's being 1.
func (f *schema) checkField(number protowire.Number, value []byte, level int) error {
	switch field := f.field(number); field.kind {
	case textual:
		if !isText(value) {
			return errNotUTF8
		}
	case message, mapEntries:
		return field.message.check(value, level+1)
	}
	return nil
}

// check checks a whole message.
func (f *schema) check(b []byte, level int) error {
	if level > protowire.DefaultRecursionLimit {
		return errTooDeep
	}
	for len(b) > 0 {
		number, wireType, n := consumeTag(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		if wireType == protowire.BytesType {
			value, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return errMalformed
			}
			if err := f.checkField(number, value, level); err != nil {
				return err
			}
			b = b[n:]
			continue
		}
		// A map is counted as a level before its wire type is looked at.
		if level == protowire.DefaultRecursionLimit && f.field(number).kind == mapEntries {
			return errTooDeep
		}
		if n = protowire.ConsumeFieldValue(number, wireType, b); n < 0 {
			return errMalformed
		}
		b = b[n:]
	}
	return nil
}
