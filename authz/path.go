package authz

import (
	"strings"

	"github.com/tokengate/tokengate/authz/policy"
)

// target is a request's path as the rules see it.
type target struct {
	ambiguous bool   // Jira might read it otherwise than we do; only detail holds beside it
	detail    Detail // what makes it ambiguous; 0 where no word says it
	outside   bool   // not below the context path
	static    bool   // the application rewrites it to path
	isREST    bool   // in the REST API
	isOurs    bool   // Envoy routes it to tokengate, whatever else is said of it here
	path      string // decoded, canonical, without the context path
}

// parseTarget classes a raw path, cut before its first `?`.
func parseTarget(m *memory, raw string, p *policy.Policy) target {
	contextPath := p.ContextPath
	below, ok := strings.CutPrefix(raw, contextPath)
	t := target{isOurs: ok && policy.IsManagement(below)}
	if t.detail = ambiguity(raw, contextPath); t.detail != 0 {
		t.ambiguous = true
		return t
	}
	path, ok := strings.CutPrefix(decodePath(m, raw), contextPath)
	if t.outside = !ok || path != "" && path[0] != '/'; t.outside {
		return t
	}
	if p.Product.Rewrite != nil {
		rewritten, clear := p.Product.Rewrite(path)
		if t.ambiguous = !clear; t.ambiguous {
			return t
		}
		t.static = rewritten != path
		path = rewritten
	}
	t.path = p.Product.CanonicalPath((*[]byte)(m), path)
	if api := p.Product.API; api != "" && !t.static {
		rest, ok := strings.CutPrefix(t.path, api)
		t.isREST = ok && (rest == "" || rest[0] == '/')
	}
	return t
}

// isManagement reports whether the path is a management path in the spelling by
// which rules are matched. Envoy routes by the raw path, so this is more than
// isOurs: /rest/api-tokens.json goes to Jira.
func (t target) isManagement() bool {
	return !t.static && policy.IsManagement(t.path)
}

// ambiguity says why Jira's container, Tomcat, might dispatch a raw path in
// another way than its plain reading says; 0 is never. The rule was measured
// against Tomcat 9 and 10.1 (testdata/paths): no difference is left once a path
// has no semicolon, no empty or dot segment, and no escaped letter, digit or
// dot. An encoded slash or backslash is refused for containers that decode them,
// and a byte that is no visible ASCII and an escape that is none are refused
// outright. Where the context path holds `-`, `_` or `~`, these may not be
// escaped.
func ambiguity(raw, contextPath string) Detail {
	if !strings.HasPrefix(raw, "/") {
		return BadSegment
	}
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == ';':
			return Semicolon
		case c < '!' || c > '~' || c == '\\':
			return OddByte
		case c == '/':
			if startsBadSegment(raw[i+1:]) {
				return BadSegment
			}
		case c == '%':
			if !isEscape(raw[i:]) {
				return LonePercent
			}
			c = unhex(raw[i+1])<<4 | unhex(raw[i+2])
			if isAlphanumeric(c) || c < ' ' || c == 0x7f || strings.IndexByte(`./\`, c) >= 0 {
				return NeedlessCode
			}
			if strings.IndexByte("-_~", c) >= 0 && strings.IndexByte(contextPath, c) >= 0 {
				return NeedlessCode
			}
			i += 2
		}
	}
	return 0
}

// startsBadSegment reports whether what follows a slash is an empty segment,
// though not the path's end, or a dot segment.
func startsBadSegment(rest string) bool {
	if rest == "" || rest[0] != '/' && rest[0] != '.' {
		return false
	}
	segment, _, more := strings.Cut(rest, "/")
	return segment == "." || segment == ".." || segment == "" && more
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// decodePath decodes a path once. Unlike in a query, `+` is a plus.
func decodePath(m *memory, raw string) string {
	if strings.IndexByte(raw, '%') < 0 {
		return raw
	}
	start := len(*m)
	for i := 0; i < len(raw); i++ {
		if raw[i] == '%' && isEscape(raw[i:]) {
			*m = append(*m, unhex(raw[i+1])<<4|unhex(raw[i+2]))
			i += 2
			continue
		}
		*m = append(*m, raw[i])
	}
	return m.since(start)
}

// isSessionLogin reports whether a raw path may reach the resource that takes a
// password in its body, product.Product.Session, in any spelling. It is
// deliberately generous, because a miss would let a password through: it reads
// the path as Tomcat does, first removing `;…`, then decoding, then resolving
// empty and dot segments, and ignores any segments before.
func isSessionLogin(m *memory, raw, session string) bool {
	session, resource, _ := cutLast(session, "/")
	if resource == "" || strings.IndexByte(raw, '%') < 0 && !strings.Contains(raw, resource) {
		return false
	}
	var segments lastSegments
	for rest, more := raw, true; more && !segments.whole(); {
		var segment string
		rest, segment, more = cutLast(rest, "/")
		segment, _, _ = strings.Cut(segment, ";")
		for part, again := decodePath(m, segment), true; again; {
			var last string
			part, last, again = cutLast(part, `/\`)
			segments.add(last)
		}
	}
	last := segments.found[:segments.count]
	if len(last) > 0 && last[0][0] == '.' {
		last = last[1:] // a suffix behind a slash: session/.json
	}
	if len(last) == 0 {
		return false
	}
	if name, _, _ := strings.Cut(last[0], "."); name != resource {
		return false
	}
	for last = last[1:]; session != ""; last = last[1:] {
		var want string
		session, want, _ = cutLast(session, "/")
		if len(last) == 0 || want != "*" && want != last[0] {
			return false
		}
	}
	return true
}

// cutLast cuts s at the last of the separators. Where there is none, all of s
// is the last part.
func cutLast(s, separators string) (before, last string, found bool) {
	if i := strings.LastIndexAny(s, separators); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return "", s, false
}

// lastSegments collects the last segments of a path that are left once empty
// and dot segments are resolved. They are added from the last to the first.
type lastSegments struct {
	found [8]string // room for the seven of a session, and a suffix
	count int
	above int // how many segments a `..` behind them takes away
}

func (l *lastSegments) whole() bool { return l.count == len(l.found) }

func (l *lastSegments) add(segment string) {
	switch {
	case segment == "" || segment == "." || l.whole():
	case segment == "..":
		l.above++
	case l.above > 0:
		l.above--
	default:
		l.found[l.count] = segment
		l.count++
	}
}
