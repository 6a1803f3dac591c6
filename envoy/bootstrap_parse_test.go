package envoy_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
)

// bootstrapShape is a configuration of tokengate and Envoy.
type bootstrapShape struct {
	name   string
	config string // tokengate's file
	opts   envoy.BootstrapOptions
	golden bool
}

// bootstrapShapes cover every branch of the template.
var bootstrapShapes = []bootstrapShape{
	{name: "default", config: "publicURL: https://jira.example.com", golden: true},
	{
		name: "context-path",
		config: `
publicURL: https://example.com/jira
listen:
  grpc: {address: "tcp://0.0.0.0:9001", tls: {certificate: /tls/tls.crt, key: /tls/tls.key, clientCA: /tls/ca.crt}}
  http: "tcp://[::1]:9002"
upstream: {url: "https://jira.internal", contextPath: /jira, identity: {header: Remote-User-2}}
clientAddress: {trustedHops: 1}
`,
		opts:   envoy.BootstrapOptions{Listen: "[::]:8443", AdminSocket: "/tmp/envoy/admin.sock", Host: "tokengate.jira.svc"},
		golden: true,
	},
	{
		name: "client-header",
		config: `
publicURL: https://jira.example.com
clientAddress: {header: X-Real-IP}
`,
	},
	{
		name: "bypass",
		config: `
publicURL: https://jira.example.com/jira
upstream: {contextPath: /jira, identity: {header: X-` + strings.Repeat("y", 38) + `}}
tokens: {queryParameter: ` + strings.Repeat("a.", 32) + `}
envoy: {bypass: true}
`,
	},
	{
		name: "envoys-own-client-header",
		config: `
publicURL: https://jira.example.com
clientAddress: {header: x-envoy-external-address}
`,
	},
	{
		name: "source-address",
		config: `
publicURL: https://jira.example.com
listen: {grpc: "tcp://localhost:9001", http: "tcp://localhost:9002"}
upstream: {url: "http://jira.internal:8080"}
clientAddress: {source: true}
`,
		opts: envoy.BootstrapOptions{Listen: "127.0.0.1:0", Metrics: "[::]:9465"},
	},
	{
		name: "tls-without-client-certificate",
		config: `
publicURL: https://jira.example.com
listen: {http: {address: "tcp://127.0.0.1:9002", tls: {certificate: /tls/tls.crt, key: /tls/tls.key}}}
`,
		opts: envoy.BootstrapOptions{Secrets: "/etc/secrets"},
	},
	{
		name: "replicas",
		config: `
publicURL: https://jira.example.com
store: {etcd: {endpoints: ['https://etcd:2379']}}
clientAddress: {metadata: x-client-ip}
listen:
  replicas: {grpc: "tcp://0.0.0.0:9001", http: "tcp://0.0.0.0:9002", host: tokengate-replicas, tls: {certificate: /tls/tls.crt, key: /tls/tls.key, ca: /tls/ca.crt}}
`,
	},
	{
		name:   "tls",
		config: "publicURL: https://jira.example.com",
		opts:   envoy.BootstrapOptions{Certificate: "/tls/tls.crt", Key: "/tls/tls.key", ListenTLS: "[::]:8443"},
	},
	{
		name: "tls-by-address",
		config: `
publicURL: https://jira.example.com
upstream: {url: "https://[2001:db8::1]:8443"}
clientAddress: {trustedHops: 2}
`,
	},
}

func (s bootstrapShape) parts(t *testing.T) (config.Config, envoy.BootstrapOptions) {
	t.Helper()
	c, err := config.Parse(s.name, []byte(s.config))
	if err != nil {
		t.Fatal(err)
	}
	return c, s.opts
}

// generateBootstrap returns the generated configuration.
func generateBootstrap(t *testing.T, c config.Config, opts envoy.BootstrapOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := envoy.Bootstrap(&b, c, opts); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// eachBootstrap runs a test on the parsed configuration of every shape.
func eachBootstrap(t *testing.T, test func(t *testing.T, c config.Config, p parsedBootstrap)) {
	for _, s := range bootstrapShapes {
		t.Run(s.name, func(t *testing.T) {
			c, opts := s.parts(t)
			test(t, c, parseBootstrap(t, generateBootstrap(t, c, opts)))
		})
	}
}

// parsedBootstrap is a bootstrap in Envoy's types.
type parsedBootstrap struct {
	bootstrap *bootstrapv3.Bootstrap
	hcm       *hcmv3.HttpConnectionManager
	authz     *authzv3.ExtAuthz
	routes    []*routev3.Route
	clusters  map[string]*clusterv3.Cluster
}

// parseBootstrap fails the test on unknown keys, wrong types and violated
// constraints. The listener of Envoy's metrics and its cluster are left out:
// TestEnvoyShowsItsMetrics tries them.
func parseBootstrap(t *testing.T, text []byte) parsedBootstrap {
	t.Helper()
	var tree any
	if err := yaml.UnmarshalWithOptions(text, &tree, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	p := parsedBootstrap{bootstrap: new(bootstrapv3.Bootstrap), clusters: make(map[string]*clusterv3.Cluster)}
	if err := protojson.Unmarshal(j, p.bootstrap); err != nil {
		t.Fatal(err)
	}
	if err := p.bootstrap.ValidateAll(); err != nil {
		t.Fatal(err)
	}
	listeners := p.bootstrap.GetStaticResources().GetListeners()
	listeners = slices.DeleteFunc(listeners, func(l *listenerv3.Listener) bool { return l.GetName() == "metrics" })
	if len(listeners) == 2 && listeners[0].GetName() == "http" {
		redirect := unpackAny(t, listeners[0].GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), new(hcmv3.HttpConnectionManager))
		for _, h := range redirect.GetRouteConfig().GetVirtualHosts() {
			for _, r := range h.GetRoutes() {
				if r.GetRedirect() == nil {
					t.Errorf("the plain listener has the route %v", r)
				}
			}
		}
		if listeners[1].GetFilterChains()[0].GetTransportSocket() == nil {
			t.Error("the other listener has no TLS")
		}
		listeners = listeners[1:]
	}
	if len(listeners) != 1 || len(listeners[0].GetFilterChains()) != 1 || len(listeners[0].GetFilterChains()[0].GetFilters()) != 1 {
		t.Fatal("want one listener with one chain of one filter")
	}
	p.hcm = unpackAny(t, listeners[0].GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), new(hcmv3.HttpConnectionManager))
	for _, f := range p.hcm.GetHttpFilters() {
		if f.GetName() == "envoy.filters.http.ext_authz" {
			p.authz = unpackAny(t, f.GetTypedConfig(), new(authzv3.ExtAuthz))
		}
	}
	if p.authz == nil {
		t.Fatal("no ext_authz filter")
	}
	hosts := p.hcm.GetRouteConfig().GetVirtualHosts()
	if len(hosts) != 1 || !slices.Equal(hosts[0].GetDomains(), []string{"*"}) {
		t.Fatal("want one virtual host for all domains")
	}
	p.routes = hosts[0].GetRoutes()
	for _, c := range p.bootstrap.GetStaticResources().GetClusters() {
		if c.GetName() != "envoy-admin" {
			p.clusters[c.GetName()] = c
		}
	}
	return p
}

func unpackAny[M interface {
	proto.Message
	ValidateAll() error
}](t *testing.T, a *anypb.Any, into M) M {
	t.Helper()
	if err := a.UnmarshalTo(into); err != nil {
		t.Fatal(err)
	}
	if err := into.ValidateAll(); err != nil {
		t.Fatal(err)
	}
	return into
}

// bootstrapCA is the file of CA certificates in a generated configuration. Tests
// replace it.
const bootstrapCA = "/etc/ssl/certs/ca-certificates.crt"
