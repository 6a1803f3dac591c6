package app

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz/config"
)

// certificates is the TLS of a listener. It uses changed files for new connections.
type certificates struct {
	files    config.TLS
	protocol string // of the listener (RFC 7301): h2 or http/1.1
	log      *zap.Logger
	settling
	current  atomic.Pointer[tls.Config] // never nil
	replaced func()                     // called after the authorities of clients have changed
	end      prometheus.Gauge           // of the certificate that is in use
}

// newCertificateEnd returns the metric of when the listeners' certificates end.
func newCertificateEnd() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tokengate_certificate_expiration_timestamp_seconds",
		Help: "When the certificate in use, or the first of its intermediates, expires, in seconds since 1970, by listener with TLS.",
	}, []string{"listener"})
}

// newCertificates reads the files of a listener's TLS.
func newCertificates(files config.TLS, protocol string, log *zap.Logger, end prometheus.Gauge) (*certificates, error) {
	c := &certificates{files: files, protocol: protocol, log: log, replaced: func() {}, end: end}
	found := readCertificates(files)
	c.settle(found.fingerprint())
	parsed, err := found.parse(files, protocol)
	if err != nil {
		return nil, err
	}
	c.use(parsed)
	return c, nil
}

// use takes a configuration for new connections and returns the previous one, or nil.
func (c *certificates) use(parsed *tls.Config) (before *tls.Config) {
	c.end.Set(float64(firstEnd(parsed.Certificates[0]).Unix()))
	return c.current.Swap(parsed)
}

// firstEnd returns when the first certificate of a chain expires.
func firstEnd(chain tls.Certificate) time.Time {
	end := chain.Leaf.NotAfter
	for _, der := range chain.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil && c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// config returns the TLS configuration of the listener, which never changes itself.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil },
	}
}

// check uses changed files once they are the same in two checks.
func (c *certificates) check() {
	if found := readCertificates(c.files); c.changed(found.fingerprint()) {
		c.reload(found)
	}
}

// reloadNow reads the files even if they have not changed.
func (c *certificates) reloadNow() {
	found := readCertificates(c.files)
	c.settle(found.fingerprint())
	c.reload(found)
}

// reload uses these contents, or logs why they are refused.
func (c *certificates) reload(found certificateFiles) {
	parsed, err := found.parse(c.files, c.protocol)
	if err != nil {
		c.log.Error("the certificate files were refused; the previous ones stay in use", zap.Error(err))
		return
	}
	before := c.use(parsed)
	if !before.ClientCAs.Equal(parsed.ClientCAs) {
		c.replaced()
	}
	c.log.Info("the certificate files were reloaded", zap.Time("expires", firstEnd(parsed.Certificates[0])))
}

// certificateFiles are the contents of one read of the files.
type certificateFiles struct {
	certificate, key, clientCA []byte
	err                        error
}

func readCertificates(files config.TLS) (c certificateFiles) {
	if c.certificate, c.err = os.ReadFile(files.Certificate); c.err != nil {
		return c
	}
	if c.key, c.err = readPrivate(files.Key); c.err != nil || files.ClientCA == "" {
		return c
	}
	c.clientCA, c.err = os.ReadFile(files.ClientCA)
	return c
}

// readPrivate reads a file that must not be readable by every user.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return nil, fmt.Errorf("the key %s is open to every user of this machine: its mode is %04o; "+
			"set it to 0640 or less, and for a Kubernetes secret defaultMode: 0440", path, mode)
	}
	return io.ReadAll(f)
}

func (c certificateFiles) fingerprint() fingerprint {
	if c.err != nil {
		return sha256.Sum256([]byte(c.err.Error()))
	}
	return sha256.Sum256(bytes.Join([][]byte{c.certificate, c.key, c.clientCA}, []byte{0}))
}

// parse returns the TLS configuration of a handshake. All of its settings are here,
// because it replaces the listener's.
func (c certificateFiles) parse(files config.TLS, protocol string) (*tls.Config, error) {
	if c.err != nil {
		return nil, fmt.Errorf("read the certificate files: %w", c.err)
	}
	pair, err := tls.X509KeyPair(c.certificate, c.key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s and its key %s: %w", files.Certificate, files.Key, err)
	}
	parsed := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{protocol},
		Certificates:           []tls.Certificate{pair},
		SessionTicketsDisabled: true, // a session could outlive its client's authority
	}
	if files.ClientCA != "" {
		parsed.ClientAuth, parsed.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !parsed.ClientCAs.AppendCertsFromPEM(c.clientCA) {
			return nil, fmt.Errorf("read the client authorities %s: there is no PEM certificate in it", files.ClientCA)
		}
	}
	return parsed, nil
}
