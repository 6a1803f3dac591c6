package token

import "strings"

// SecretEnd is how many bytes of a value hold its whole secret: the checksum
// behind them can be computed.
const SecretEnd = prefixLen + idLen + secretLen

// Contains reports whether text holds, anywhere, something with the shape of a
// value, with or without its checksum: a prefix and at least 55 letters or digits.
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

// Redact returns text with the secret of every token in it cut out, for what a
// client wrote and a log repeats. It cuts more than Contains finds: whatever
// follows a prefix and an id, whole or not.
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

// maxExcerpt is how much of a text an Excerpt has, in bytes.
const maxExcerpt = 256

// Excerpt returns what a client wrote in a form that a line for people may hold:
// redacted, and not longer than 256 bytes and an ellipsis.
func Excerpt(text string) string {
	if len(text) > maxExcerpt {
		text = text[:maxExcerpt] + "…"
	}
	return Redact(text)
}

// find returns where the first prefix begins, or -1.
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

// run returns how many base62 characters text begins with.
func run(text string) int {
	n := 0
	for n < len(text) && isDigit[text[n]] {
		n++
	}
	return n
}
