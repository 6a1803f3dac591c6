package config

import (
	"slices"
	"strings"
	"time"
)

// reservedHeaders are request headers, in lower case, that cannot carry the
// identity or the client's address, because they have another use.
var reservedHeaders = []string{
	// Read by the decision: authz.Headers, which this package cannot import.
	"authorization", "x-request-id", "user-agent", "upgrade",
	"x-http-method-override", "x-method-override", "x-http-method",
	// Removed from allowed requests or their answers.
	"cookie", "set-cookie", "www-authenticate",
	// Message framing and hops (RFC 9110 section 7.6.1, RFC 9112 section 6).
	"connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-authenticate",
	"proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding",
	// Read by applications.
	"accept", "content-type", "origin", "referer", "x-atlassian-token",
	// Written by proxies, including Envoy.
	"forwarded", "via", "x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-host",
	"x-forwarded-port", "x-forwarded-proto",
}

// reservedPrefixes begin the headers that are reserved for Envoy and tokengate.
var reservedPrefixes = []string{"x-envoy-", "x-tokengate-"}

// externalAddress is the only x-envoy- header that may carry the client's address:
// with use_remote_address, Envoy overwrites it on every external request (Envoy
// docs, HTTP header manipulation, x-envoy-external-address).
const externalAddress = "x-envoy-external-address"

// ReservedHeader reports whether a request header, in any case, has another use
// and so cannot be upstream.identity.header.
func ReservedHeader(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains(reservedHeaders, name) ||
		slices.ContainsFunc(reservedPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// isHeaderName reports whether name consists of letters, digits and hyphens. RFC
// 9110 section 5.1 allows more characters, but they are special in the patterns of
// Envoy's configuration.
func isHeaderName(name string) bool {
	return name != "" && name[0] != '-' && only(name, func(c byte) bool { return alphanumeric(c) || c == '-' })
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// maxHeaderName bounds a name, in bytes: Envoy limits the expression that contains the names.
const maxHeaderName = 40

// headerError returns the problem of a request header's name, or "".
func headerError(name string) string {
	switch {
	case name == "":
		return "must name a request header"
	case strings.Contains(name, "_"):
		return quote(name) + " has an underscore, and Envoy drops such headers; write hyphens"
	case !isHeaderName(name):
		return quote(name) + " is not a header name; write letters, digits and hyphens"
	case len(name) > maxHeaderName:
		return quote(name) + " is longer than 40 characters"
	case ReservedHeader(name):
		return quote(name) + " has another use (it is read, written or dropped on the way); choose a header of its own"
	}
	return ""
}

// metadataError returns the problem of a gRPC metadata key, or ""
// (PROTOCOL-HTTP2.md, Custom-Metadata).
func metadataError(key string) string {
	switch {
	case !only(key, func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == '-' || c == '_' || c == '.'
	}):
		return quote(key) + " is not a gRPC metadata key; write lower-case letters, digits and . _ -"
	case strings.HasPrefix(key, "grpc-"):
		return quote(key) + ": keys that begin with grpc- are gRPC's own"
	case strings.HasSuffix(key, "-bin"):
		return quote(key) + ": keys that end in -bin have binary values, and this one is text"
	case len(key) > maxHeaderName:
		return quote(key) + " is longer than 40 characters"
	case ReservedHeader(key):
		return quote(key) + " has another use in Envoy's call; choose a key of its own, such as x-client-ip"
	}
	return ""
}

// checkIdentity checks upstream.identity. sound reports whether a key was decoded.
func checkIdentity(c *Config, report reporter, sound func(key string) bool) {
	id := c.Upstream.Identity
	switch p := c.Upstream.product(); {
	case id.HasPAT() && id.Header != "":
		report("upstream.identity", "header and pat are given; give one")
	case id.HasPAT() && p.Credentials == nil:
		report("upstream.identity.pat", "%s has no personal access tokens that tokengate could send; use header", p.Title)
	case id.HasPAT():
		checkPATIdentity(id.PAT, report)
		if c.Directory.Upstream == (UpstreamDirectory{}) && sound("directory") {
			report("upstream.identity.pat", "needs directory.upstream, which knows the users' keys")
		}
	case id.Header == "":
		report("upstream.identity", "give header or pat")
	case strings.EqualFold(id.Header, c.ClientAddress.Header) && id.Header != "":
		report("upstream.identity.header", "%s is clientAddress.header too; one header cannot carry both", quote(id.Header))
	default:
		if fault := headerError(id.Header); fault != "" {
			report("upstream.identity.header", "%s", fault)
		}
	}
}

const (
	maxSealKeys = 10
	minRenewAt  = 10
	maxRenewAt  = 95
	minProbe    = 5 * time.Minute
	maxProbe    = day
)

// checkPATIdentity checks upstream.identity.pat.
func checkPATIdentity(pat PATIdentity, report reporter) {
	const key = "upstream.identity.pat"
	if len(pat.SealKeys) == 0 {
		report(key+".sealKeys", "must be given: at least one file with 32 random bytes, outside of the store")
	}
	checkCount(key+".sealKeys", len(pat.SealKeys), maxSealKeys, report)
	for i, file := range pat.SealKeys {
		if fault := pathError(file, "a file with 32 random bytes", "/etc/tokengate/seal-key"); fault != "" {
			report(IndexKey(key+".sealKeys", i), "%s", fault)
		}
	}
	if pat.RenewAt < minRenewAt || pat.RenewAt > maxRenewAt {
		report(key+".renewAt", "is %d; it must be %d to %d, the percentage of a personal access token's life after which it is renewed", pat.RenewAt, minRenewAt, maxRenewAt)
	}
	if pat.Probe < minProbe || pat.Probe > maxProbe {
		report(key+".probe", "%s: must be %s to %s", spell(pat.Probe), spell(minProbe), spell(maxProbe))
	}
}

// HasPAT reports whether requests carry personal access tokens.
func (i Identity) HasPAT() bool {
	return i.PAT.SealKeys != nil || i.PAT.RenewAt != 0 || i.PAT.Probe != 0 || i.PAT.Administration
}

// zeroWord returns none.
func (PATIdentity) zeroWord() string { return none }

// complete sets the defaults.
func (p *PATIdentity) complete(given func(key string) bool) {
	if !given("renewAt") {
		p.RenewAt = 67
	}
	if !given("probe") {
		p.Probe = time.Hour
	}
}

// MaxTrustedHops is the maximum number of trusted proxies in front of Envoy.
const MaxTrustedHops = 20

// checkClientAddress checks that exactly one source of the client's address is set.
func checkClientAddress(a ClientAddress, report reporter) {
	given := 0
	for _, set := range []bool{a.TrustedHops != 0, a.Metadata != "", a.Source, a.Header != ""} {
		if set {
			given++
		}
	}
	switch {
	case given == 0:
		report("clientAddress", "none of trustedHops, metadata, source and header is set; set one, such as trustedHops: 1 behind one load balancer, or metadata: x-client-ip without one")
	case given > 1:
		report("clientAddress", "%d of trustedHops, metadata, source and header are set; set exactly one (trustedHops reads X-Forwarded-For and needs none of the others)", given)
	}
	if a.TrustedHops < 0 || a.TrustedHops > MaxTrustedHops {
		report("clientAddress.trustedHops", "is %d; it must be 0 to %d, the number of HTTP proxies in front of Envoy", a.TrustedHops, MaxTrustedHops)
	}
	if fault := metadataError(a.Metadata); fault != "" {
		report("clientAddress.metadata", "%s", fault)
	}
	switch a.Header {
	case "", externalAddress:
	case "x-forwarded-for":
		report("clientAddress.header", "clients write x-forwarded-for themselves, and Envoy only appends to it; "+
			"use trustedHops behind load balancers, or else metadata")
	default:
		if fault := headerError(a.Header); fault != "" {
			report("clientAddress.header", "%s", fault)
		}
	}
}
