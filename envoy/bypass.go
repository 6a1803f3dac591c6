package envoy

import (
	"regexp"
	"strings"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
)

// bypass is the condition under which Envoy forwards a request without asking
// tokengate, because the answer would be authz.NoCredential. All parts must hold. They
// are stricter than necessary: Envoy asks about every request that it could read in
// another way than tokengate or the upstream.
//
// The expressions match a whole text, and use only what Go and RE2 read alike. Envoy
// refuses expressions whose program has more than 100 instructions.
type bypass struct {
	Method       string   // the method matches it
	Target       string   // the path with the query matches it
	Hiding       []string // the path with the query matches none of them
	Absent       []string // the request has none of these headers
	Plain        []string // none of these headers matches HidingHeader
	HidingHeader string
}

const (
	// The characters, for character classes, that containers, Envoy and tokengate read
	// alike, without `%`. Not among them are `"`, `#`, `;`, `<`, `>`, `\`, `^`, `{`, `|` and `}`.
	pathCharacters  = `!$&-:=@-\[\]_-z~` // without `?`
	nameCharacters  = `!$&-:?-\[\]_-z~`  // of parameters, and what separates them; without `=`
	valueCharacters = `!$'-:=@-\[\]_-z~` // without `&` and `?`

	// Escapes of other bytes than letters, digits, `_`, `%` and control bytes, which
	// could hide a token or the path of logins. In a path, `.`, `/`, `;` and `\` are
	// not escaped either.
	valueEscapes = `%(?:2[0-46-9A-Fa-f]|3[A-Fa-f]|40|5[B-Eb-e]|60|7[B-Eb-e]|[89A-Fa-f][0-9A-Fa-f])`
	pathEscapes  = `%(?:2[0-46-9A-Da-d]|3[AC-Fac-f]|40|5[BDEbde]|60|7[B-Eb-e]|[89A-Fa-f][0-9A-Fa-f])`

	// plainTarget is a path with a query. Names of parameters have no escapes.
	plainTarget = `/(?:[` + pathCharacters + `]|` + pathEscapes + `)*(?:\?(?:[` + nameCharacters + `]|=(?:[` + valueCharacters + `]|` + valueEscapes + `)*)*)?`

	// tokenPrefixes begin tokens.
	tokenPrefixes = `tgate_|tgadm_`
	// encodedPrefixes are the prefixes in base64, by the number of bytes before them
	// modulo 3, without the digits that depend on other bytes.
	encodedPrefixes = `dGdhdGVf|dGdhZG1f|RnYXRlX|RnYWRtX|0Z2F0ZV|0Z2FkbV`
)

// newBypass returns the condition for a configuration. It depends only on settings
// that a reload cannot change.
func newBypass(cfg config.Config) *bypass {
	p := config.Products[cfg.Upstream.Product]
	hiding := []string{tokenPrefixes, encodedPrefixes}
	if pattern := p.Session.Pattern(); pattern != "" {
		hiding = append(hiding, regexp.QuoteMeta(pattern[strings.LastIndexByte(pattern, '/')+1:]))
	}
	if p.LoginPrefix != "" {
		hiding = append(hiding, `[?&]`+regexp.QuoteMeta(p.LoginPrefix))
	}
	b := &bypass{
		Method:       `GET|HEAD|OPTIONS|POST|PUT|PATCH|DELETE`,
		Target:       plainTarget,
		Hiding:       []string{containing(strings.Join(hiding, "|"))},
		HidingHeader: containing(tokenPrefixes),
	}
	if name := cfg.Tokens.QueryParameter; name != "" {
		b.Hiding = append(b.Hiding, containing(`[?&]`+regexp.QuoteMeta(name)))
	}
	for _, name := range authz.Headers {
		switch name {
		case "user-agent", "origin", "x-request-id":
			b.Plain = append(b.Plain, name)
		default:
			b.Absent = append(b.Absent, name)
		}
	}
	return b
}

// containing matches texts that contain a match of one of the alternatives, line breaks or not.
func containing(alternatives string) string { return `(?s:.*(?:` + alternatives + `).*)` }
