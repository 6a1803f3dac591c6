package product

import (
	"regexp"
	"strings"
)

// Session is the resource at which clients log in with a password in the body
// (POST), read who they are (GET) and log out (DELETE). The zero Session is none.
type Session struct {
	pattern    string
	expression string
	plain      *regexp.Regexp
}

// maxSegments limits a session's path: the check of raw paths keeps that many.
const maxSegments = 7

// NewSession returns the Session with this path, such as /rest/auth/*/session. An
// asterisk stands for one segment, except the last. It panics if there are more than
// seven segments.
func NewSession(pattern string) Session {
	parts := strings.Split(pattern, "/")[1:]
	if len(parts) > maxSegments || parts[len(parts)-1] == "*" {
		panic("product: the session's path has too many segments, or ends in *: " + pattern)
	}
	const segment = `[!-$&-.0-:<-\[\]-~]+`
	path := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, segment)
	expression := `(/[!-$&-:<-\[\]-~]*)?` + path + `(/?\.[0-9A-Za-z]+)?/*`
	return Session{pattern, expression, regexp.MustCompile("^(?:" + expression + ")$")}
}

// Pattern returns the path that NewSession was given; "" for the zero Session.
func (s *Session) Pattern() string { return s.pattern }

// LoginExpression returns a regular expression that matches a whole raw path,
// without its query, if it is a plain spelling of the session. Envoy hands over
// the bodies of requests to exactly these paths. The expression uses only what Go
// and RE2 read alike, and only visible ASCII. It is "" for the zero Session.
func (s *Session) LoginExpression() string { return s.expression }

// IsPlain reports whether a raw path matches LoginExpression.
func (s *Session) IsPlain(raw string) bool { return s.plain != nil && s.plain.MatchString(raw) }

// Matches reports whether a canonical path is the session's.
func (s *Session) Matches(path string) bool {
	if s.pattern == "" {
		return false
	}
	for pattern := s.pattern; ; {
		want, wantRest, wantMore := strings.Cut(pattern, "/")
		segment, rest, more := strings.Cut(path, "/")
		if want != segment && want != "*" || more != wantMore {
			return false
		}
		if !more {
			return true
		}
		pattern, path = wantRest, rest
	}
}
