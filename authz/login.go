package authz

import (
	"regexp"
	"strings"

	"github.com/tokengate/tokengate/authz/token"
)

// emptyPassword matches the JSON, as it is sent, of a login without a password, which
// Jira counts as a failed one. A quote within a password has a backslash there.
var emptyPassword = regexp.MustCompile(`"password"\s*:\s*""`)

// checkLogin refuses tokens in the body of a login over REST, where Jira would count a
// failed login, and logins whose body Envoy did not hand over: row 3.
func (e *evaluation) checkLogin() bool {
	switch {
	case e.request.Body != "" && bodyHoldsToken(e.memory(), e.request.Body):
		return e.denyFor(MalformedCredential, TokenInLogin)
	case e.assumed != "" || !e.login:
		return false
	case !e.view.Policy.LoginPath.MatchString(e.path):
		return e.denyFor(MalformedCredential, OddLogin)
	case e.request.Body == "":
		return e.denyFor(MalformedCredential, NoLoginBody)
	case emptyPassword.MatchString(e.request.Body):
		return e.denyFor(MalformedCredential, EmptyPassword)
	}
	return false
}

// bodyHoldsToken reports whether a body holds a token, however broken, as JSON in any
// escapes and in UTF-8, UTF-16 or UTF-32, as a form, or in base64.
func bodyHoldsToken(m *memory, body string) bool {
	plain := unescapeJSON(m, body)
	return hasTokenValue(plain) || encodesToken(m, plain)
}

// hasTokenValue reports whether a whole token stands anywhere in text, or the
// beginning of one where a word begins.
func hasTokenValue(text string) bool {
	return len(text) > len("tg") && findTokenValue(text) // many a header is empty
}

func findTokenValue(text string) bool {
	inWord := false // a token's beginning stands inside a word: only a whole token counts
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

// unescapeJSON decodes the escapes of JSON strings (RFC 8259 §7) wherever they stand,
// and leaves out zero bytes, which turns the ASCII of UTF-16 and UTF-32 into
// ASCII. Characters outside ASCII become a question mark.
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
				c = ' ' // they are white space and a backspace: a word ends
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
