package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/tokengate/tokengate/store/etcd"
)

// ending is a certificate and its end.
type ending struct {
	what string
	at   time.Time
}

func checkCertificates(ctx context.Context, s *site) result {
	type file struct {
		key, path string
		whole     bool // all of its certificates are presented together
	}
	var files []file
	add := func(key, path string, whole bool) {
		if path != "" {
			files = append(files, file{key, path, whole})
		}
	}
	l := s.config.Listen
	add("listen.grpc.tls.certificate", l.GRPC.TLS.Certificate, true)
	add("listen.grpc.tls.clientCA", l.GRPC.TLS.ClientCA, false)
	add("listen.http.tls.certificate", l.HTTP.TLS.Certificate, true)
	add("listen.http.tls.clientCA", l.HTTP.TLS.ClientCA, false)
	add("listen.metrics.tls.certificate", l.Metrics.TLS.Certificate, true)
	add("listen.metrics.tls.clientCA", l.Metrics.TLS.ClientCA, false)
	add("listen.replicas.tls.certificate", l.Replicas.TLS.Certificate, true)
	add("listen.replicas.tls.ca", l.Replicas.TLS.CA, false)
	if c, ok := s.config.Store.Settings.(*etcd.Config); ok {
		add("store.etcd.tls.ca", c.TLS.CA, false)
		add("store.etcd.tls.cert", c.TLS.Cert, true)
	}
	var all []ending
	for _, f := range files {
		at, err := endOf(f.path, f.whole)
		if err != nil {
			return wrong("%s: %v", f.key, err)
		}
		all = append(all, ending{f.key + " (" + f.path + ")", at})
	}
	if at, ok := servedEnd(ctx, s.config.Upstream.URL); ok {
		all = append(all, ending{"the certificate of " + s.config.Upstream.URL, at})
	}
	if len(all) == 0 {
		return skipped("no certificate is used")
	}
	first := all[0]
	for _, e := range all {
		if e.at.Before(first.at) {
			first = e
		}
	}
	found := fmt.Sprintf("%s ends on %s", first.what, first.at.UTC().Format(time.RFC3339))
	switch left := first.at.Sub(s.Now()); {
	case left <= 0:
		return wrong("%s, which is past", found)
	case left < soonCertificate:
		return warning("%s, in %d days", found, int(left.Hours()/24))
	}
	return right("the first of %d: %s", len(all), found)
}

// endOf returns the first end of the certificates in a file; the others of a chain are
// intermediates. Without whole, the file is a bundle of authorities, of which old ones may
// be past, and it is the end of the first one.
func endOf(path string, whole bool) (end time.Time, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, err
	}
	for block, rest := pem.Decode(data); block != nil && (whole || end.IsZero()); block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return time.Time{}, fmt.Errorf("%s: %w", path, err)
		}
		if end.IsZero() || c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	if end.IsZero() {
		return time.Time{}, fmt.Errorf("%s has no certificate", path)
	}
	return end, nil
}

// servedEnd returns the end of the certificate that an https URL presents. It is not
// verified here: a bad one fails the check upstream.
func servedEnd(ctx context.Context, raw string) (time.Time, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" {
		return time.Time{}, false
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "443")
	}
	dialer := tls.Dialer{Config: &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return time.Time{}, false
	}
	defer conn.Close()
	peer := conn.(*tls.Conn).ConnectionState().PeerCertificates
	return peer[0].NotAfter, true
}
