package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
)

// Config is the configuration of the store.
type Config struct {
	Endpoints    []string      `yaml:"endpoints"` // URLs of the members: all http or all https
	Prefix       string        `yaml:"prefix"`    // of all keys; ends with a slash
	TLS          TLS           `yaml:"tls"`
	User         string        `yaml:"user"`         // empty: none
	PasswordFile string        `yaml:"passwordFile"` // its first line is the user's password
	Timeout      time.Duration `yaml:"timeout"`      // of one request to etcd
	CompareEvery time.Duration `yaml:"compareEvery"` // see store.Versioned
}

// TLS configures https. Empty names mean none; without CA, the system's authorities are trusted.
type TLS struct {
	CA         string `yaml:"ca"`         // file with the certificates that sign those of etcd
	Cert       string `yaml:"cert"`       // file with the certificate of this client, read for each connection
	Key        string `yaml:"key"`        // file with its key
	ServerName string `yaml:"serverName"` // in etcd's certificate; empty: the endpoint's host
}

// The bounds of Config.Timeout and Config.CompareEvery.
const (
	minTimeout = time.Second
	maxTimeout = time.Minute
	minCompare = time.Minute
	maxCompare = 24 * time.Hour
)

// DefaultConfig returns the default configuration.
func DefaultConfig() *Config {
	return &Config{Endpoints: []string{}, Prefix: "/tokengate/", Timeout: 5 * time.Second, CompareEvery: 30 * time.Minute}
}

// Check reports invalid values: see store.Config.
func (c *Config) Check(report func(key, format string, args ...any)) {
	if len(c.Endpoints) == 0 {
		report("endpoints", "is empty; list the members of etcd, such as [\"https://etcd-1.example.com:2379\"]")
	}
	schemes := make(map[string]bool)
	for i, endpoint := range c.Endpoints {
		scheme, problem := checkEndpoint(endpoint)
		if problem != "" {
			report(fmt.Sprintf("endpoints[%d]", i), "%s", problem) // without the text: it may contain a password
		}
		schemes[scheme] = true
	}
	if schemes["http"] && schemes["https"] {
		report("endpoints", "has http and https; use https for all")
	}
	if !schemes["https"] && c.TLS != (TLS{}) && len(c.Endpoints) > 0 {
		report("tls", "is only for endpoints that begin with https://")
	}
	if problem := checkPrefix(c.Prefix); problem != "" {
		report("prefix", "%.80q: %s", c.Prefix, problem)
	}
	for _, file := range []struct{ key, name string }{
		{"tls.ca", c.TLS.CA}, {"tls.cert", c.TLS.Cert}, {"tls.key", c.TLS.Key}, {"passwordFile", c.PasswordFile},
	} {
		if file.name != "" && (!filepath.IsAbs(file.name) || strings.ContainsFunc(file.name, unicode.IsControl)) {
			report(file.key, "%.80q: must be the absolute path of a file", file.name)
		}
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		report("tls", "has only one of cert and key; give both or none")
	}
	if (c.User == "") != (c.PasswordFile == "") {
		report("user", "user and passwordFile belong together; give both or none")
	}
	if c.Timeout < minTimeout || c.Timeout > maxTimeout {
		report("timeout", "%s: must be from %s to %s", c.Timeout, minTimeout, maxTimeout)
	}
	if c.CompareEvery < minCompare || c.CompareEvery > maxCompare {
		report("compareEvery", "%s: must be from %s to %s", c.CompareEvery, minCompare, maxCompare)
	}
}

// checkEndpoint returns the scheme of an endpoint and what is wrong with it.
func checkEndpoint(endpoint string) (scheme, problem string) {
	const form = "must be a URL such as https://etcd-1.example.com:2379, with a port and without a path"
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" || u.Port() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", form
	}
	switch {
	case u.User != nil:
		return u.Scheme, "must not contain a user or a password; use user and passwordFile"
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return u.Scheme, "must use https, except on the loopback interface: whoever can change the traffic can make tokens"
	case u.Scheme != "http" && u.Scheme != "https":
		return u.Scheme, form
	}
	return u.Scheme, ""
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkPrefix returns what is wrong with a prefix.
func checkPrefix(prefix string) string {
	if len(prefix) < 4 || len(prefix) > 200 || prefix[0] != '/' || prefix[len(prefix)-1] != '/' {
		return "must begin and end with a slash and have at most 200 characters, such as " + DefaultConfig().Prefix
	}
	for segment := range strings.SplitSeq(prefix[1:len(prefix)-1], "/") {
		if len(segment) < 2 || strings.ContainsFunc(segment, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return "each part between slashes must have at least two characters of printable ASCII, without spaces"
		}
	}
	return ""
}

// readPassword returns the first line of a file.
func readPassword(name string) (string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("read etcd's password: %w", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("read etcd's password: the first line of %s is empty", name)
	}
	return line, nil
}

// load returns the client's settings.
func (c TLS) load() (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA != "" {
		data, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("read the authorities of etcd's certificates: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("read the authorities of etcd's certificates: %s has no certificate in PEM form", c.CA)
		}
	}
	if c.Cert != "" {
		if _, err := tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
			return nil, fmt.Errorf("read the certificate for etcd: %w", err)
		}
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
			return &cert, err
		}
	}
	return settings, nil
}
