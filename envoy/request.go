package envoy

import (
	"context"
	"net/netip"

	"google.golang.org/grpc/metadata"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy/wire"
)

// clientOf returns the client's address, from where the configuration says. The
// invalid address means that it is missing or unreadable.
func clientOf(ctx context.Context, r *wire.Request, from config.ClientAddress) netip.Addr {
	switch {
	case from.Metadata != "":
		return clientAddress(only(metadata.ValueFromIncomingContext(ctx, from.Metadata)))
	case from.Source:
		return clientAddress(r.Source)
	}
	return clientAddress(r.ClientHeader)
}

// only returns the one value there is, or nothing if there are none or several.
func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// clientAddress reads an IP address. An IPv4 address in IPv6 clothes is
// unmapped and a zone dropped, so that both meet the networks of a rule.
// Whatever is not exactly one address is the invalid one.
func clientAddress(text string) netip.Addr {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}
