package authz

import (
	"net/netip"
	"strings"

	"github.com/tokengate/tokengate/authz/token"
)

// Request is the part of an HTTP request that a decision reads. The zero Request
// has no client address and an empty path; a token in it is denied.
type Request struct {
	Method string     // as sent: over HTTP/2 any text
	Path   string     // raw, as sent upstream, with the query
	Client netip.Addr // the client's address, unmapped; invalid: missing or unreadable

	// Protocol is such as HTTP/1.1. With HTTP/2, a `!` in Path may stand for a
	// byte that Envoy could not represent.
	Protocol string

	// The headers that Envoy sends, because a check or the log reads them. Envoy
	// joins repeated headers with a comma.
	Authorization      string
	RequestID          string
	UserAgent          string
	Upgrade            string
	HTTPMethodOverride string // X-HTTP-Method-Override
	MethodOverride     string // X-Method-Override
	HTTPMethod         string // X-HTTP-Method
	Origin             string // of the page whose script sent the request

	// Body is the body of a login; see product.Session.LoginExpression.
	Body string

	// Memory holds the text that Decide decodes, including credentials, and a
	// Decision's Path. It may be nil and grows as needed. The next Decide
	// overwrites it.
	Memory []byte
}

// Headers are the lower-case names of the request headers that Envoy sends and a
// decision reads.
var Headers = []string{
	"authorization",
	"x-request-id",
	"user-agent",
	"upgrade",
	"x-http-method-override",
	"x-method-override",
	"x-http-method",
	"origin",
}

// Header returns the field of the header with this lower-case name, or nil if it
// is not one of Headers.
func (r *Request) Header(name string) *string {
	switch name {
	case "authorization":
		return &r.Authorization
	case "x-request-id":
		return &r.RequestID
	case "user-agent":
		return &r.UserAgent
	case "upgrade":
		return &r.Upgrade
	case "x-http-method-override":
		return &r.HTTPMethodOverride
	case "x-method-override":
		return &r.MethodOverride
	case "x-http-method":
		return &r.HTTPMethod
	case "origin":
		return &r.Origin
	}
	return nil
}

// headersHoldToken reports whether a header other than Authorization contains a
// token. These headers are forwarded unchanged.
func (r *Request) headersHoldToken() bool {
	return hasTokenValue(r.UserAgent) || hasTokenValue(r.RequestID) || hasTokenValue(r.Origin) || hasTokenValue(r.Upgrade) ||
		hasTokenValue(r.HTTPMethodOverride) || hasTokenValue(r.MethodOverride) || hasTokenValue(r.HTTPMethod)
}

// PathForLog returns the path for logs: without the query, which may carry
// secrets, and with the secrets of tokens removed.
func (r *Request) PathForLog() string {
	path, _, _ := strings.Cut(r.Path, "?")
	if decoded := decodePath((*memory)(&r.Memory), path); token.Redact(decoded) != decoded {
		return token.Redact(decoded)
	}
	return path
}

// ForwardedHeader is the header to which each proxy appends its client's address,
// in lower case.
const ForwardedHeader = "x-forwarded-for"

// ClientIPHeader is the request header that carries the list of ClientAddress to
// the management API. Envoy removes it from what clients send and sets its own.
const ClientIPHeader = "x-tokengate-client-ip"

// ClientAddress returns the client's address. With 0 hops, list is that address.
// Otherwise list is X-Forwarded-For after Envoy appended its peer, and hops is the
// number of trusted proxies in front of Envoy: the address is the entry with hops
// entries to its right. Entries to the left come from the client and are ignored.
//
// It returns the invalid address if the list is too short or any of the last
// hops+1 entries is unreadable. An entry is an address, an address with a port
// (RFC 7239 section 6), or an IPv6 address in brackets, with optional blanks
// around it. The result is unmapped and has no zone, so that it matches networks.
func ClientAddress(list string, hops int) netip.Addr {
	if hops == 0 {
		return readAddress(list)
	}
	for {
		comma := strings.LastIndexByte(list, ',')
		address := readAddress(list[comma+1:])
		if !address.IsValid() || hops == 0 {
			return address
		}
		if comma < 0 {
			return netip.Addr{}
		}
		list, hops = list[:comma], hops-1
	}
}

func readAddress(text string) netip.Addr {
	text = strings.Trim(text, " \t")
	inner, bracket := strings.CutPrefix(text, "[")
	var address netip.Addr
	var err error
	switch {
	case bracket && strings.HasSuffix(inner, "]"):
		address, err = netip.ParseAddr(inner[:len(inner)-1])
		if address.Is4() { // brackets are for IPv6 (RFC 3986 section 3.2.2)
			return netip.Addr{}
		}
	case bracket || strings.Count(text, ":") == 1:
		var both netip.AddrPort
		both, err = netip.ParseAddrPort(text)
		address = both.Addr()
	default:
		address, err = netip.ParseAddr(text)
	}
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap().WithZone("")
}
