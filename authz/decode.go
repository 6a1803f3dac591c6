package authz

import (
	"strings"
	"unsafe"
)

// memory is the Request's Memory. A decision appends the text that it decodes, so
// that it does not allocate once memory has grown.
type memory []byte

// since returns the text after the given length.
func (m *memory) since(start int) string {
	b := (*m)[start:]
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// unescape decodes a query component once. A broken escape stays unchanged.
func unescape(m *memory, s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	start := len(*m)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			*m = append(*m, ' ')
		case c == '%' && isEscape(s[i:]):
			*m = append(*m, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			*m = append(*m, c)
		}
	}
	return m.since(start)
}

// isEscape reports whether s begins with a percent sign and two hex digits.
func isEscape(s string) bool { return len(s) >= 3 && isHex(s[1]) && isHex(s[2]) }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// decodePath decodes a path once. Unlike in a query, `+` is a plus.
func decodePath(m *memory, raw string) string {
	if strings.IndexByte(raw, '%') < 0 {
		return raw
	}
	start := len(*m)
	for i := 0; i < len(raw); i++ {
		if raw[i] == '%' && isEscape(raw[i:]) {
			*m = append(*m, unhex(raw[i+1])<<4|unhex(raw[i+2]))
			i += 2
			continue
		}
		*m = append(*m, raw[i])
	}
	return m.since(start)
}

// unescapeJSON decodes the escapes of JSON strings (RFC 8259 §7) anywhere in text.
// It removes zero bytes, which turns UTF-16 and UTF-32 into ASCII. Escaped
// characters outside Latin-1 become a question mark.
func unescapeJSON(m *memory, text string) string {
	start := len(*m)
	for i := 0; i < len(text); i++ {
		if text[i] != 0 {
			*m = append(*m, text[i])
		}
	}
	plain := m.since(start)
	if strings.IndexByte(plain, '\\') < 0 {
		return plain
	}
	start = len(*m)
	for i := 0; i < len(plain); i++ {
		c := plain[i]
		if c == '\\' && i+1 < len(plain) {
			i++
			c = plain[i]
			if strings.IndexByte("bfnrt", c) >= 0 {
				c = ' ' // white space or a backspace ends a word
			}
			if rest := plain[i:]; c == 'u' && len(rest) >= 5 && isHex(rest[1]) && isHex(rest[2]) && isHex(rest[3]) && isHex(rest[4]) {
				c = '?'
				if rest[1] == '0' && rest[2] == '0' {
					c = unhex(rest[3])<<4 | unhex(rest[4])
				}
				i += 4
			}
		}
		*m = append(*m, c)
	}
	return m.since(start)
}

// decodeBase64 decodes text into memory. It accepts the same texts as strict
// encoding/base64, except line ends, and does not allocate.
func decodeBase64(m *memory, text string) (decoded string, ok bool) {
	if len(text)%4 != 0 {
		return "", false
	}
	padding := 0
	for padding < 2 && padding < len(text) && text[len(text)-1-padding] == '=' {
		padding++
	}
	last := "" // the group with the padding
	if padding > 0 {
		text, last = text[:len(text)-4], text[len(text)-4:]
	}
	start := len(*m)
	var bad uint32
	for ; len(text) >= 4; text = text[4:] {
		bits, no := fourDigits(text[0], text[1], text[2], text[3])
		bad |= no
		*m = append(*m, byte(bits>>16), byte(bits>>8), byte(bits))
	}
	switch padding {
	case 1:
		bits, no := fourDigits(last[0], last[1], last[2], 'A')
		bad |= no | bits&0xff // unused bits
		*m = append(*m, byte(bits>>16), byte(bits>>8))
	case 2:
		bits, no := fourDigits(last[0], last[1], 'A', 'A')
		bad |= no | bits&0xffff
		*m = append(*m, byte(bits>>16))
	}
	return m.since(start), bad == 0
}

// fourDigits returns the 24 bits of four digits. bad is not 0 if one of them is
// not a digit.
func fourDigits(a, b, c, d byte) (bits, bad uint32) {
	x, y, z, w := base64Digits[a], base64Digits[b], base64Digits[c], base64Digits[d]
	return (x<<18 | y<<12 | z<<6 | w) & 0xffffff, (x | y | z | w) & noDigit
}

const noDigit = 1 << 31

// base64Digits has the values of base64's digits (RFC 4648 §4), and noDigit for
// all other bytes.
var base64Digits = func() (values [256]uint32) {
	for i := range values {
		values[i] = noDigit
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		values[c] = uint32(i)
	}
	return values
}()
