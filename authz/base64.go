package authz

// Digits of base64 (RFC 4648 §4): their values, and noDigit for all else.
var base64Values = func() (values [256]byte) {
	for i := range values {
		values[i] = noDigit
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		values[c] = byte(i)
	}
	return values
}()

const noDigit = 0xff

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
	start := len(*m)
	for i := 0; i < len(text); i += 4 {
		digits, absent := text[i:i+4], 0
		if i+4 == len(text) {
			absent = padding
		}
		var bits uint32
		for j := range 4 - absent {
			v := base64Values[digits[j]]
			if v == noDigit {
				return "", false
			}
			bits |= uint32(v) << (18 - 6*j)
		}
		switch absent {
		case 0:
			*m = append(*m, byte(bits>>16), byte(bits>>8), byte(bits))
		case 1:
			*m = append(*m, byte(bits>>16), byte(bits>>8))
		case 2:
			*m = append(*m, byte(bits>>16))
		}
		if bits&(1<<(8*absent)-1) != 0 { // bits that stand for nothing
			return "", false
		}
	}
	return m.since(start), true
}
