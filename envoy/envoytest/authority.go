package envoytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var issued atomic.Int64 // certificates

// Authority issues certificates for a test.
type Authority struct {
	t           testing.TB
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes an authority with a certificate of its own.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t}
	a.certificate, a.key = a.issue(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// Client returns the TLS of a client that trusts servers of the authority with this
// name, and presents a certificate of its own.
func (a *Authority) Client(server string) *tls.Config {
	a.t.Helper()
	certificate, key := a.issue(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	roots := x509.NewCertPool()
	roots.AddCert(a.certificate)
	return &tls.Config{
		RootCAs: roots, ServerName: server,
		NextProtos: []string{"h2", "http/1.1"},
		// Also to servers that ask for one of another authority.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}, nil
		},
	}
}

// Write writes the authority's certificate to ca.crt in dir, and a new one for host, a
// name or an IP address, to tls.crt and its key to tls.key. The certificate is for
// servers and clients.
func (a *Authority) Write(dir, host string) {
	a.t.Helper()
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	certificate, key := a.issue(template)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for name, block := range map[string]pem.Block{
		"ca.crt":  {Type: "CERTIFICATE", Bytes: a.certificate.Raw},
		"tls.crt": {Type: "CERTIFICATE", Bytes: certificate.Raw},
		"tls.key": {Type: "PRIVATE KEY", Bytes: encoded},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

// Secrets writes to dir the files tokengate-ca.yaml and tokengate-client.yaml of the
// package's README, for certificates in the directory tls.
func Secrets(t testing.TB, readme, dir, tls string) {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tokengate-ca.yaml", "tokengate-client.yaml"} {
		_, block, _ := strings.Cut(string(text), "```yaml file="+name+"\n")
		block, _, found := strings.Cut(block, "```")
		if !found {
			t.Fatalf("%s has no %s", readme, name)
		}
		block = strings.ReplaceAll(block, "/etc/envoy/tls", tls)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// issue makes a certificate, the authority's own if it has none yet.
func (a *Authority) issue(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		a.t.Fatal(err)
	}
	template.Subject = pkix.Name{CommonName: template.SerialNumber.String()}
	// No two certificates end at the same time.
	lifetime := time.Hour + time.Duration(issued.Add(1))*time.Second
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(lifetime)
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	encoded, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(encoded)
	if err != nil {
		a.t.Fatal(err)
	}
	return certificate, key
}
