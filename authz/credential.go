package authz

import (
	"strings"

	"github.com/tokengate/tokengate/authz/token"
)

// credentialKind is what an Authorization header turned out to be.
type credentialKind uint8

const (
	noCredential          credentialKind = iota
	otherCredential                      // Negotiate, OAuth 1, Digest: not ours to judge
	malformedCredential                  // refused, whoever sent it
	tokenCredential                      // begins like a token, however broken
	passwordCredential                   // Basic with anything else
	otherBearerCredential                // Bearer with anything else
)

// credential is what a header or a query parameter holds.
type credential struct {
	kind   credentialKind
	detail Detail // of a malformed one; 0 where no word says it
	text   string // the token, where kind is tokenCredential
	basic  bool   // sent as Basic, so that user has to be the owner
	user   string // the user name sent with Basic
}

// parseAuthorization reads an Authorization header. Envoy joins repeated
// headers by a comma, so a comma in Basic or Bearer is a second credential;
// other schemes have commas of right. Scheme names are matched in any case
// (RFC 9110 §11.1).
func parseAuthorization(m *memory, header string) credential {
	header = strings.Trim(header, " \t")
	if header == "" {
		return credential{}
	}
	scheme, payload := cutScheme(header)
	switch {
	case strings.EqualFold(scheme, "basic"):
		c := parseBasic(m, payload)
		c.basic = true
		return c
	case strings.EqualFold(scheme, "bearer"):
		return parseBearer(m, payload)
	case token.IsCredential(unquote(header)), token.IsCredential(unquote(payload)), token.Contains(header):
		return malformedFor(OtherScheme)
	case hidesSecond(header):
		return malformedFor(TwoCredentials)
	case encodesToken(m, header):
		return malformedFor(EncodedToken)
	}
	return credential{kind: otherCredential}
}

// encodesToken reports whether a token stands in text in percent-encoding or in
// base64 of any alignment, alphabet and padding (RFC 4648 §4 and §5).
func encodesToken(m *memory, text string) bool {
	if strings.IndexByte(text, '%') < 0 {
		return hasBase64Token(text)
	}
	plain := unescape(m, text)
	return hasTokenValue(plain) || hasBase64Token(plain)
}

// hasBase64Token looks for what the six characters that begin a token become in
// base64, by how many bytes stand before them, modulo 3. No other text of these
// lengths occurs by chance: the shortest has 42 bits.
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

// cutScheme splits a header behind its scheme, which is the run of token
// characters (RFC 9110 §5.6.2) that it begins with.
func cutScheme(header string) (scheme, payload string) {
	end := 0
	for end < len(header) && isTokenCharacter[header[end]] {
		end++
	}
	return header[:end], header[end:]
}

var isTokenCharacter = func() (is [256]bool) {
	for c := '!'; c <= '~'; c++ {
		is[c] = !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	}
	return is
}()

// hidesSecond reports whether a Basic or Bearer credential stands behind a
// comma, as it does when a client sent two headers.
func hidesSecond(header string) bool {
	for {
		comma := strings.IndexByte(header, ',')
		if comma < 0 {
			return false
		}
		header = strings.TrimLeft(header[comma+1:], " \t")
		if scheme, _ := cutScheme(header); strings.EqualFold(scheme, "basic") || strings.EqualFold(scheme, "bearer") {
			return true
		}
	}
}

// malformedFor is a credential that is refused, and why.
func malformedFor(detail Detail) credential {
	return credential{kind: malformedCredential, detail: detail}
}

// unquote cuts spaces and quotes off the ends of a text: a token between them is
// still a token's value.
func unquote(text string) string { return strings.Trim(text, " \t\r\n\"'`") }

// afterSpaces cuts the spaces between a scheme and its credential: at least one
// (RFC 9110 §11.4, RFC 6750 §2.1).
func afterSpaces(payload string) (text string, ok bool) {
	text = strings.TrimLeft(payload, " ")
	return text, text != "" && len(text) < len(payload)
}

// parseBasic reads what stands behind "Basic" (RFC 7617): spaces, then base64 of
// user name, colon and password. The first colon counts.
func parseBasic(m *memory, payload string) credential {
	text, ok := afterSpaces(payload)
	if !ok {
		return malformedFor(NoBase64)
	}
	decoded, ok := decodeBase64(m, text)
	switch {
	case ok:
	case strings.IndexByte(text, ',') >= 0: // no base64 has one: Envoy joins two headers so
		return malformedFor(TwoCredentials)
	case strings.ContainsAny(text, " \t\r\n"):
		return malformedFor(BrokenBase64)
	default:
		return malformedFor(NoBase64)
	}
	user, secret, found := strings.Cut(decoded, ":")
	switch {
	case strings.IndexByte(decoded, 0) >= 0 && hasTokenValue(unescapeJSON(m, decoded)): // UTF-16, as PowerShell writes
		return malformedFor(EncodedToken)
	case token.IsCredential(unquote(user)), token.Contains(user):
		return malformedFor(TokenAsUser)
	case !found:
		return malformedFor(NoColon)
	case token.IsCredential(secret):
		return credential{kind: tokenCredential, text: secret, user: user}
	case token.IsCredential(unquote(secret)), token.Contains(secret):
		return malformedFor(QuotedCredential)
	case secret == "":
		return malformedFor(EmptyPassword)
	case encodesToken(m, secret):
		return malformedFor(EncodedToken)
	}
	return credential{kind: passwordCredential, user: user}
}

// parseBearer reads what stands behind "Bearer" (RFC 6750 §2.1): spaces, then a
// credential without spaces or commas.
func parseBearer(m *memory, payload string) credential {
	text, ok := afterSpaces(payload)
	switch {
	case strings.Trim(payload, " \t") == "":
		return malformedFor(EmptyBearer)
	case !ok:
		return malformedFor(0)
	case strings.IndexByte(text, ',') >= 0:
		return malformedFor(TwoCredentials)
	case token.IsCredential(text) && strings.IndexByte(text, ' ') < 0 && strings.IndexByte(text, '\t') < 0:
		return credential{kind: tokenCredential, text: text}
	case token.IsCredential(unquote(text)), token.Contains(text):
		return malformedFor(QuotedCredential)
	case strings.IndexByte(text, ' ') >= 0, strings.IndexByte(text, '\t') >= 0:
		return malformedFor(0)
	case encodesToken(m, text):
		return malformedFor(EncodedToken)
	}
	return credential{kind: otherBearerCredential}
}
