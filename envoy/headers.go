package envoy

import "github.com/tokengate/tokengate/authz"

// The headers that pass between tokengate and Envoy. Envoy removes them from
// what a client sends before anything else reads the request.
const (
	// MarkerHeader is set on every allowed token request. Envoy's route for it
	// removes it again towards the upstream, and removes Set-Cookie from the
	// upstream's answer.
	MarkerHeader = "x-tokengate-authenticated"

	// ClientIPHeader carries to the management routes what the client's address
	// is read from with authz.ClientAddress: the address alone, or, with trusted
	// hops, the value of X-Forwarded-For.
	ClientIPHeader = authz.ClientIPHeader
)
