package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// mappedBits is the length of ::ffff:0:0/96, below which IPv4 addresses stand
// in their IPv6 form (RFC 4291 section 2.5.5.2).
const mappedBits = 96

// ParsePrefix reads a network such as 10.0.0.0/8 or 2001:db8::/32, or one
// address. Bits beyond the prefix are refused, since they mean that one of the
// two is a mistake. The IPv6 form of an IPv4 address is unmapped, because
// clients are compared unmapped. Zones are refused.
func ParsePrefix(text string) (Prefix, error) {
	address, length, _ := strings.Cut(text, "/")
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return Prefix{}, fmt.Errorf("%s is no network; write a prefix such as 10.0.0.0/8 or 2001:db8::/32, or one address", quote(text))
	}
	if ip.Zone() != "" {
		return Prefix{}, fmt.Errorf("%s has a zone; write the address without it", quote(text))
	}
	bits := ip.BitLen()
	if address != text {
		if bits, err = prefixLength(length, bits); err != nil {
			return Prefix{}, fmt.Errorf("%s: %w", quote(text), err)
		}
	}
	prefix := netip.PrefixFrom(ip, bits)
	if ip.Is4In6() && bits >= mappedBits {
		prefix = netip.PrefixFrom(ip.Unmap(), bits-mappedBits)
	}
	if masked := prefix.Masked(); masked != prefix {
		return Prefix{}, fmt.Errorf("%s has bits beyond its prefix; write %s for the network, or %s for the one address",
			quote(text), masked, prefix.Addr())
	}
	return Prefix{prefix}, nil
}

// prefixLength reads a decimal number without sign or leading zero, 0 to most.
func prefixLength(text string, most int) (int, error) {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || int(n) > most || len(text) > 1 && text[0] == '0' {
		return 0, fmt.Errorf("the prefix length must be a number from 0 to %d", most)
	}
	return int(n), nil
}

// MarshalText returns what String returns.
func (p Prefix) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what ParsePrefix reads.
func (p *Prefix) UnmarshalText(text []byte) error {
	parsed, err := ParsePrefix(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}
