package authz

import (
	"strings"

	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
)

// queryFacts is what a query says that a rule wants to know. Jira's container
// splits at `&` alone and decodes names and values once, `+` as a space.
type queryFacts struct {
	tokens    int    // parameters that carry a token where one may stand
	token     string // the last of them, decoded
	misplaced bool   // a token value where none may stand
	empty     bool   // os_password without a value
	password  bool   // os_username or os_password, in any spelling
	user      string // the value of os_username, if there is one
	users     int    // how many os_username there are
	disguised bool   // a name that only decoding makes os_* or the token's
	strip     bool   // a parameter that must not reach Jira beside a token
	method    bool   // _method, by which some frameworks override the method
}

// parseQuery reads a raw query.
func parseQuery(m *memory, query string, p *policy.Policy) (facts queryFacts) {
	tokenName, product := p.QueryParameter, &p.Product
	for rest := query; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name := unescape(m, rawName)
		switch {
		case tokenName != "" && rawName == tokenName:
			if value := unescape(m, rawValue); token.IsCredential(value) {
				facts.tokens++
				facts.token = value
				facts.strip = true
				continue
			}
		case tokenName != "" && name == tokenName:
			facts.disguised = true
		case product.IsLoginParameter(rawName):
			facts.strip = true
		case product.IsLoginParameter(name):
			facts.disguised = true
		case name == "_method":
			facts.method = true
		}
		switch {
		case name == "":
		case name == product.UserParameter:
			facts.password = true
			facts.user = unescape(m, rawValue)
			facts.users++
		case name == product.PasswordParameter:
			facts.password = true
			value := unescape(m, rawValue)
			facts.empty = facts.empty || value == ""
			facts.misplaced = facts.misplaced || hasTokenValue(value) || encodesToken(m, value)
		}
		facts.misplaced = facts.misplaced || holdsToken(m, rawName) || holdsToken(m, rawValue)
	}
	return facts
}

// holdsToken reports whether a whole secret stands in a raw part of a URL: as it
// is, escaped up to three times, or in base64.
func holdsToken(m *memory, part string) bool {
	if len(part) < token.SecretEnd {
		return false // most parts are this short, and are not decoded
	}
	for range 3 {
		if strings.IndexByte(part, '%') < 0 {
			break
		}
		part = unescape(m, part)
	}
	return token.Contains(part) || hasBase64Token(part)
}

// stripQuery returns a raw path without the parameters that must not reach
// Jira beside a token: the token's own and os_*. What stays, stays as it was,
// byte for byte; a query that loses everything loses its `?` too.
func stripQuery(m *memory, path string, p *policy.Policy) string {
	tokenName := p.QueryParameter
	path, query, _ := strings.Cut(path, "?")
	start := len(*m)
	*m = append(*m, path...)
	separator := byte('?')
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if p.Product.IsLoginParameter(name) {
			continue
		}
		if tokenName != "" && name == tokenName {
			end := len(*m)
			carries := token.IsCredential(unescape(m, value))
			*m = (*m)[:end]
			if carries {
				continue
			}
		}
		*m = append(*m, separator)
		*m = append(*m, pair...)
		separator = '&'
	}
	return m.since(start)
}

// unescape decodes a query component once. An escape that is none stays as it
// stands: what it means is for Jira to say, and it spells no name of ours.
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
