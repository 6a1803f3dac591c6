package wire_test

import (
	"slices"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// compose turns any bytes into a frame of CheckRequest fields: mostly well formed,
// split, repeated, with unknown fields and wrong wire types between them, and
// sometimes malformed. A fuzzer that only changes bytes of a frame seldom gets
// past the lengths.
func compose(program []byte) []byte {
	c := composer{program: program}
	return c.message((*authv3.CheckRequest)(nil).ProtoReflect().Descriptor(), 0)
}

type composer struct{ program []byte }

// pick returns a number below n.
func (c *composer) pick(n int) int {
	if len(c.program) == 0 {
		return 0
	}
	b := c.program[0]
	c.program = c.program[1:]
	return int(b) % n
}

// favourites are the fields that are read, by message name. They are picked more
// often than others.
var favourites = map[protoreflect.Name][]protoreflect.FieldNumber{
	"AttributeContext": {1, 4},
	"Peer":             {1},
	"Address":          {1, 1, 2, 3},
	"SocketAddress":    {2},
	"Request":          {2},
	"HttpRequest":      {2, 4, 3, 3, 3, 13, 13},
}

func (c *composer) message(d protoreflect.MessageDescriptor, depth int) []byte {
	var b []byte
	if depth == 0 && c.pick(8) > 0 {
		b = append(b, asked...)
	}
	for n := 1 + c.pick(7); n > 0 && len(c.program) > 0; n-- {
		switch c.pick(24) {
		case 0: // unknown, or known in the wrong wire type
			b = append(b, c.anything(depth)...)
		case 1:
			b = append(b, c.broken()...)
		case 2:
			b = c.group(b, depth)
		default:
			b = append(b, c.field(d, depth)...)
		}
	}
	if c.pick(200) == 199 && len(b) > 0 {
		b = b[:c.pick(len(b))]
	}
	return b
}

func (c *composer) field(d protoreflect.MessageDescriptor, depth int) []byte {
	fields := d.Fields()
	field := fields.Get(c.pick(fields.Len()))
	if liked := favourites[d.Name()]; len(liked) > 0 && c.pick(4) > 0 {
		field = fields.ByNumber(liked[c.pick(len(liked))])
	}
	tag := func(t protowire.Type) []byte { return protowire.AppendTag(nil, field.Number(), t) }
	switch field.Kind() {
	case protoreflect.MessageKind:
		if depth > 12 {
			return nil
		}
		return protowire.AppendBytes(tag(protowire.BytesType), c.message(field.Message(), depth+1))
	case protoreflect.StringKind:
		return protowire.AppendString(tag(protowire.BytesType), c.text(field.Name() == "key"))
	case protoreflect.BytesKind:
		return protowire.AppendString(tag(protowire.BytesType), c.text(false))
	case protoreflect.DoubleKind:
		return protowire.AppendFixed64(tag(protowire.Fixed64Type), uint64(c.pick(256)))
	}
	return protowire.AppendVarint(tag(protowire.VarintType), uint64(c.pick(256))<<c.pick(57))
}

var names = []string{
	"upgrade", "Upgrade", "user-agent", "authorization", "Authorization", "AUTHORIZATION", "authorİzation", "UPGRADE", "x-request-id",
	"x-http-method", "X-HTTP-Method", "x-method-override", "x-http-method-override", addressHeader, "X-Envoy-External-Address",
	"accept", "Upgrade\u212a", "", "ſ", "x-to\u212aen", "X-TOKEN", "origin", "Origin",
}

var texts = []string{"", "", "a", "b", "GET", "/", ",", "192.0.2.1", "ünï", "\x00", "a,b", "\xff", "long long long long long long long long"}

func (c *composer) text(name bool) string {
	if name && c.pick(8) > 0 {
		return names[min(c.pick(len(names)), c.pick(len(names)))] // the first ones more often
	}
	if i := c.pick(len(texts)); texts[i] != "\xff" || c.pick(8) == 7 {
		return texts[i]
	}
	return "c"
}

// anything encodes a field of any number and wire type, well formed.
func (c *composer) anything(depth int) []byte {
	number := protowire.Number(1 + c.pick(16))
	if c.pick(4) == 0 {
		number = []protowire.Number{1 << 11, 19000, protowire.MaxValidNumber}[c.pick(3)]
	}
	tag := func(t protowire.Type) []byte { return protowire.AppendTag(nil, number, t) }
	switch c.pick(5) {
	case 0:
		return protowire.AppendVarint(tag(protowire.VarintType), 1<<c.pick(64))
	case 1:
		return protowire.AppendFixed32(tag(protowire.Fixed32Type), 1)
	case 2:
		return protowire.AppendFixed64(tag(protowire.Fixed64Type), 1)
	case 3:
		return c.group(nil, depth)
	}
	return protowire.AppendString(tag(protowire.BytesType), c.text(false))
}

func (c *composer) group(b []byte, depth int) []byte {
	number := protowire.Number(1 + c.pick(16))
	b = protowire.AppendTag(b, number, protowire.StartGroupType)
	for n := c.pick(3); n > 0 && depth < 12; n-- {
		b = append(b, c.anything(depth+1)...)
	}
	if c.pick(30) == 29 {
		number++
	}
	return protowire.AppendTag(b, number, protowire.EndGroupType)
}

// broken sometimes encodes a malformed field, or one that looks malformed.
func (c *composer) broken() []byte {
	if c.pick(4) > 0 {
		return nil
	}
	return slices.Clone([][]byte{
		{0x00},         // number 0
		{0x02, 0x00},   // number 0, a text
		{0x0e}, {0x0f}, // undefined wire types
		{0x0c},                               // the end of a group that did not start
		{0x0b},                               // a group without an end
		{0x0a, 0x05, 'a'},                    // truncated
		{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, // longer than the frame
		{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},       // the greatest number
		{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},       // greater than that
		{0x88, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0x07},       // a tag that is not minimal
		{0x88, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0x07}, // a tag of eleven bytes
		{0x80, 0x80, 0x80, 0x80, 0x10, 0x00},                                     // number 1<<29
		{0x82, 0x80, 0x80, 0x80, 0x80, 0x01, 0x00},                               // number 1<<32
	}[c.pick(14)])
}
