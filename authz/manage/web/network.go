package web

import "net/netip"

// network names what counts as one client in the log's limits: an IPv4 address,
// the /64 of an IPv6 address, which is one subscriber's, or all addresses that are
// not known.
func network(client netip.Addr) string {
	if !client.IsValid() {
		return ""
	}
	bits := client.BitLen()
	if client.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(client, bits).Masked().String()
}
