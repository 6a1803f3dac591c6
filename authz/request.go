package authz

import (
	"net/netip"
	"strings"

	"github.com/tokengate/tokengate/authz/token"
)

// Request is what a decision reads of an HTTP request. The zero Request has
// no client address and an empty path; a token in it is refused.
type Request struct {
	Method string     // as sent: over HTTP/2 any text
	Path   string     // raw, as it goes upstream, query included
	Client netip.Addr // the client's address, unmapped; invalid: missing or unreadable

	// Protocol is how the request came, such as HTTP/1.1. Over others than
	// HTTP/1 a `!` in Path may stand for a byte that Envoy could not show.
	Protocol string

	// The headers that Envoy is asked to send: those that a rule or the log
	// reads. Repeated headers arrive joined by a comma, as Envoy joins them.
	Authorization      string
	RequestID          string
	UserAgent          string
	Upgrade            string
	HTTPMethodOverride string // X-HTTP-Method-Override
	MethodOverride     string // X-Method-Override
	HTTPMethod         string // X-HTTP-Method
	Origin             string // of the page whose script sends the request

	// Body is the request's body, where Envoy hands it over: see
	// product.Product.LoginExpression.
	Body string

	// Memory is where Decide puts the text that it decodes, credentials among
	// it, and a Decision's Path. It may be nil; it grows as it must, and what is
	// in it is overwritten by the next Decide.
	Memory []byte
}

// Headers are the names, in lower case, of the request headers that are read:
// the one list that Envoy is told to send, that a decision consults, and that
// the tests walk through.
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

// Header returns the place for the header with this lower-case name, or nil
// if no rule reads it.
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

// headersHoldToken reports whether a token stands in a header that is read, other
// than Authorization. Those go on to Jira as they are.
func (r *Request) headersHoldToken() bool {
	return hasTokenValue(r.UserAgent) || hasTokenValue(r.RequestID) || hasTokenValue(r.Origin) || hasTokenValue(r.Upgrade) ||
		hasTokenValue(r.HTTPMethodOverride) || hasTokenValue(r.MethodOverride) || hasTokenValue(r.HTTPMethod)
}

// PathForLog returns the path as a log may hold it: without the query, which
// may carry secrets, and without any token that somebody put into the path.
func (r *Request) PathForLog() string {
	path, _, _ := strings.Cut(r.Path, "?")
	if decoded := decodePath((*memory)(&r.Memory), path); token.Redact(decoded) != decoded {
		return token.Redact(decoded)
	}
	return path
}
