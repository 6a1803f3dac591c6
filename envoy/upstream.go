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

// upstreamHeaders decides which headers an allowed request carries to the
// upstream. To add an upstream credential, change newUpstreamHeaders, set, and
// reserved (or removed, if clients may send a header of that name); the answers and
// Envoy's configuration follow. The names are in lower case.
type upstreamHeaders struct {
	identity string // names the user
}

// newUpstreamHeaders returns those of a checked configuration.
func newUpstreamHeaders(u config.Upstream) upstreamHeaders {
	return upstreamHeaders{identity: strings.ToLower(u.Identity.Header)}
}

// set appends the headers to set for an allowed decision, which has a user.
// They replace the client's.
func (h upstreamHeaders) set(list []wire.Header, d *authz.Decision) []wire.Header {
	list = append(list, wire.Header{Name: h.identity, Value: d.User}, wire.Header{Name: MarkerHeader, Value: "1"})
	if d.Path != "" {
		list = append(list, wire.Header{Name: ":path", Value: d.Path})
	}
	return list
}

// maxUpstreamHeaders is the largest number of headers that set appends.
const maxUpstreamHeaders = 3

// removed are the client's headers that an allowed request loses: its
// credentials.
func (h upstreamHeaders) removed() []string { return []string{"authorization", "cookie"} }

// reserved are the headers that only tokengate may set. Every other request that
// is forwarded loses them.
func (h upstreamHeaders) reserved() []string { return []string{h.identity, MarkerHeader} }

// changed are all headers that tokengate sets or removes. Envoy allows no
// others.
func (h upstreamHeaders) changed() []string {
	return append(append(h.reserved(), h.removed()...), ":path")
}
