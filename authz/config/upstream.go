package config

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tokengate/tokengate/authz/product"
)

// maxURL bounds a URL and a context path, in bytes.
const maxURL = 2000

// checkPublicURL checks publicURL. Its path must be the context path, because the
// application's own base URL has the same path on both sides of a proxy.
func checkPublicURL(c *Config, report reporter) {
	const key = "publicURL"
	if c.PublicURL == "" {
		report(key, "must be given: where users reach %s, such as https://jira.example.com", c.Upstream.product().Title)
		return
	}
	u, fault := parseURL(c.PublicURL)
	switch {
	case fault != "":
		report(key, "%s", fault)
	case u.EscapedPath() == c.Upstream.ContextPath, contextPathError(c.Upstream.ContextPath, c.Upstream.product()) != "":
	case u.EscapedPath() == c.Upstream.ContextPath+"/":
		report(key, "ends in a slash; leave it out")
	default:
		report(key, "the path %s is not upstream.contextPath (%s); the two must be equal",
			quote(u.EscapedPath()), quote(c.Upstream.ContextPath))
	}
}

// checkUpstream checks the upstream without its identity header.
func checkUpstream(u Upstream, report reporter) {
	if Products[u.Product] == nil {
		report("upstream.product", "%s is unknown; this version knows %s", quote(u.Product), productNames())
	}
	parsed, fault := parseURL(u.URL)
	switch {
	case fault != "":
		report("upstream.url", "%s", fault)
	case parsed.EscapedPath() != "":
		report("upstream.url", "has the path %s; write scheme, host and port only, and the path in upstream.contextPath",
			quote(parsed.EscapedPath()))
	}
	if fault := contextPathError(u.ContextPath, u.product()); fault != "" {
		report("upstream.contextPath", "%s: %s", quote(u.ContextPath), fault)
	}
}

// parseURL reads an http or https URL with a host and without user info, query and
// fragment. It returns the problem, or "". The problem never repeats the text,
// which may contain a password.
func parseURL(text string) (*url.URL, string) {
	const want = "write http:// or https:// and a host, such as https://jira.example.com"
	if len(text) > maxURL || !only(text, func(c byte) bool { return c > ' ' && c <= '~' }) {
		return nil, "must be printable ASCII without spaces, at most 2000 characters"
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "":
		return nil, "is not a URL; " + want
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, "has no supported scheme; " + want
	case u.User != nil:
		return nil, "contains a user name or password; leave it out"
	case strings.ContainsAny(text, "?#"):
		return nil, "has a query or a fragment; leave it out"
	case !isHost(u.Hostname()) || u.Port() == "" && strings.HasSuffix(u.Host, ":"):
		return nil, "has no valid host; " + want
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, "has a port that is not 1 to 65535"
		}
	}
	return u, ""
}

// isHost reports whether host is an IP address without a zone, or a name of
// letters, digits, hyphens and underscores in labels (RFC 1123 section 2.1;
// container networks name hosts with underscores too).
func isHost(host string) bool {
	if strings.Contains(host, ":") {
		ip, err := netip.ParseAddr(host)
		return err == nil && ip.Zone() == ""
	}
	if host == "" || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || !only(label, func(c byte) bool { return alphanumeric(c) || c == '-' || c == '_' }) {
			return false
		}
	}
	return true
}

// contextPathError returns the problem of a context path, or "". It allows the
// characters that clients never escape (RFC 3986 section 2.3).
func contextPathError(path string, p *product.Product) string {
	if path == "" {
		return ""
	}
	if len(path) > maxURL {
		return "at most 2000 characters"
	}
	const want = `write "" or segments of letters, digits and . _ ~ -, such as /jira, without a slash at the end`
	first, rest := path[:1], path[1:]
	if first != "/" {
		return want
	}
	segments := strings.Split(rest, "/")
	for _, s := range segments {
		if s == "" || s == "." || s == ".." || !only(s, func(c byte) bool { return alphanumeric(c) || strings.IndexByte("._~-", c) >= 0 }) {
			return want
		}
	}
	if slices.Contains(p.ReservedSegments, strings.ToLower(segments[0])) {
		return p.Title + " itself uses paths that begin like this; choose another context path, such as /" + p.Name
	}
	return ""
}

const (
	maxOrigins      = 100
	maxOriginLength = 200 // bytes
)

// checkCORS checks that the origins have the spelling that browsers send, because
// they are compared byte by byte.
func checkCORS(c CORS, report reporter) {
	const key = "cors.allowedOrigins"
	checkCount(key, len(c.AllowedOrigins), maxOrigins, report)
	for i, origin := range c.AllowedOrigins {
		if !isOrigin(origin) {
			report(IndexKey(key, i), "%s: must be an origin as browsers send it, such as https://app.example.com or http://localhost:3000: "+
				"http or https, a host in lower case, a port unless it is the scheme's own, and no path, slash or wildcard", quote(origin))
		}
	}
}

// isOrigin reports whether a text is the ASCII serialization of an origin
// (RFC 6454 §6.2).
func isOrigin(text string) bool {
	if len(text) > maxOriginLength || !only(text, func(c byte) bool { return alphanumeric(c) || strings.IndexByte(":/.-[]", c) >= 0 }) {
		return false
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return false
	}
	port := u.Port()
	usual := u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443"
	if usual || strings.HasPrefix(port, "0") || strings.HasSuffix(u.Host, ":") {
		return false
	}
	if strings.HasPrefix(u.Host, "[") {
		if a, err := netip.ParseAddr(u.Hostname()); err != nil || a.String() != u.Hostname() {
			return false
		}
	}
	return text == u.Scheme+"://"+u.Host && text == strings.ToLower(text)
}
