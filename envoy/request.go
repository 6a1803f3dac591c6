package envoy

import (
	"context"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/metadata"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
)

// mostHeaders bounds the entries of a header_map. Envoy itself takes 100 from a
// client.
const mostHeaders = 1000

// requestFrom reads what a decision needs of a CheckRequest. It reports false
// where the check is no HTTP request, or holds no method or path.
//
// Envoy sends headers in one of two forms (AttributeContext.HttpRequest):
// headers, already joined, or, with encode_raw_headers, header_map, each as it
// came. Where both are there, the raw one counts.
func requestFrom(ctx context.Context, check *authv3.CheckRequest, from config.ClientAddress) (authz.Request, bool) {
	attributes := check.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	if http.GetMethod() == "" || http.GetPath() == "" {
		return authz.Request{}, false
	}
	r := authz.Request{Method: http.GetMethod(), Path: http.GetPath(), Protocol: http.GetProtocol()}
	var address string
	header := func(name, value string) {
		name = strings.ToLower(name)
		if place := r.Header(name); place != nil {
			join(place, value)
		}
		if from.Header != "" && name == from.Header {
			join(&address, value)
		}
	}
	raw := http.GetHeaderMap().GetHeaders()
	if len(raw) > mostHeaders {
		return authz.Request{}, false
	}
	if len(raw) > 0 {
		for _, h := range raw {
			header(h.GetKey(), headerText(h))
		}
	} else {
		for name, value := range http.GetHeaders() {
			header(name, value)
		}
	}
	switch {
	case from.Metadata != "":
		address = only(metadata.ValueFromIncomingContext(ctx, from.Metadata))
	case from.Source:
		address = attributes.GetSource().GetAddress().GetSocketAddress().GetAddress()
	}
	r.Client = clientAddress(address)
	return r, true
}

// headerText returns a header's value: raw_value where Envoy filled it, value
// otherwise (HeaderValue: only one of them is set).
func headerText(h *corev3.HeaderValue) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}

// join adds a repeated header's value behind a comma, as Envoy joins them.
func join(place *string, value string) {
	if *place == "" {
		*place = value
		return
	}
	*place += "," + value
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
