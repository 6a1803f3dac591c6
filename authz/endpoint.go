package authz

import (
	"net/http"
	"strings"

	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
)

// checkPath denies URLs that the application might interpret in another way.
// If parameters must be removed, the rest of the URL has to be visible ASCII,
// because Envoy might not forward other bytes unchanged.
func (e *evaluation) checkPath() bool {
	e.target = parseTarget(e.memory(), e.path, e.view.Policy)
	switch {
	case e.target.ambiguous:
		return e.denyFor(AmbiguousPath, e.target.detail)
	case e.query.disguised:
		return e.denyFor(AmbiguousPath, HiddenName)
	}
	if e.query.strip {
		if !isPathIntact(e.request) {
			return e.denyFor(AmbiguousPath, OddByte)
		}
		e.decision.Path = stripQuery(e.memory(), e.request.Path, e.view.Policy)
	}
	return false
}

// isPathIntact reports whether Path is the text that the client sent. Envoy
// replaces a byte that is not UTF-8 with `!`, which only HTTP/2 can carry.
func isPathIntact(r *Request) bool {
	visible := !strings.ContainsFunc(r.Path, func(c rune) bool { return c < '!' || c > '~' })
	return visible && (strings.HasPrefix(r.Protocol, "HTTP/1.") || !strings.Contains(r.Path, "!"))
}

// checkNetwork compares the client's address with the networks of the
// configuration and of the token.
func (e *evaluation) checkNetwork() bool {
	client := e.request.Client
	if e.view.Policy.Deny.Contain(client) || !e.view.Policy.Allow.Contain(client) {
		return e.deny(NetworkDenied)
	}
	if own := policy.Networks(e.entry.Networks); len(own) > 0 && !own.Contain(client) {
		return e.deny(NetworkNotAllowed)
	}
	return false
}

// checkTokenType restricts management tokens to the paths that Envoy routes to
// tokengate, and other tokens to all other paths. Envoy routes
// another spelling of a management path to the application, so no token is
// accepted there. The management server checks the token again.
func (e *evaluation) checkTokenType() bool {
	management := e.entry.Kind == store.Management
	switch {
	case management != e.target.routedHere, management != e.target.isManagement():
		return e.deny(WrongTokenType)
	case management:
		e.decision.Path = "" // unchanged
		return e.pass(ManagementPath)
	}
	return false
}

// checkEndpoint restricts tokens to the paths that are open to them, without the
// endpoints through which they would escape their limits.
func (e *evaluation) checkEndpoint() bool {
	t, p := &e.target, e.view.Policy
	overridden := overridesMethod(e.request, e.query) || e.request.Upgrade != ""
	reads := !overridden && isReadMethod(e.request.Method)
	downloads := reads && e.request.Method != http.MethodOptions
	e.mayWrite = !reads && (overridden || e.request.Method != http.MethodPost || !p.ReadingPosts.Match(t.path))
	switch {
	case t.outside:
		return e.denyFor(PathNotAllowed, OutsideContext)
	case t.static:
		return e.denyFor(PathNotAllowed, StaticPath)
	case p.TokenPaths.Match(t.path):
	case downloads && isDownload(t.path, p.DownloadPaths):
	case isDownload(t.path, p.DownloadPaths):
		return e.denyFor(PathNotAllowed, DownloadOnly)
	case downloads && isDownload(t.path, p.UsualDownloads):
		return e.denyFor(PathNotAllowed, DownloadClosed)
	case e.entry.ReadOnly && reads && !t.isREST:
		return e.denyFor(PathNotAllowed, BeyondREST)
	default:
		return e.deny(PathNotAllowed)
	}
	if isClosedMethod(e.request.Method) {
		return e.denyFor(EndpointForbidden, MethodRefused)
	}
	if !overridden && e.request.Method == http.MethodDelete && p.Product.Session.Matches(t.path) {
		return e.deny(SessionKept)
	}
	// A reading POST counts as a write here, so that none opens a forbidden endpoint.
	if e.isForbidden(!reads) {
		return e.deny(EndpointForbidden)
	}
	if p.AdministrationClosed && p.Product.Administration != nil && p.Product.Administration(t.path, !reads) {
		return e.denyFor(EndpointForbidden, ClosedAdministration)
	}
	return false
}

// checkMethod restricts read-only tokens to requests that only read, on paths
// where that can be told from the method.
func (e *evaluation) checkMethod() bool {
	if !e.entry.ReadOnly {
		return false
	}
	p := e.view.Policy
	switch {
	case overridesMethod(e.request, e.query), e.request.Upgrade != "":
		return e.denyFor(ReadOnly, MethodOverride)
	case e.mayWrite && e.request.Method == http.MethodPost && e.target.isREST:
		return e.denyFor(ReadOnly, PostMayWrite)
	case e.mayWrite:
		return e.deny(ReadOnly)
	case e.target.isREST, p.ReadOnlyPaths.Match(e.target.path), isDownload(e.target.path, p.DownloadPaths):
		return false
	}
	return e.denyFor(ReadOnly, ReadOnlyPath)
}

// checkRate denies a token that has made too many requests. It does not
// count this request.
func (e *evaluation) checkRate() bool {
	if wait := e.entry.Limiter.Wait(e.view.Now); wait > 0 {
		e.decision.Wait = wait
		return e.deny(RateLimited)
	}
	return false
}

// allow forwards the request as the token's owner.
func (e *evaluation) allow() bool {
	e.decision.Outcome, e.decision.Reason = Allowed, TokenAllowed
	e.decision.Write = e.mayWrite
	e.decision.limiter = e.entry.Limiter
	if e.view.Policy.UpstreamCredential {
		e.decision.Upstream = e.entry.Upstream
	}
	return true
}

// overridesMethod reports whether the request asks to be treated as another
// method.
func overridesMethod(r *Request, q queryFacts) bool {
	return r.HTTPMethodOverride != "" || r.MethodOverride != "" || r.HTTPMethod != "" || q.method
}

// isReadMethod reports whether a method only reads. Case counts: over HTTP/2 a
// client may send any text, and "get" is not GET.
func isReadMethod(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// isClosedMethod reports whether a method is closed to all tokens: an answer to
// TRACE repeats the request's headers, including the identity (RFC 9110 §9.3.8),
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
// The session resource is readable: it tells a token's owner who they are.
func (e *evaluation) isForbidden(write bool) bool {
	p := &e.view.Policy.Product
	if p.Forbidden == nil || !write && e.request.Method == http.MethodGet && p.Session.Matches(e.target.path) {
		return false
	}
	return p.Forbidden(e.target.path, write)
}
