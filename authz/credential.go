package authz

import (
	"strings"

	"github.com/tokengate/tokengate/authz/token"
)

// credentialKind classifies an Authorization header.
type credentialKind uint8

const (
	noCredential          credentialKind = iota
	otherCredential                      // Negotiate, OAuth 1, Digest: the application decides
	malformedCredential                  // denied
	tokenCredential                      // a token, or a text with its prefix
	passwordCredential                   // Basic with anything else
	otherBearerCredential                // Bearer with anything else
)

// credential is the content of a header or a query parameter.
type credential struct {
	kind   credentialKind
	detail Detail // of a malformed one; may be 0
	text   string // the token, if kind is tokenCredential
	basic  bool   // sent as Basic, so that user must be the owner
	user   string // the user name sent with Basic
}

// parseAuthorization reads an Authorization header. Envoy joins repeated headers
// with a comma, so a comma in Basic or Bearer means a second credential; other
// schemes may contain commas. Scheme names are matched without case (RFC 9110
// §11.1).
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
		return malformed(OtherScheme)
	case hasSecondCredential(header):
		return malformed(TwoCredentials)
	case encodesToken(m, header):
		return malformed(EncodedToken)
	}
	return credential{kind: otherCredential}
}

// cutScheme splits a header after its scheme, the leading run of token characters
// (RFC 9110 §5.6.2).
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

// hasSecondCredential reports whether a Basic or Bearer credential follows a
// comma, as it does if the client sent two headers.
func hasSecondCredential(header string) bool {
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

// malformed returns a credential that is denied for this detail.
func malformed(detail Detail) credential {
	return credential{kind: malformedCredential, detail: detail}
}

// unquote removes spaces and quotes from the ends of a text.
func unquote(text string) string { return strings.Trim(text, " \t\r\n\"'`") }

// afterSpaces removes the spaces between a scheme and its credential. There must
// be at least one (RFC 9110 §11.4, RFC 6750 §2.1).
func afterSpaces(payload string) (text string, ok bool) {
	text = strings.TrimLeft(payload, " ")
	return text, text != "" && len(text) < len(payload)
}

// parseBasic reads the text after "Basic" (RFC 7617): spaces, then base64 of user
// name, colon and password. The first colon counts.
func parseBasic(m *memory, payload string) credential {
	text, ok := afterSpaces(payload)
	if !ok {
		return malformed(NoBase64)
	}
	decoded, ok := decodeBase64(m, text)
	switch {
	case ok:
	case strings.IndexByte(text, ',') >= 0: // Envoy joins two headers this way
		return malformed(TwoCredentials)
	case strings.ContainsAny(text, " \t\r\n"):
		return malformed(BrokenBase64)
	default:
		return malformed(NoBase64)
	}
	user, secret, found := strings.Cut(decoded, ":")
	switch {
	case strings.IndexByte(decoded, 0) >= 0 && hasTokenValue(unescapeJSON(m, decoded)): // UTF-16, as PowerShell writes it
		return malformed(EncodedToken)
	case token.IsCredential(unquote(user)), token.Contains(user):
		return malformed(TokenAsUser)
	case !found:
		return malformed(NoColon)
	case token.IsCredential(secret):
		return credential{kind: tokenCredential, text: secret, user: user}
	case token.IsCredential(unquote(secret)), token.Contains(secret):
		return malformed(QuotedCredential)
	case secret == "":
		return malformed(EmptyPassword)
	case encodesToken(m, secret):
		return malformed(EncodedToken)
	}
	return credential{kind: passwordCredential, user: user}
}

// parseBearer reads the text after "Bearer" (RFC 6750 §2.1): spaces, then a
// credential without spaces or commas.
func parseBearer(m *memory, payload string) credential {
	text, ok := afterSpaces(payload)
	switch {
	case strings.Trim(payload, " \t") == "":
		return malformed(EmptyBearer)
	case !ok:
		return malformed(0)
	case strings.IndexByte(text, ',') >= 0:
		return malformed(TwoCredentials)
	case token.IsCredential(text) && strings.IndexByte(text, ' ') < 0 && strings.IndexByte(text, '\t') < 0:
		return credential{kind: tokenCredential, text: text}
	case token.IsCredential(unquote(text)), token.Contains(text):
		return malformed(QuotedCredential)
	case strings.IndexByte(text, ' ') >= 0, strings.IndexByte(text, '\t') >= 0:
		return malformed(0)
	case encodesToken(m, text):
		return malformed(EncodedToken)
	}
	return credential{kind: otherBearerCredential}
}
