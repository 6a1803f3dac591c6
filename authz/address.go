package authz

import (
	"net/netip"
	"strings"
)

// ForwardedHeader is the header in which a proxy appends the address that it was
// asked from, in lower case.
const ForwardedHeader = "x-forwarded-for"

// ClientIPHeader is the request header that carries the list of ClientAddress to
// the management API. Envoy removes it from what clients send and sets its own.
const ClientIPHeader = "x-tokengate-client-ip"

// ClientAddress returns the client's address. With 0 hops, list is that address
// alone. With more, list is the value of X-Forwarded-For after Envoy appended
// its peer, and hops is the number of trusted proxies in front of Envoy: the
// address is the entry that has hops entries to its right. What stands left of
// it is the client's own text and is ignored.
//
// It returns the invalid address if the list is too short, or if any of the last
// hops+1 entries is not an address, an address with a port (RFC 7239 section 6
// writes them alike), or an IPv6 address in brackets, with blanks around it or
// not. An IPv4 address mapped into IPv6 is unmapped and a zone is dropped, so
// that both match the networks of a rule.
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
