package config

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// MaxSocketPath is the longest path of a unix socket, in bytes (unix(7): sun_path
// has 108, the last a NUL).
const MaxSocketPath = 107

// maxListenPath is shorter: the server binds a name up to 6 bytes longer, and
// renames it.
const maxListenPath = MaxSocketPath - 6

// ParseAddress reads unix:///absolute/path or tcp://host:port, where host is
// an IP address or localhost, and port is 1 to 65535.
func ParseAddress(text string) (Address, error) {
	if socket, ok := strings.CutPrefix(text, "unix://"); ok {
		return parseSocket(text, socket)
	}
	if hostPort, ok := strings.CutPrefix(text, "tcp://"); ok {
		return parseHostPort(text, hostPort)
	}
	return Address{}, fmt.Errorf("%s is not a listening address; write unix:///absolute/path or tcp://host:port", quote(text))
}

func parseSocket(text, socket string) (Address, error) {
	switch {
	case !path.IsAbs(socket):
		return Address{}, fmt.Errorf("%s: the socket's path must be absolute; write unix:///run/... with three slashes", quote(text))
	case socket == "/" || path.Clean(socket) != socket:
		return Address{}, fmt.Errorf("%s: the socket's path must be plain: no dot or empty segments, no slash at the end", quote(text))
	case !only(socket, func(c byte) bool { return c > ' ' && c <= '~' && !strings.ContainsRune(`%?#"\`, rune(c)) }):
		return Address{}, fmt.Errorf("%s: the socket's path must be printable ASCII without spaces, %% ? # \" and \\", quote(text))
	case len(socket) > maxListenPath:
		return Address{}, fmt.Errorf("%s: the socket's path is %d bytes long; at most %d fit into a socket address beside the temporary name that the server binds first",
			quote(text), len(socket), maxListenPath)
	}
	return Address{Network: "unix", Address: socket}, nil
}

func parseHostPort(text, hostPort string) (Address, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return Address{}, fmt.Errorf("%s: write tcp://host:port, an IPv6 address in brackets", quote(text))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Address{}, fmt.Errorf("%s: the port must be 1 to 65535", quote(text))
	}
	if host != "localhost" {
		ip, err := netip.ParseAddr(host)
		if err != nil || ip.Zone() != "" {
			return Address{}, fmt.Errorf("%s: the host must be an IP address without a zone, or localhost; 0.0.0.0 and [::] are every address", quote(text))
		}
		host = ip.Unmap().String()
	}
	return Address{Network: "tcp", Address: net.JoinHostPort(host, strconv.FormatUint(n, 10))}, nil
}

// String returns the address as ParseAddress reads it; "" for the zero Address.
func (a Address) String() string {
	if a == (Address{}) {
		return ""
	}
	return a.Network + "://" + a.Address
}

// UnmarshalText reads what ParseAddress reads.
func (a *Address) UnmarshalText(text []byte) (err error) {
	*a, err = ParseAddress(string(text))
	return err
}

// zeroWord returns none.
func (TLS) zeroWord() string { return none }

// zeroWord returns none.
func (Replicas) zeroWord() string { return none }

// loopback reports whether the address is reachable only from this machine.
func (a Address) loopback() bool {
	host, _, err := net.SplitHostPort(a.Address)
	if a.Network != "tcp" || err != nil {
		return a.Network == "unix"
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// overlaps reports whether two servers cannot listen on a and b at the same time.
func (a Address) overlaps(b Address) bool {
	if a.Network != "tcp" || b.Network != "tcp" {
		return a == b
	}
	hostA, portA, _ := net.SplitHostPort(a.Address)
	hostB, portB, _ := net.SplitHostPort(b.Address)
	if portA != portB {
		return false
	}
	everywhere := func(host string) bool { return host == "0.0.0.0" || host == "::" }
	return hostA == hostB || everywhere(hostA) || everywhere(hostB) ||
		hostA == "localhost" && b.loopback() || hostB == "localhost" && a.loopback()
}

// only reports whether ok holds for every byte.
func only(text string, ok func(byte) bool) bool {
	for i := range len(text) {
		if !ok(text[i]) {
			return false
		}
	}
	return true
}

// mappedBits is the prefix length of IPv4-mapped IPv6 addresses (RFC 4291 section
// 2.5.5.2).
const mappedBits = 96

// ParsePrefix reads a network such as 10.0.0.0/8 or 2001:db8::/32, or one address.
// Bits beyond the prefix and zones are errors. IPv4-mapped addresses are unmapped,
// like the addresses of clients.
func ParsePrefix(text string) (Prefix, error) {
	address, length, _ := strings.Cut(text, "/")
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return Prefix{}, fmt.Errorf("%s is not a network; write a prefix such as 10.0.0.0/8 or 2001:db8::/32, or one address", quote(text))
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

// prefixLength reads a decimal number from 0 to most, without sign and leading zeros.
func prefixLength(text string, most int) (int, error) {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || int(n) > most || len(text) > 1 && text[0] == '0' {
		return 0, fmt.Errorf("the prefix length must be a number from 0 to %d", most)
	}
	return int(n), nil
}

// UnmarshalText reads what ParsePrefix reads.
func (p *Prefix) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePrefix(string(text))
	return err
}
