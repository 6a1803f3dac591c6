package token

import "strings"

// SecretEnd is the length of a value without its checksum, in bytes. These bytes
// reveal the whole token, because the checksum can be computed.
const SecretEnd = prefixLen + idLen + secretLen

// Contains reports whether text contains the form of a value, with or without its
// checksum: a prefix and at least 55 letters or digits.
func Contains(text string) bool {
	for len(text) >= SecretEnd {
		at := find(text)
		if at < 0 {
			return false
		}
		text = text[at+prefixLen:]
		if run(text) >= SecretEnd-prefixLen {
			return true
		}
	}
	return false
}

// Redact returns text without the secrets of tokens in it, for logs that repeat
// client input. It also removes incomplete secrets: all letters and digits after a
// prefix and an id.
func Redact(text string) string {
	at := find(text)
	if at < 0 {
		return text
	}
	var b strings.Builder
	for ; at >= 0; at = find(text) {
		end := at + prefixLen
		n := run(text[end:])
		if n >= prefixLen-1 && IsCredential(text[end+n-(prefixLen-1):]) {
			n -= prefixLen - 1 // the next prefix begins inside this run
		}
		b.WriteString(text[:end+min(n, idLen)])
		if n > idLen {
			b.WriteString("…")
		}
		text = text[end+n:]
	}
	b.WriteString(text)
	return b.String()
}

// maxExcerpt bounds an Excerpt, in bytes.
const maxExcerpt = 256

// Excerpt returns client input for messages: redacted, and at most 256 bytes and
// an ellipsis.
func Excerpt(text string) string {
	if len(text) > maxExcerpt {
		text = text[:maxExcerpt] + "…"
	}
	return Redact(text)
}

// find returns the index of the first prefix, or -1.
func find(text string) int {
	for from := 0; ; {
		at := strings.Index(text[from:], "tg")
		if at < 0 {
			return -1
		}
		if IsCredential(text[from+at:]) {
			return from + at
		}
		from += at + 2
	}
}

// run returns the number of leading base62 characters of text.
func run(text string) int {
	n := 0
	for n < len(text) && isDigit[text[n]] {
		n++
	}
	return n
}
