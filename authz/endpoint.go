package authz

import (
	"net/http"
	"strings"

	"github.com/tokengate/tokengate/authz/policy"
)

// overridesMethod reports whether the request asks to be taken for another
// method than it is.
func overridesMethod(r *Request, q queryFacts) bool {
	return r.HTTPMethodOverride != "" || r.MethodOverride != "" || r.HTTPMethod != "" || q.method
}

// isReadMethod reports whether a method is one of those that only read. Case
// counts: over HTTP/2 a client may send any text, and Jira knows no "get".
func isReadMethod(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// isClosedMethod reports whether no token may use a method anywhere: an answer to
// TRACE repeats the request's headers, the identity among them (RFC 9110 §9.3.8),
// and CONNECT asks for a tunnel (§9.3.6).
func isClosedMethod(method string) bool {
	return method == http.MethodTrace || method == http.MethodConnect
}

// isDownload reports whether the path is open for downloads. A .jsp or .jspa in
// the path might run an action.
func isDownload(path string, open policy.Paths) bool {
	return open.Match(path) && !strings.Contains(path, ".jsp")
}

// isForbidden reports whether the endpoint would let a token escape its limits.
// A token may ask at the session resource whose it is.
func (e *evaluation) isForbidden(write bool) bool {
	p := &e.view.Policy.Product
	if p.Forbidden == nil || !write && e.request.Method == http.MethodGet && p.IsSession(e.target.path) {
		return false
	}
	return p.Forbidden(e.target.path, write)
}
