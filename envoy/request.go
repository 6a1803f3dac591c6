package envoy

import (
	"context"
	"net/netip"

	"google.golang.org/grpc/metadata"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy/wire"
)

// clientOf returns the client's address, from where the configuration says. The
// invalid address means that it is missing or unreadable.
func clientOf(ctx context.Context, r *wire.Request, from config.ClientAddress) netip.Addr {
	switch {
	case from.Metadata != "":
		return authz.ClientAddress(only(metadata.ValueFromIncomingContext(ctx, from.Metadata)), 0)
	case from.Source:
		return authz.ClientAddress(r.Source, 0)
	}
	return authz.ClientAddress(r.ClientHeader, from.TrustedHops)
}

// clientHeader returns the header of Envoy's question that the client's address
// is read from, in lower case; empty if it is read from elsewhere.
func clientHeader(from config.ClientAddress) string {
	if from.TrustedHops > 0 {
		return authz.ForwardedHeader
	}
	return from.Header
}

// only returns the one value there is, or nothing if there are none or several.
func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
