package authz

import (
	"strings"

	"github.com/tokengate/tokengate/authz/policy"
)

// target is a request's path as the checks see it.
type target struct {
	ambiguous  bool   // the application might interpret it in another way; then only detail is set
	detail     Detail // what makes it ambiguous; may be 0
	outside    bool   // not below the context path
	static     bool   // the application rewrites it to path
	isREST     bool   // in the REST API
	routedHere bool   // Envoy routes it to tokengate; set in any case
	path       string // decoded, canonical, without the context path
}

// parseTarget classifies a raw path without its query.
func parseTarget(m *memory, raw string, p *policy.Policy) target {
	contextPath := p.ContextPath
	below, ok := strings.CutPrefix(raw, contextPath)
	t := target{routedHere: ok && policy.IsManagement(below)}
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

// isManagement reports whether the canonical path is a management path. Envoy
// routes by the raw path, so routedHere may be false: Envoy routes
// /rest/api-tokens.json to the application.
func (t target) isManagement() bool {
	return !t.static && policy.IsManagement(t.path)
}

// ambiguity says why the application's container might dispatch a raw path in
// another way than decoding it once; 0 means that it does not. Measured with
// Tomcat 9 and 10.1 (testdata/paths), no difference is left if a path has no
// semicolon, no empty or dot segment, and no escaped letter, digit or dot. Encoded
// slashes and backslashes are ambiguous because some containers decode them, and
// so are bytes other than visible ASCII and broken escapes. `-`, `_` and `~` must
// not be escaped if the context path contains them.
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

// startsBadSegment reports whether the text after a slash begins with a dot
// segment, or with an empty segment that is not the last.
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

// isSessionLogin reports whether a raw path may reach the resource that takes a
// password in its body, product.Session, in any spelling. It is
// deliberately generous, because a miss would let a password through: it reads
// the path as Tomcat does, first removing `;…`, then decoding, then resolving
// empty and dot segments, and ignores any segments before.
func isSessionLogin(m *memory, raw, session string) bool {
	session, resource, _ := cutLast(session, "/")
	if resource == "" || strings.IndexByte(raw, '%') < 0 && !strings.Contains(raw, resource) {
		return false
	}
	var segments lastSegments
	for rest, more := raw, true; more && !segments.full(); {
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
		last = last[1:] // a suffix after a slash: session/.json
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

// cutLast cuts s at the last of the separators. Without one, last is s.
func cutLast(s, separators string) (before, last string, found bool) {
	if i := strings.LastIndexAny(s, separators); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return "", s, false
}

// lastSegments collects the last segments of a path, without empty and dot
// segments. They are added from the last to the first.
type lastSegments struct {
	found [8]string // room for the seven of a session, and a suffix
	count int
	above int // how many segments are removed by a `..` after them
}

func (l *lastSegments) full() bool { return l.count == len(l.found) }

func (l *lastSegments) add(segment string) {
	switch {
	case segment == "" || segment == "." || l.full():
	case segment == "..":
		l.above++
	case l.above > 0:
		l.above--
	default:
		l.found[l.count] = segment
		l.count++
	}
}
