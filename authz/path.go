package authz

import (
	"strings"

	"github.com/tokengate/tokengate/authz/policy"
)

// target is a request's path as the rules see it.
type target struct {
	ambiguous bool   // Jira might read it otherwise than we do; nothing below holds
	outside   bool   // not below the context path
	static    bool   // /s/<any>/_/<path>, which Jira rewrites to <path>
	path      string // decoded, canonical, without the context path
}

// parseTarget classes a raw path, cut before its first `?`.
func parseTarget(raw, contextPath string) target {
	if isAmbiguous(raw, contextPath) {
		return target{ambiguous: true}
	}
	path, ok := strings.CutPrefix(decodePath(raw), contextPath)
	if !ok || path != "" && path[0] != '/' {
		return target{outside: true}
	}
	var t target
	if strings.HasPrefix(path, "/s/") {
		if _, below, rewritten := strings.Cut(path, "/_/"); rewritten {
			if strings.Contains(below, "/_/") {
				return target{ambiguous: true} // which of them counts is Jira's secret
			}
			t.static = true
			path = "/" + below
		}
	}
	t.path = policy.Canonical(path)
	return t
}

// isREST reports whether the path is Jira's REST API.
func (t target) isREST() bool {
	rest, ok := strings.CutPrefix(t.path, "/rest")
	return ok && (rest == "" || rest[0] == '/') && !t.static
}

// isManagement reports whether the path is one of our own.
func (t target) isManagement() bool {
	return !t.static && policy.IsManagement(t.path)
}

// isAmbiguous reports whether Jira's container, Tomcat, might dispatch a raw
// path otherwise than its plain reading says. The rule was measured against
// Tomcat 9 and 10.1 (testdata/paths): no difference is left once a path has no
// semicolon, no empty or dot segment, and no escaped letter, digit or dot. An
// encoded slash or backslash is refused for containers that decode them, and
// what is no visible ASCII, no escape or no path at all is refused outright.
// Where the context path holds `-`, `_` or `~`, these may not be escaped.
func isAmbiguous(raw, contextPath string) bool {
	if !strings.HasPrefix(raw, "/") {
		return true
	}
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c < '!' || c > '~' || c == ';' || c == '\\':
			return true
		case c == '/':
			if startsBadSegment(raw[i+1:]) {
				return true
			}
		case c == '%':
			if !isEscape(raw[i:]) {
				return true
			}
			c = unhex(raw[i+1])<<4 | unhex(raw[i+2])
			if isAlphanumeric(c) || c < ' ' || c == 0x7f || strings.IndexByte(`./\`, c) >= 0 {
				return true
			}
			if strings.IndexByte("-_~", c) >= 0 && strings.IndexByte(contextPath, c) >= 0 {
				return true
			}
			i += 2
		}
	}
	return false
}

// startsBadSegment reports whether what follows a slash is an empty segment,
// though not the path's end, or a dot segment.
func startsBadSegment(rest string) bool {
	segment, _, more := strings.Cut(rest, "/")
	return segment == "." || segment == ".." || segment == "" && more
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// decodePath decodes a path once. Unlike in a query, `+` is a plus.
func decodePath(raw string) string {
	if strings.IndexByte(raw, '%') < 0 {
		return raw
	}
	b := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] == '%' && isEscape(raw[i:]) {
			b = append(b, unhex(raw[i+1])<<4|unhex(raw[i+2]))
			i += 2
			continue
		}
		b = append(b, raw[i])
	}
	return string(b)
}

// isSessionLogin reports whether a raw path may reach the REST resource that
// takes a password in its body, /rest/auth/<version>/session, however it is
// spelled. It is deliberately generous, since here a miss would let a password
// through: it reads the path as Tomcat does, first dropping `;…`, then decoding,
// then resolving empty and dot segments, and ignores whatever stands before.
func isSessionLogin(raw string) bool {
	if strings.IndexByte(raw, '%') < 0 && !strings.Contains(raw, "session") {
		return false
	}
	var segments []string
	for segment := range strings.SplitSeq(raw, "/") {
		segment, _, _ = strings.Cut(segment, ";")
		decoded := strings.ReplaceAll(decodePath(segment), `\`, "/")
		for part := range strings.SplitSeq(decoded, "/") {
			switch part {
			case "", ".":
			case "..":
				segments = segments[:max(0, len(segments)-1)]
			default:
				segments = append(segments, part)
			}
		}
	}
	if n := len(segments); n > 0 && segments[n-1][0] == '.' {
		segments = segments[:n-1] // a suffix behind a slash: session/.json
	}
	n := len(segments)
	if n < 4 || segments[n-4] != "rest" || segments[n-3] != "auth" {
		return false
	}
	resource, _, _ := strings.Cut(segments[n-1], ".")
	return resource == "session"
}
