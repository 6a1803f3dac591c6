package envoy

import (
	"strings"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy/wire"
)

// MarkerHeader is set on every allowed token request. Envoy's route for it
// removes it again towards the upstream, and removes Set-Cookie from the
// upstream's answer.
const MarkerHeader = "x-tokengate-authenticated"

// upstreamHeaders decides which headers an allowed request carries to the upstream: the
// identity header, or with upstream.identity.pat the owner's credential. The answers and
// Envoy's configuration follow. The names are in lower case.
type upstreamHeaders struct {
	identity string // names the user; "" with a credential
	pat      bool   // Authorization carries the owner's credential
}

// newUpstreamHeaders returns those of a checked configuration.
func newUpstreamHeaders(u config.Upstream) upstreamHeaders {
	return upstreamHeaders{identity: strings.ToLower(u.Identity.Header), pat: u.Identity.HasPAT()}
}

// known reports whether the upstream learns who is calling, in one way.
func (h upstreamHeaders) known() bool { return h.pat != (h.identity != "") }

// UpstreamAnswer returns what index.NewUpstream takes for a personal access token: the
// header that the upstream must get, encoded. Jira wants exactly "Bearer", one blank and
// the token. It is "" for a value that no header can carry.
func UpstreamAnswer(pat string) string {
	if pat == "" || strings.ContainsFunc(pat, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return wire.EncodeHeaders(wire.Header{Name: "authorization", Value: "Bearer " + pat})
}

// set appends the headers to set for an allowed decision, which has a user, besides the
// owner's credential. They replace the client's.
func (h upstreamHeaders) set(list []wire.Header, d *authz.Decision) []wire.Header {
	list = append(list, wire.Header{Name: MarkerHeader, Value: "1"})
	if !h.pat {
		list = append(list, wire.Header{Name: h.identity, Value: d.User})
	}
	if d.Path != "" {
		list = append(list, wire.Header{Name: ":path", Value: d.Path})
	}
	return list
}

// maxUpstreamHeaders is the largest number of headers that set appends.
const maxUpstreamHeaders = 3

// removed are the client's headers that an allowed request loses: its credentials,
// unless the owner's replaces them. Envoy removes a header that is both set and removed.
func (h upstreamHeaders) removed() []string {
	if h.pat {
		return []string{"cookie"}
	}
	return []string{"authorization", "cookie"}
}

// reserved are the headers that only tokengate may set. Every other request that
// is forwarded loses them.
func (h upstreamHeaders) reserved() []string {
	if h.pat {
		return []string{MarkerHeader}
	}
	return []string{h.identity, MarkerHeader}
}

// changed are all headers that tokengate sets or removes. Envoy allows no
// others.
func (h upstreamHeaders) changed() []string {
	return append(h.reserved(), "authorization", "cookie", ":path")
}
