package authz

import (
	"strings"

	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
)

// queryFacts are the facts about a query that the checks need. The application's
// container splits at `&` only and decodes names and values once, `+` as a space.
type queryFacts struct {
	tokens    int    // how many times the token parameter carries a token
	token     string // the last of these tokens, decoded
	misplaced bool   // a token outside the token parameter
	empty     bool   // the password parameter has no value
	password  bool   // the user or password parameter is present, in any spelling
	user      string // the last value of the user parameter
	users     int    // how many user parameters there are
	disguised bool   // a login or token parameter with escapes in its name
	strip     bool   // a parameter must be removed from requests with a token
	method    bool   // _method, which overrides the method in some frameworks
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
		case p.RemovesParameter(rawName):
			facts.strip = true
		case name != rawName && p.RemovesParameter(name):
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

// stripQuery returns a raw path without its token and login parameters. The rest
// stays the same byte for byte; the `?` is removed with the last parameter.
func stripQuery(m *memory, path string, p *policy.Policy) string {
	tokenName := p.QueryParameter
	path, query, _ := strings.Cut(path, "?")
	start := len(*m)
	*m = append(*m, path...)
	separator := byte('?')
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if p.RemovesParameter(name) {
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
