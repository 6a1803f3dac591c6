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

// checkPublicURL checks publicURL. Its path is the context path, because Jira
// makes links of its own base URL, and that has one path on both sides of a
// proxy.
func checkPublicURL(c *Config, report reporter) {
	const key = "publicURL"
	if c.PublicURL == "" {
		report(key, "must be given: where users reach Jira, such as https://jira.example.com")
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

// checkUpstream checks the upstream but for its identity header.
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

// parseURL reads an http or https URL with a host, and without user info,
// query or fragment. It says what is wrong, or "". The text is not repeated:
// what stands in the wrong place may be a password.
func parseURL(text string) (*url.URL, string) {
	const want = "write http:// or https:// and a host, such as https://jira.example.com"
	if len(text) > maxURL || !only(text, func(c byte) bool { return c > ' ' && c <= '~' }) {
		return nil, "must be printable ASCII without spaces, at most 2000 characters"
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "":
		return nil, "is no URL; " + want
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, "has no scheme that is supported; " + want
	case u.User != nil:
		return nil, "holds a user name or password; leave it out"
	case strings.ContainsAny(text, "?#"):
		return nil, "has a query or a fragment; leave it out"
	case !isHost(u.Hostname()) || u.Port() == "" && strings.HasSuffix(u.Host, ":"):
		return nil, "has no host that is valid; " + want
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

// contextPathError says what is wrong with a context path, or "". The
// characters are those that no client escapes (RFC 3986 section 2.3).
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
		return p.Title + " has paths of its own that begin so; choose another context path, such as /" + p.Name
	}
	return ""
}
