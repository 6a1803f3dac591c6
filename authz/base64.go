package authz

// decodeBase64 decodes text into memory. It takes what encoding/base64 takes in
// strict form, without its tolerance for line ends: that would take memory for
// each text it decodes, and for each that it refuses.
func decodeBase64(m *memory, text string) (decoded string, ok bool) {
	if len(text)%4 != 0 {
		return "", false
	}
	padding := 0
	for padding < 2 && padding < len(text) && text[len(text)-1-padding] == '=' {
		padding++
	}
	last := "" // the digits before the padding, with it
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
		bad |= no | bits&0xff // bits that stand for nothing
		*m = append(*m, byte(bits>>16), byte(bits>>8))
	case 2:
		bits, no := fourDigits(last[0], last[1], 'A', 'A')
		bad |= no | bits&0xffff
		*m = append(*m, byte(bits>>16))
	}
	return m.since(start), bad == 0
}

// fourDigits returns the 24 bits of four digits; bad is not 0 where one of them
// is none.
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
