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
)

// Where Envoy listens unless BootstrapOptions say otherwise.
const (
	DefaultListen      = "0.0.0.0:10000"
	DefaultAdminSocket = "/run/envoy/admin.sock"
)

// BootstrapOptions are what Envoy's configuration needs to know and tokengate's
// does not hold. The zero value listens on the defaults.
type BootstrapOptions struct {
	// Listen is the IP address and port that clients connect to, such as
	// 0.0.0.0:10000 or [::]:10000. Empty is DefaultListen. Port 0 lets the
	// system choose.
	Listen string

	// AdminSocket is the absolute path of Envoy's administration socket, at
	// most 107 bytes. Empty is DefaultAdminSocket.
	AdminSocket string
}

// What the trusted authorities' file is called on Debian, on Alpine and in
// Envoy's own image. Envoy has no working name for "the system's": the field
// CertificateValidationContext.system_root_certs is for gRPC only.
const systemCA = "/etc/ssl/certs/ca-certificates.crt"

// healthPath is where load balancers ask, below the context path, whether Envoy
// and tokengate can answer.
const healthPath = "/plugins/servlet/api-tokens/healthz"

// maxRequestHeaders is how many headers a request may have, including those that
// Envoy and tokengate add. Where these exceed the limit, Envoy answers 500, so it is
// far above what clients send: Tomcat's own limit (maxHeaderCount) is 100.
const maxRequestHeaders = 1000

// Headers by which Jira authenticators other than the configured one name the
// user. A client never gets to send them.
var identityHeaders = []string{"x-forwarded-user", "remote-user", "x-remote-user"}

//go:embed bootstrap.yaml.tmpl
var bootstrapText string

var bootstrapTemplate = template.Must(template.New("bootstrap").
	Funcs(template.FuncMap{"quote": quote}).
	Option("missingkey=error").
	Parse(bootstrapText))

// bootstrapData is what the template reads.
type bootstrapData struct {
	Listen      endpoint
	ListenBoth  bool // the IPv6 wildcard
	AdminSocket string
	TrustedHops int

	StripHeaders, StripPrefixes []string
	CheckHeaders                []string
	MutationRegex               string
	ClientMetadata              string // at most one of these two
	ClientHeader                string
	MarkerHeader                string
	ClientIPHeader, ClientIP    string // the header of the management routes, and Envoy's format of its value
	ManagementPaths             []string
	SessionLoginPath            string
	MaxHeaders                  int
	LocalReplies                []localReply
	RestPath, DenialType        string // whom local replies address
	HealthPath                  string // answered by Envoy itself
	PublicHost                  string // host of publicURL, for HTTP/1.0 requests without one; may be empty

	Authz, Management, Upstream endpoint
	UpstreamTLS                 bool
	SystemCA                    string
}

// Bootstrap writes an Envoy 1.40 bootstrap, YAML with comments, that enforces
// cfg: every request is asked about over ext_authz, allowed ones go to the
// upstream, and the management paths to tokengate. cfg must be valid. On an
// error nothing has been written, unless w itself failed.
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
	identity := strings.ToLower(cfg.Upstream.Identity.Header)
	if identity == "" {
		return nil, errors.New("upstream.identity.header is empty")
	}
	d := &bootstrapData{
		AdminSocket:    cmp.Or(opts.AdminSocket, DefaultAdminSocket),
		TrustedHops:    cfg.ClientAddress.TrustedHops,
		StripHeaders:   slices.Clone(identityHeaders),
		StripPrefixes:  []string{"x-tokengate-", "x-envoy-"},
		CheckHeaders:   slices.Clone(authz.Headers),
		MutationRegex:  alternatives(identity, MarkerHeader, "authorization", "cookie", ":path"),
		MarkerHeader:   MarkerHeader,
		ClientIPHeader: ClientIPHeader,
		ClientIP:       "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
		SystemCA:       systemCA,
		MaxHeaders:     maxRequestHeaders,
		RestPath:       cfg.Upstream.ContextPath + "/rest",
		DenialType:     authz.DenialType,
	}

	d.SessionLoginPath = authz.SessionLoginPath
	d.strip("proxy-authorization") // for a proxy, never for Jira
	d.strip(identity)
	d.strip(MarkerHeader)
	d.strip(ClientIPHeader)

	switch ca := cfg.ClientAddress; {
	case ca.TrustedHops > 0 && ca.Metadata == "" && !ca.Source && ca.Header == "":
		d.ClientIP = "%REQ(X-FORWARDED-FOR)%"
		d.CheckHeaders = append(d.CheckHeaders, authz.ForwardedHeader)
	case ca.TrustedHops != 0:
		return nil, errors.New("clientAddress.trustedHops must be 0 or more, and stands alone: leave out metadata, source and header")
	case ca.Metadata != "" && !ca.Source && ca.Header == "":
		d.ClientMetadata = ca.Metadata
	case ca.Header != "" && !ca.Source && ca.Metadata == "":
		d.ClientHeader = strings.ToLower(ca.Header)
		d.strip(d.ClientHeader)
		d.CheckHeaders = append(d.CheckHeaders, d.ClientHeader)
	case ca.Source && ca.Metadata == "" && ca.Header == "":
	default:
		return nil, errors.New("clientAddress needs exactly one of trustedHops, metadata, source and header")
	}

	for _, p := range config.ManagementPaths {
		d.ManagementPaths = append(d.ManagementPaths, cfg.Upstream.ContextPath+p)
	}
	d.HealthPath = cfg.Upstream.ContextPath + healthPath
	d.LocalReplies = localReplies(d.ManagementPaths, d.HealthPath)
	public, err := url.Parse(cfg.PublicURL)
	if err != nil {
		return nil, errors.New("publicURL is no URL")
	}
	d.PublicHost = public.Host

	listen, err := netip.ParseAddrPort(cmp.Or(opts.Listen, DefaultListen))
	if err != nil {
		return nil, fmt.Errorf("listen on %q: give an IP address and a port, such as %s: %w", opts.Listen, DefaultListen, err)
	}
	d.Listen = endpoint{Host: listen.Addr().String(), Port: listen.Port()}
	d.ListenBoth = listen.Addr() == netip.IPv6Unspecified()

	if !filepath.IsAbs(d.AdminSocket) || len(d.AdminSocket) > config.MaxSocketPath {
		return nil, fmt.Errorf("admin socket %q: give an absolute path of at most %d bytes", d.AdminSocket, config.MaxSocketPath)
	}

	if d.Authz, err = listenEndpoint(cfg.Listen.GRPC); err != nil {
		return nil, fmt.Errorf("listen.grpc: %w", err)
	}
	if d.Management, err = listenEndpoint(cfg.Listen.HTTP); err != nil {
		return nil, fmt.Errorf("listen.http: %w", err)
	}
	if d.Upstream, d.UpstreamTLS, err = upstreamEndpoint(cfg.Upstream.URL); err != nil {
		return nil, fmt.Errorf("upstream.url: %w", err)
	}
	return d, nil
}

// strip adds a header that clients may not send, once.
func (d *bootstrapData) strip(name string) {
	if !slices.Contains(d.StripHeaders, name) {
		d.StripHeaders = append(d.StripHeaders, name)
	}
}

// endpoint is where a cluster's one server is: a unix socket or host and port.
type endpoint struct {
	Pipe string
	Host string // an IP address, or a name to resolve
	Port uint16
}

// Name says that Host is to be resolved.
func (e endpoint) Name() bool {
	if e.Pipe != "" {
		return false
	}
	_, err := netip.ParseAddr(e.Host)
	return err != nil
}

// Discovery is the cluster's type: envoy.config.cluster.v3.Cluster.DiscoveryType.
func (e endpoint) Discovery() string {
	if e.Name() {
		return "STRICT_DNS"
	}
	return "STATIC"
}

// listenEndpoint is where Envoy reaches an address that tokengate listens on.
func listenEndpoint(a config.Address) (endpoint, error) {
	switch a.Network {
	case "unix":
		return endpoint{Pipe: a.Address}, nil
	case "tcp":
		host, port, err := net.SplitHostPort(a.Address)
		if err != nil {
			return endpoint{}, err
		}
		return hostPort(host, port)
	}
	return endpoint{}, fmt.Errorf("network is %q: give a unix:// or tcp:// address", a.Network)
}

// upstreamEndpoint is where an http or https URL leads, and whether by TLS.
func upstreamEndpoint(raw string) (e endpoint, tls bool, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return endpoint{}, false, errors.New("is no URL") // the error would repeat it
	}
	port := u.Port()
	switch {
	case u.Scheme == "https":
		tls = true
		port = cmp.Or(port, "443")
	case u.Scheme == "http":
		port = cmp.Or(port, "80")
	default:
		return endpoint{}, false, fmt.Errorf("scheme is %q: give http or https", u.Scheme)
	}
	e, err = hostPort(u.Hostname(), port)
	return e, tls, err
}

func hostPort(host, port string) (endpoint, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" {
		return endpoint{}, fmt.Errorf("%q: give a host and a port from 1 to 65535", net.JoinHostPort(host, port))
	}
	return endpoint{Host: host, Port: uint16(n)}, nil
}

// alternatives is a regular expression that matches exactly these names.
func alternatives(names ...string) string {
	for i := range names {
		names[i] = regexp.QuoteMeta(names[i])
	}
	return strings.Join(names, "|")
}

// quote renders s as a JSON string, which is a double-quoted string in YAML too.
func quote(s string) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
