package authz

import (
	"net/http"
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
)

// forbiddenModules are the REST modules, by the segment behind /rest/, that
// hand out credentials or change whom Jira trusts. A token that reached them
// could make itself a credential without its own limits.
var forbiddenModules = []string{
	"pat", "auth", "tsv", "access-tokens", "ssh", "keys", "oauth2", // credentials
	"basicauth", "authconfig", "plugins", // trust, code
}

// forbiddenWrites are resources that read fine, but by writing change the
// account that the token acts as.
var forbiddenWrites = policy.NewPaths([]string{
	"/rest/api/2/myself",
	"/rest/api/2/myself/password",
	"/rest/api/2/user/password",
	"/rest/api/2/user/session/*",
	"/rest/api/user/current/password", // Confluence
})

// readingPosts are the POST endpoints that only read: Jira's search takes its
// query in a body.
var readingPosts = policy.NewPaths([]string{
	"/rest/api/2/search",
	"/rest/api/2/worklog/list",
})

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

// readsByPost reports whether a request is a POST to an endpoint that only
// reads, one of Jira's or one of the configuration's.
func readsByPost(method, path string, configured policy.Paths) bool {
	return method == http.MethodPost && (readingPosts.Match(path) || configured.Match(path))
}

// usualDownloads are the downloads that a configuration opens unless it says
// otherwise.
var usualDownloads = policy.NewPaths(config.Default().Tokens.DownloadPaths)

// isDownload reports whether the path is open for downloads. A .jsp or .jspa in
// it might run an action, whatever it stands below.
func isDownload(path string, open policy.Paths) bool {
	return open.Match(path) && !strings.Contains(path, ".jsp")
}

// isLogout reports whether a client ends its session, as clients do on close. A
// token has none, so the request is answered without Jira.
func isLogout(t target, method string) bool {
	below, ok := strings.CutPrefix(t.path, "/rest/auth/")
	_, resource, _ := strings.Cut(below, "/")
	return ok && method == http.MethodDelete && resource == "session"
}

// isForbidden reports whether the endpoint would let a token escape its limits.
func isForbidden(t target, method string, mayWrite bool) bool {
	below, ok := strings.CutPrefix(t.path, "/rest/")
	if !ok {
		return false
	}
	module, rest, _ := strings.Cut(below, "/")
	if module == "auth" && !mayWrite && method == http.MethodGet {
		_, resource, _ := strings.Cut(rest, "/")
		if resource == "session" {
			return false // who am I
		}
	}
	if slices.Contains(forbiddenModules, module) || strings.HasPrefix(module, "applinks") {
		return true
	}
	return mayWrite && forbiddenWrites.Match(t.path)
}
