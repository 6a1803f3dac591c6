package authz

import (
	"strings"

	"github.com/tokengate/tokengate/authz/token"
)

// holdsToken reports whether a raw part of a URL contains a whole secret: plain,
// escaped up to three times, or in base64.
func holdsToken(m *memory, part string) bool {
	if len(part) < token.SecretEnd {
		return false // true of most parts; saves decoding
	}
	for range 3 {
		if strings.IndexByte(part, '%') < 0 {
			break
		}
		part = unescape(m, part)
	}
	return token.Contains(part) || hasBase64Token(part)
}

// bodyHoldsToken reports whether a body contains a token or the beginning of one,
// in JSON with any escapes and in UTF-8, UTF-16 or UTF-32, in a form, or in base64.
func bodyHoldsToken(m *memory, body string) bool {
	plain := unescapeJSON(m, body)
	return hasTokenValue(plain) || encodesToken(m, plain)
}

// hasTokenValue reports whether text contains a whole token anywhere, or the
// beginning of a token at the beginning of a word.
func hasTokenValue(text string) bool {
	return len(text) > len("tg") && findTokenValue(text) // most headers are empty
}

func findTokenValue(text string) bool {
	inWord := false // a token's prefix is inside a word, where only a whole token counts
	for at := 0; at < len(text); at++ {
		next := strings.Index(text[at:], "tg")
		if next < 0 {
			break
		}
		at += next
		if token.IsCredential(text[at:]) {
			if at == 0 || !isAlphanumeric(text[at-1]) {
				return true
			}
			inWord = true
		}
	}
	return inWord && token.Contains(text)
}

// encodesToken reports whether text contains a token in percent-encoding, or in
// base64 of any alignment, alphabet and padding (RFC 4648 §4 and §5).
func encodesToken(m *memory, text string) bool {
	if strings.IndexByte(text, '%') < 0 {
		return hasBase64Token(text)
	}
	plain := unescape(m, text)
	return hasTokenValue(plain) || hasBase64Token(plain)
}

// hasBase64Token looks for the base64 of a token's prefix. It has three forms, by
// the number of bytes before it modulo 3. The shortest has 42 bits, so that other
// text does not match by chance.
func hasBase64Token(text string) bool {
	for rest := text; ; {
		at := strings.Index(rest, "dGdh")
		if at < 0 {
			break
		}
		rest = rest[at+len("dGdh"):]
		if strings.HasPrefix(rest, "dGVf") || strings.HasPrefix(rest, "ZG1f") {
			return true
		}
	}
	return strings.Contains(text, "RnYXRlX") || strings.Contains(text, "RnYWRtX") || strings.Contains(text, "0Z2F0ZV") || strings.Contains(text, "0Z2FkbV")
}
