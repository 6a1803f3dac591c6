package envoy

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product"
)

// Defaults of BootstrapOptions.
const (
	DefaultListen      = "0.0.0.0:10000"
	DefaultListenTLS   = "0.0.0.0:8443"
	DefaultAdminSocket = "/run/envoy/admin.sock"
	DefaultSecrets     = "/etc/envoy"
)

// BootstrapOptions are the settings of Envoy that are not in tokengate's
// configuration. The zero value means the defaults.
type BootstrapOptions struct {
	// Listen is the IP address and port that clients connect to, such as
	// 0.0.0.0:10000 or [::]:10000. Empty means DefaultListen. For port 0 the
	// system chooses a port.
	Listen string

	// Certificate and Key are the absolute paths at which Envoy finds the PEM files of
	// its listener's certificate (with its intermediates) and key. If they are set, Envoy
	// speaks TLS on ListenTLS, and what it answers on Listen is a redirect to publicURL.
	Certificate, Key string

	// ListenTLS is like Listen, for TLS. Empty means DefaultListenTLS.
	ListenTLS string

	// AdminSocket is the absolute path of Envoy's administration socket, at
	// most 107 bytes. Empty means DefaultAdminSocket.
	AdminSocket string

	// Metrics is the IP address and port of a further listener, with Envoy's metrics at
	// /stats/prometheus and nothing else. Empty means no such listener.
	Metrics string

	// Host is the IP address or DNS name at which Envoy reaches tokengate's listeners
	// with TLS, and for which their certificates are valid. Empty means the host of
	// the listening address.
	Host string

	// Secrets is the absolute path of a directory in which Envoy finds
	// tokengate-ca.yaml and tokengate-client.yaml, for listeners with TLS: the
	// authorities of tokengate's certificates, and its own certificate. The files of
	// Secrets belong there, too. Empty means DefaultSecrets.
	Secrets string
}

// systemCA is the file of trusted CA certificates on Debian, on Alpine and in
// Envoy's image. Envoy cannot use the system's by itself:
// CertificateValidationContext.system_root_certs is for gRPC only.
const systemCA = "/etc/ssl/certs/ca-certificates.crt"

// maxRequestHeaders limits the headers of a request, including those that Envoy
// and tokengate add. Envoy answers 500 if added headers exceed it, so it is far
// above what clients send: Tomcat's own limit (maxHeaderCount) is 100.
const maxRequestHeaders = 1000

// identityHeaders are common headers that name the user to authenticators. Clients may not send them.
var identityHeaders = []string{"x-forwarded-user", "remote-user", "x-remote-user"}

//go:embed bootstrap.yaml.tmpl
var bootstrapText string

var bootstrapTemplate = template.Must(template.New("bootstrap").
	Funcs(template.FuncMap{"quote": quote}).
	Option("missingkey=error").
	Parse(bootstrapText))

// bootstrapData is the data of the template.
type bootstrapData struct {
	bootstrapRules
	Product                        *product.Product
	Fingerprint, FingerprintHeader string         // of the rules, and where health checks carry it
	Plain                          *listenAddress // if Listen has TLS
	Listen                         listenAddress
	Certificate                    string // file that names the certificate of Listen
	AdminSocket                    string
	Metrics                        *listenAddress // may be nil

	Authz, Management clusters
	ManagementRoutes  []managementRoute
	Replicas          bool // Authz and Management have those of other servers, too
	Secrets           bool // certificates are read from files
	Upstream          endpoint
}

// bootstrapRules are the parts that say which requests Envoy forwards, what it asks and
// what it changes. They depend only on the configuration.
type bootstrapRules struct {
	TrustedHops                 int
	StripHeaders, StripPrefixes []string
	CheckHeaders                []string
	MutationRegex               string
	ClientMetadata              string // at most one of these two
	ClientHeader                string
	MarkerHeader                string
	ClientIPHeader, ClientIP    string // the header for the management routes, and its value in Envoy's format language
	ManagementPaths             []string
	MaxHeaders                  int
	LocalReplies                []localReply
	RestPath                    string           // requests below it get JSON; "" is none
	DenialType                  string           // the content type of JSON
	HealthPath                  string           // of the health check
	LoginExpression             string           // of the paths whose bodies are sent along; "" is none
	Bypass                      *bypass          // nil: every request is checked
	Anonymous                   *anonymousAnswer // nil: no answer of the upstream is replaced
	PublicHost                  string           // host of publicURL, for HTTP/1.0 requests without one; may be empty
}

// Bootstrap writes an Envoy 1.40 bootstrap, YAML with comments, for cfg: Envoy
// checks every request with ext_authz, forwards the management paths to tokengate
// and all others to the upstream. cfg must be valid. On an error nothing is
// written, unless w itself fails.
func Bootstrap(w io.Writer, cfg config.Config, opts BootstrapOptions) error {
	data, err := newBootstrapData(cfg, opts)
	if err != nil {
		return fmt.Errorf("write envoy bootstrap: %w", err)
	}
	var b bytes.Buffer
	if err := bootstrapTemplate.Execute(&b, data); err != nil {
		return fmt.Errorf("write envoy bootstrap: %w", err)
	}
	if _, err := b.WriteTo(w); err != nil {
		return fmt.Errorf("write envoy bootstrap: %w", err)
	}
	return nil
}

func newBootstrapData(cfg config.Config, opts BootstrapOptions) (*bootstrapData, error) {
	p := config.Products[cfg.Upstream.Product]
	if p == nil {
		return nil, fmt.Errorf("upstream.product %q is unknown", cfg.Upstream.Product)
	}
	rules, err := newBootstrapRules(cfg, p)
	if err != nil {
		return nil, err
	}
	d := &bootstrapData{bootstrapRules: *rules, Product: p, Fingerprint: rules.fingerprint(), FingerprintHeader: fingerprintHeader, AdminSocket: cmp.Or(opts.AdminSocket, DefaultAdminSocket)}
	if d.Listen, err = parseListen(opts.Listen, DefaultListen); err != nil {
		return nil, err
	}
	if opts.Certificate != "" || opts.Key != "" {
		if d.Plain, d.Certificate, err = opts.plain(d.Listen, cfg.PublicURL); err != nil {
			return nil, err
		}
		if d.Listen, err = parseListen(opts.ListenTLS, DefaultListenTLS); err != nil {
			return nil, err
		}
		d.Secrets = true
	}
	if opts.Metrics != "" {
		metrics, err := parseListen(opts.Metrics, "0.0.0.0:9465")
		if err != nil {
			return nil, err
		}
		d.Metrics = &metrics
	}

	if !filepath.IsAbs(d.AdminSocket) || len(d.AdminSocket) > config.MaxSocketPath {
		return nil, fmt.Errorf("admin socket %q: give an absolute path of at most %d bytes", d.AdminSocket, config.MaxSocketPath)
	}

	replicas := cfg.Listen.Replicas
	grpcReplicas, httpReplicas := replicas.Listeners()
	if d.Authz, err = newClusters("tokengate", "h2", cfg.Listen.GRPC, grpcReplicas, replicas.Host, opts); err != nil {
		return nil, fmt.Errorf("listen.grpc: %w", err)
	}
	if d.Management, err = newClusters("tokengate-http", "http/1.1", cfg.Listen.HTTP, httpReplicas, replicas.Host, opts); err != nil {
		return nil, fmt.Errorf("listen.http: %w", err)
	}
	d.Replicas = replicas.Host != ""
	d.ManagementRoutes = managementRoutes(rules.ManagementPaths, d.Replicas)
	for _, c := range slices.Concat(d.Authz.Members, d.Management.Members) {
		d.Secrets = d.Secrets || c.CA != ""
	}
	if d.Upstream, err = upstreamEndpoint(cfg.Upstream.URL); err != nil {
		return nil, fmt.Errorf("upstream.url: %w", err)
	}
	return d, nil
}

func newBootstrapRules(cfg config.Config, p *product.Product) (*bootstrapRules, error) {
	headers := newUpstreamHeaders(cfg.Upstream)
	d := &bootstrapRules{
		TrustedHops:    cfg.ClientAddress.TrustedHops,
		StripHeaders:   slices.Clone(identityHeaders),
		StripPrefixes:  []string{"x-tokengate-", "x-envoy-"},
		CheckHeaders:   slices.Clone(authz.Headers),
		MutationRegex:  alternatives(headers.changed()...),
		MarkerHeader:   MarkerHeader,
		ClientIPHeader: authz.ClientIPHeader,
		ClientIP:       "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
		MaxHeaders:     maxRequestHeaders,
		DenialType:     authz.DenialType,
	}

	if p.API != "" {
		d.RestPath = cfg.Upstream.ContextPath + p.API
	}
	d.LoginExpression = p.Session.LoginExpression()
	if cfg.Envoy.Bypass {
		d.Bypass = newBypass(cfg)
	}
	if headers.pat && p.AnonymousHeader != "" {
		d.Anonymous = newAnonymousAnswer(p)
	}
	d.strip("proxy-authorization") // for a proxy, never for the upstream
	for _, name := range headers.reserved() {
		d.strip(name)
	}
	d.strip(authz.ClientIPHeader)

	switch ca := cfg.ClientAddress; { // config allows exactly one source; Source needs nothing here
	case ca.TrustedHops > 0:
		d.ClientIP = "%REQ(X-FORWARDED-FOR)%"
		d.CheckHeaders = append(d.CheckHeaders, authz.ForwardedHeader)
	case ca.Metadata != "":
		d.ClientMetadata = ca.Metadata
	case ca.Header != "":
		d.ClientHeader = strings.ToLower(ca.Header)
		d.strip(d.ClientHeader)
		d.CheckHeaders = append(d.CheckHeaders, d.ClientHeader)
	}

	for _, p := range config.ManagementPaths {
		d.ManagementPaths = append(d.ManagementPaths, cfg.Upstream.ContextPath+p)
	}
	d.HealthPath = cfg.Upstream.ContextPath + config.HealthPath
	d.LocalReplies = localReplies(p.Title, d.ManagementPaths, d.HealthPath, d.Anonymous)
	public, err := url.Parse(cfg.PublicURL)
	if err != nil {
		return nil, errors.New("publicURL is not a URL")
	}
	d.PublicHost = public.Host
	return d, nil
}

// strip adds a header that clients may not send, if it is new.
func (d *bootstrapRules) strip(name string) {
	if !slices.Contains(d.StripHeaders, name) {
		d.StripHeaders = append(d.StripHeaders, name)
	}
}

// endpoint is the address of a cluster's only server, a unix socket or host and port,
// and how Envoy speaks to it.
type endpoint struct {
	Pipe string
	Host string // an IP address, or a name to resolve
	Port uint16

	CA          string // file with the authorities of its certificate; empty is no TLS
	Certificate string // file with Envoy's own certificate; may be empty
	Protocol    string // of a listener of tokengate (RFC 7301)
}

// Name reports whether Host is a DNS name.
func (e endpoint) Name() bool {
	if e.Pipe != "" {
		return false
	}
	_, err := netip.ParseAddr(e.Host)
	return err != nil
}

// Discovery returns the cluster's envoy.config.cluster.v3.Cluster.DiscoveryType.
func (e endpoint) Discovery() string {
	if e.Name() {
		return "STRICT_DNS"
	}
	return "STATIC"
}

// listenEndpoint returns the endpoint of a listener of tokengate.
func listenEndpoint(l config.Listener, protocol string, opts BootstrapOptions) (endpoint, error) {
	switch l.Address.Network {
	case "unix":
		return endpoint{Pipe: l.Address.Address}, nil
	case "tcp":
		host, port, err := net.SplitHostPort(l.Address.Address)
		if err != nil {
			return endpoint{}, err
		}
		if l.TLS == (config.TLS{}) {
			return hostPort(host, port)
		}
		e, err := hostPort(cmp.Or(opts.Host, host), port)
		if err != nil {
			return endpoint{}, err
		}
		secrets, err := opts.secrets()
		switch {
		case err != nil:
			return endpoint{}, err
		case e.Host == "0.0.0.0" || e.Host == "::":
			return endpoint{}, fmt.Errorf("%s is every address: give the host at which Envoy reaches tokengate (--tokengate-host)",
				l.Address)
		case e.Name() && strings.ContainsAny(e.Host, ":/"):
			return endpoint{}, fmt.Errorf("host of tokengate %q: give a DNS name or an IP address, without a port", e.Host)
		default:
			e.Protocol, e.CA = protocol, filepath.Join(secrets, "tokengate-ca.yaml")
			if l.TLS.ClientCA != "" {
				e.Certificate = filepath.Join(secrets, "tokengate-client.yaml")
			}
			return e, nil
		}
	}
	return endpoint{}, fmt.Errorf("network is %q: give a unix:// or tcp:// address", l.Address.Network)
}

// upstreamEndpoint returns the endpoint of an http or https URL.
func upstreamEndpoint(raw string) (endpoint, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return endpoint{}, errors.New("is not a URL") // err would quote it, with any password
	}
	ports := map[string]string{"http": "80", "https": "443"}
	if ports[u.Scheme] == "" {
		return endpoint{}, fmt.Errorf("scheme is %q: give http or https", u.Scheme)
	}
	e, err := hostPort(u.Hostname(), cmp.Or(u.Port(), ports[u.Scheme]))
	if u.Scheme == "https" {
		e.CA = systemCA
	}
	return e, err
}

func hostPort(host, port string) (endpoint, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" {
		return endpoint{}, fmt.Errorf("%q: give a host and a port from 1 to 65535", net.JoinHostPort(host, port))
	}
	return endpoint{Host: host, Port: uint16(n)}, nil
}

// alternatives returns a regular expression that matches exactly these names.
func alternatives(names ...string) string {
	for i := range names {
		names[i] = regexp.QuoteMeta(names[i])
	}
	return strings.Join(names, "|")
}

// quote returns s as a JSON string, which is also a YAML string.
func quote(s string) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
