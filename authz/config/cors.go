package config

import (
	"net/netip"
	"net/url"
	"strings"
)

const (
	maxOrigins      = 100
	maxOriginLength = 200 // bytes
)

// checkCORS checks the origins. They are compared with what browsers send, byte
// by byte, so one in another spelling would match nothing.
func checkCORS(c CORS, report reporter) {
	const key = "cors.allowedOrigins"
	checkCount(key, len(c.AllowedOrigins), maxOrigins, report)
	for i, origin := range c.AllowedOrigins {
		if !isOrigin(origin) {
			report(indexKey(key, i), "%s: must be an origin as browsers send it, such as https://app.example.com or http://localhost:3000: "+
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
