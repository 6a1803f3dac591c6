package wire

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// What is wrong with a frame. The frame's own text is a client's, and in no error.
var (
	errMalformed = errors.New("malformed CheckRequest")
	errNotUTF8   = errors.New("malformed CheckRequest: a text is not UTF-8")
	errTooDeep   = errors.New("malformed CheckRequest: nested too deep")
)

// nextField returns the next length-delimited field of a message, known or not,
// and what comes behind it. All other fields are checked and passed over: none
// of them is ever read. At the end of a message the number is 0.
func nextField(b []byte) (number protowire.Number, value, rest []byte, err error) {
	for len(b) > 0 {
		// Nearly all fields have a tag and a length of one byte each.
		if len(b) >= 2 && b[0] >= 1<<3 && b[0] < 0x80 && b[0]&7 == byte(protowire.BytesType) && b[1] < 0x80 {
			end := 2 + int(b[1])
			if end > len(b) {
				return 0, nil, nil, errMalformed
			}
			return protowire.Number(b[0] >> 3), b[2:end], b[end:], nil
		}
		number, wireType, n := consumeTag(b)
		if n < 0 {
			return 0, nil, nil, errMalformed
		}
		b = b[n:]
		if wireType == protowire.BytesType {
			value, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return 0, nil, nil, errMalformed
			}
			return number, value, b[n:], nil
		}
		if n = protowire.ConsumeFieldValue(number, wireType, b); n < 0 {
			return 0, nil, nil, errMalformed
		}
		b = b[n:]
	}
	return 0, nil, nil, nil
}

// consumeTag reads a tag and its length; the length is negative where there is
// no valid one.
func consumeTag(b []byte) (protowire.Number, protowire.Type, int) {
	number, wireType, n := protowire.ConsumeTag(b)
	if number > protowire.MaxValidNumber {
		n = -1 // ConsumeTag lets the larger numbers of a MessageSet pass
	}
	return number, wireType, n
}

// text returns the value of a string field.
func text(b []byte) (string, error) {
	if !isText(b) {
		return "", errNotUTF8
	}
	return view(b), nil
}

// isText reports whether b is UTF-8. Texts here are short, and nearly always
// ASCII, which is found out faster this way than by utf8.Valid alone.
func isText(b []byte) bool { return isASCII(b) || utf8.Valid(b) }

func isASCII(b []byte) bool { return masked(b, 0x8080808080808080, 0) }

// masked reports whether all bytes of b are the same under a mask. Mask and
// bits are eight times the same byte.
func masked(b []byte, mask, bits uint64) bool {
	if len(b) < 8 {
		for _, c := range b {
			if c&byte(mask) != byte(bits) {
				return false
			}
		}
		return true
	}
	end := b[len(b)-8:] // overlaps what is looked at before
	for ; len(b) > 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b)&mask != bits {
			return false
		}
	}
	return binary.LittleEndian.Uint64(end)&mask == bits
}

// view returns a string that shares b's memory, which is the Request's own and
// stays as it is for as long as the Request does.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
