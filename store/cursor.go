package store

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
)

// Cursor says where a page of tokens ended: between two places of an order,
// whatever tokens come, go or change there. It is text that is fit for a URL and
// means something only to this package. It is no secret and proves nothing: it
// shows the sorted-by value of the page's last token.
type Cursor string

// position is where a token stands in an order.
type position struct {
	value  uint64 // of a column of numbers or times
	text   []byte // of a column of texts, folded
	number uint64
}

// order is what places are compared in.
type order struct {
	column     Column
	descending bool
}

func (o order) compare(a, b *position) int {
	c := cmp.Compare(a.value, b.value)
	if c == 0 {
		c = bytes.Compare(a.text, b.text)
	}
	if c == 0 {
		c = cmp.Compare(a.number, b.number)
	}
	if o.descending {
		return -c
	}
	return c
}

// A cursor is, in base64: its form, the order, the number and the value as
// varints, the text, and a checksum of all this, because half a cursor or another
// one's would be a place, too.
const cursorVersion = 1

func (o order) header() []byte {
	head := []byte{cursorVersion, byte(o.column) << 1}
	if o.descending {
		head[1] |= 1
	}
	return head
}

// cursor returns the cursor of a place.
func (o order) cursor(p *position) Cursor {
	b := binary.AppendUvarint(o.header(), p.number)
	b = append(binary.AppendUvarint(b, p.value), p.text...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return Cursor(base64.RawURLEncoding.EncodeToString(b))
}

// parse returns the place of a cursor of this order, or an error that wraps
// ErrInvalid.
func (o order) parse(c Cursor) (p position, err error) {
	garbage := invalid("the cursor is none that a page gave: begin with the first page")
	b, err := base64.RawURLEncoding.DecodeString(string(c))
	end := len(b) - crc32.Size
	if err != nil || base64.RawURLEncoding.EncodeToString(b) != string(c) || // the decoder skips line breaks
		end < 2 || binary.BigEndian.Uint32(b[end:]) != crc32.ChecksumIEEE(b[:end]) || b[0] != cursorVersion {
		return position{}, garbage
	}
	head, rest := b[:2], b[2:end]
	if !bytes.Equal(head, o.header()) {
		return position{}, invalid("the cursor is of a page in another order: begin with the first page")
	}
	for _, v := range []*uint64{&p.number, &p.value} {
		n := 0
		if *v, n = binary.Uvarint(rest); n <= 0 {
			return position{}, garbage
		}
		rest = rest[n:]
	}
	p.text = rest
	return p, nil
}
