package envoy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

// listenAddress is where Envoy listens.
type listenAddress struct {
	Host string
	Port uint16
	Both bool // the IPv6 wildcard
}

func parseListen(address, byDefault string) (listenAddress, error) {
	a, err := netip.ParseAddrPort(cmp.Or(address, byDefault))
	if err != nil {
		return listenAddress{}, fmt.Errorf("listen on %q: give an IP address and a port, such as %s: %w", address, byDefault, err)
	}
	return listenAddress{a.Addr().String(), a.Port(), a.Addr() == netip.IPv6Unspecified()}, nil
}

// plain returns the listener that redirects to publicURL, and the file that names the
// certificate of the other one.
func (o BootstrapOptions) plain(at listenAddress, publicURL string) (*listenAddress, string, error) {
	if !filepath.IsAbs(o.Certificate) || !filepath.IsAbs(o.Key) {
		return nil, "", errors.New("TLS: give the absolute paths of the certificate and of its key")
	}
	if scheme, _, _ := strings.Cut(publicURL, "://"); !strings.EqualFold(scheme, "https") {
		return nil, "", errors.New("TLS: publicURL must begin with https:// if Envoy has a certificate, because plain HTTP is redirected there")
	}
	dir, err := o.secrets()
	return &at, filepath.Join(dir, listenerCertificate), err
}
