package envoy_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

var updateGolden = flag.Bool("update", false, "rewrite the golden files")

func TestBootstrapGolden(t *testing.T) {
	for _, s := range bootstrapShapes {
		if !s.golden {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			c, opts := s.parts(t)
			got := generateBootstrap(t, c, opts)
			file := filepath.Join("testdata", "bootstrap-"+s.name+".yaml")
			if *updateGolden {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-file +generated; -update rewrites it):\n%s", file, diff)
			}
		})
	}
}

// Envoy accepts each configuration without warnings.
func TestBootstrapValidates(t *testing.T) {
	t.Parallel()
	for _, s := range bootstrapShapes {
		t.Run(s.name, func(t *testing.T) {
			c, opts := s.parts(t)
			text := generateBootstrap(t, c, opts)
			dir := t.TempDir()
			envoytest.NewAuthority(t).Write(dir, "localhost")
			envoytest.Secrets(t, "README.md", dir, dir)
			text = bytes.ReplaceAll(text, []byte(bootstrapCA), []byte(dir+"/ca.crt"))
			text = regexp.MustCompile(`"/etc/[a-z]+/(\w+-\w+\.yaml)"`).ReplaceAll(text, []byte(dir+"/$1"))
			secrets, err := envoy.Secrets(c, opts)
			if err != nil {
				t.Fatal(err)
			}
			for name, content := range secrets {
				content = bytes.ReplaceAll(content, []byte("/tls/"), []byte(dir+"/"))
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for line := range strings.Lines(envoytest.Validate(t, text)) {
				if strings.Contains(line, "[warning]") || strings.Contains(strings.ToLower(line), "deprecated") {
					t.Error(line)
				}
			}
		})
	}
}

func TestBootstrapSendsTheHeadersThatAreRead(t *testing.T) {
	eachBootstrap(t, func(t *testing.T, c config.Config, p parsedBootstrap) {
		want := slices.Clone(authz.Headers)
		if h := c.ClientAddress.Header; h != "" {
			want = append(want, strings.ToLower(h))
		}
		if c.ClientAddress.TrustedHops > 0 {
			want = append(want, "x-forwarded-for")
		}
		var got []string
		for _, m := range p.authz.GetAllowedHeaders().GetPatterns() {
			if m.GetExact() == "" || m.GetIgnoreCase() {
				t.Errorf("pattern %v is not one exact name", m)
			}
			got = append(got, m.GetExact())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("allowed_headers (-want +got):\n%s", diff)
		}
		if slices.Contains(got, "cookie") || p.authz.GetWithRequestBody() != nil || p.authz.GetIncludePeerCertificate() {
			t.Error("tokengate gets more than it reads")
		}
	})
}

func TestBootstrapMutationRules(t *testing.T) {
	eachBootstrap(t, func(t *testing.T, c config.Config, p parsedBootstrap) {
		rules := p.authz.GetDecoderHeaderMutationRules()
		if !rules.GetDisallowAll().GetValue() || !rules.GetDisallowIsError().GetValue() || !p.authz.GetValidateMutations() {
			t.Errorf("other changes are not refused: %v", rules)
		}
		re := regexp.MustCompile("^(?:" + rules.GetAllowExpression().GetRegex() + ")$") // Envoy matches the whole name
		identity := strings.ToLower(c.Upstream.Identity.Header)
		for name, want := range map[string]bool{
			identity: true, envoy.MarkerHeader: true, "authorization": true, "cookie": true, ":path": true,
			"": false, identity + "x": false, "x" + identity: false, authz.ClientIPHeader: false, "host": false,
			":method": false, ":authority": false, "set-cookie": false, "proxy-authorization": false, "x-envoy-external-address": false,
		} {
			if got := re.MatchString(name); got != want {
				t.Errorf("header %q may be changed: %v, want %v", name, got, want)
			}
		}
		if n := strings.Count(rules.GetAllowExpression().GetRegex(), "|"); n != 4 {
			t.Errorf("%q names %d headers, want 5", rules.GetAllowExpression().GetRegex(), n+1)
		}
	})
}

func TestBootstrapFailsClosed(t *testing.T) {
	eachBootstrap(t, func(t *testing.T, c config.Config, p parsedBootstrap) {
		a := p.authz
		if a.GetFailureModeAllow() || a.GetShadowMode() || a.GetFilterEnabled() != nil || a.GetFilterEnabledMetadata() != nil {
			t.Error("ext_authz can be bypassed")
		}
		if got := a.GetStatusOnError().GetCode(); got != 503 {
			t.Errorf("status_on_error is %d", got)
		}
		if !a.GetDenyAtDisable().GetDefaultValue().GetValue() {
			t.Error("deny_at_disable is off")
		}
		if !a.GetClearRouteCache() || len(a.GetClearRouteCacheHeaders()) != 0 {
			t.Error("the marker route is not chosen after the answer")
		}
		if ingest := a.GetEnableDynamicMetadataIngestion(); ingest == nil || !ingest.GetValue() {
			t.Error("the access log gets no metadata")
		}
		service := a.GetGrpcService()
		if got := service.GetTimeout().AsDuration(); got != 2*time.Second {
			t.Errorf("timeout is %v", got)
		}
		if got := service.GetEnvoyGrpc().GetClusterName(); got != "tokengate" {
			t.Errorf("asks cluster %q", got)
		}
		if service.GetRetryPolicy().GetNumRetries().GetValue() < 3 {
			t.Error("there are too few retries for a restart")
		}
		want := map[string]string{}
		if key := c.ClientAddress.Metadata; key != "" {
			want[key] = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
		}
		replicas := c.Listen.Replicas != (config.Replicas{})
		if replicas {
			want["x-envoy-upstream-rq-per-try-timeout-ms"] = "500"
		}
		got := map[string]string{}
		for _, h := range service.GetInitialMetadata() {
			got[h.GetKey()] = h.GetValue()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("initial_metadata (-want +got):\n%s", diff)
		}

		var names []string
		for _, f := range p.hcm.GetHttpFilters() {
			names = append(names, f.GetName())
			if f.GetDisabled() || f.GetIsOptional() {
				t.Errorf("filter %s is disabled or optional", f.GetName())
			}
			switch f.GetName() {
			case "envoy.filters.http.router":
				unpackAny(t, f.GetTypedConfig(), new(routerv3.Router))
			case "envoy.filters.http.health_check": // before ext_authz: one path, not forwarded
				h := unpackAny(t, f.GetTypedConfig(), new(healthv3.HealthCheck))
				if path := h.GetHeaders(); h.GetPassThroughMode().GetValue() != replicas || len(path) != 1 || path[0].GetName() != ":path" ||
					path[0].GetStringMatch().GetExact() != c.Upstream.ContextPath+"/plugins/servlet/api-tokens/healthz" {
					t.Errorf("the health check is %v", h)
				}
			case "envoy.filters.http.header_mutation":
				m := unpackAny(t, f.GetTypedConfig(), new(headerv3.HeaderMutation)).GetMutations().GetRequestMutations()
				if len(m) != 1 || m[0].GetAppend().GetHeader().GetKey() != strings.ToLower(c.ClientAddress.Header) ||
					m[0].GetAppend().GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
					t.Errorf("mutations are %v", m)
				}
			}
		}
		wantFilters := []string{"envoy.filters.http.health_check", "envoy.filters.http.ext_authz", "envoy.filters.http.router"}
		if c.ClientAddress.Header != "" {
			wantFilters = append([]string{"envoy.filters.http.header_mutation"}, wantFilters...)
		}
		if diff := cmp.Diff(wantFilters, names); diff != "" {
			t.Errorf("filters (-want +got):\n%s", diff)
		}
	})
}

func TestBootstrapStripsReservedHeaders(t *testing.T) {
	eachBootstrap(t, func(t *testing.T, c config.Config, p parsedBootstrap) {
		early := p.hcm.GetEarlyHeaderMutationExtensions()
		if len(early) != 1 {
			t.Fatalf("%d early mutations, want 1", len(early))
		}
		removed := func(name string) bool {
			for _, m := range unpackAny(t, early[0].GetTypedConfig(), new(earlyv3.HeaderMutation)).GetMutations() {
				prefix := m.GetRemoveOnMatch().GetKeyMatcher().GetPrefix()
				if m.GetRemove() == name || prefix != "" && strings.HasPrefix(name, prefix) {
					return true
				}
			}
			return false
		}
		for _, name := range []string{
			strings.ToLower(c.Upstream.Identity.Header),
			"x-forwarded-user", "remote-user", "x-remote-user",
			envoy.MarkerHeader, authz.ClientIPHeader, "x-tokengate-anything",
			"x-envoy-external-address", "x-envoy-original-path", "x-envoy-upstream-rq-timeout-ms", "x-envoy-internal",
		} {
			if !removed(name) {
				t.Errorf("clients may send %s", name)
			}
		}
		if h := strings.ToLower(c.ClientAddress.Header); h != "" && !removed(h) {
			t.Errorf("clients may send %s", h)
		}
		for _, name := range []string{"authorization", "cookie", "host", "x-forwarded-for", "user-agent"} {
			if removed(name) {
				t.Errorf("%s is removed", name)
			}
		}

		h := p.hcm
		if !h.GetUseRemoteAddress().GetValue() || h.GetInternalAddressConfig() != nil || len(h.GetOriginalIpDetectionExtensions()) != 0 {
			t.Error("the client's address can be chosen by the client")
		}
		if !h.GetNormalizePath().GetValue() || !h.GetMergeSlashes() || h.GetPathWithEscapedSlashesAction() != hcmv3.HttpConnectionManager_REJECT_REQUEST {
			t.Error("paths are not normalised")
		}
		if h.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() != corev3.HttpProtocolOptions_DROP_HEADER {
			t.Error("headers with underscores get through")
		}
	})
}

// The order is management paths, marker, login, bypass, all others. No route has a time
// limit, retries or upgrades, and only the bypass, which needs the absence of Authorization, has a
// way around ext_authz.
func TestBootstrapRoutes(t *testing.T) {
	eachBootstrap(t, func(t *testing.T, c config.Config, p parsedBootstrap) {
		var want, got [][]string
		replicas := c.Listen.Replicas != (config.Replicas{})
		if replicas {
			want = append(want, []string{"", "health", ""})
		}
		for _, path := range config.ManagementPaths {
			if replicas {
				want = append(want, []string{"tokengate-http", "=" + c.Upstream.ContextPath + path, ":method GET|HEAD connect-failure,reset"})
			}
			line := []string{"tokengate-http", "=" + c.Upstream.ContextPath + path, ""}
			if replicas {
				line[2] = " connect-failure,reset-before-request"
			}
			want = append(want, line)
		}
		want = append(want, []string{"jira", "/", envoy.MarkerHeader}, []string{"jira", "~" + jira.Product.Session.LoginExpression(), ""})
		if c.Envoy.Bypass {
			want = append(want, []string{"jira", "/", "bypass"})
		}
		want = append(want, []string{"jira", "/", ""})

		for _, r := range p.routes {
			m, a := r.GetMatch(), r.GetRoute()
			if m.GetPath() == c.Upstream.ContextPath+config.HealthPath && r.GetDirectResponse().GetStatus() == 200 {
				got = append(got, []string{"", "health", ""})
				continue
			}
			line := []string{a.GetCluster(), m.GetPrefix(), ""}
			if m.GetPathSeparatedPrefix() != "" {
				line[1] = "=" + m.GetPathSeparatedPrefix()
			}
			if m.GetSafeRegex() != nil {
				line[1] = "~" + m.GetSafeRegex().GetRegex()
			}
			headers := m.GetHeaders()
			bypass := slices.ContainsFunc(headers, func(h *routev3.HeaderMatcher) bool {
				_, absence := h.GetHeaderMatchSpecifier().(*routev3.HeaderMatcher_PresentMatch)
				return h.GetName() == "authorization" && absence && !h.GetPresentMatch() && !h.GetInvertMatch()
			})
			if bypass {
				line[2], headers = "bypass", nil // TestBypassChangesNothing is about the others
			}
			retry := a.GetRetryPolicy()
			if replicas && a.GetCluster() == "tokengate-http" {
				for _, h := range headers {
					line[2] += h.GetName() + " " + h.GetStringMatch().GetSafeRegex().GetRegex()
				}
				line[2] += " " + retry.GetRetryOn()
				headers, retry = nil, nil
			}
			for _, h := range headers {
				if !h.GetPresentMatch() || h.GetInvertMatch() {
					t.Errorf("route matches %v", h)
				}
				line[2] += h.GetName()
			}
			got = append(got, line)

			if a.GetTimeout() == nil || a.GetTimeout().AsDuration() != 0 {
				t.Errorf("route %v has the timeout %v", line, a.GetTimeout().AsDuration())
			}
			if idle := a.GetIdleTimeout().AsDuration(); idle < 30*time.Minute {
				t.Errorf("route %v has the idle timeout %v", line, idle)
			}
			if a.GetMaxStreamDuration() != nil || retry != nil || a.GetUpgradeConfigs() != nil || a.GetInternalRedirectPolicy() != nil {
				t.Errorf("route %v: %v", line, a)
			}
			if len(r.GetTypedPerFilterConfig()) != 0 && m.GetSafeRegex() == nil && !bypass {
				t.Errorf("route %v overrides filters", line)
			}

			add, removeReq, removeResp := r.GetRequestHeadersToAdd(), r.GetRequestHeadersToRemove(), r.GetResponseHeadersToRemove()
			address := "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
			if c.ClientAddress.TrustedHops > 0 {
				address = "%REQ(X-FORWARDED-FOR)%"
			}
			switch {
			case line[0] == "tokengate-http":
				if len(add) != 1 || add[0].GetHeader().GetKey() != authz.ClientIPHeader ||
					add[0].GetHeader().GetValue() != address ||
					add[0].GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
					t.Errorf("route %v adds %v", line, add)
				}
				if len(removeReq)+len(removeResp) != 0 {
					t.Errorf("route %v removes %v %v", line, removeReq, removeResp)
				}
				// A server asks Jira about a password for up to 23s: a second one that asks would
				// count a wrong password twice.
				if p := a.GetRetryPolicy(); p.GetPerTryTimeout() != nil || p.GetPerTryIdleTimeout() != nil && p.GetPerTryIdleTimeout().AsDuration() < 25*time.Second {
					t.Errorf("route %v is repeated while a server may still answer: %v", line, p)
				}
			case line[2] == envoy.MarkerHeader:
				if len(add) != 0 || !slices.Equal(removeReq, []string{envoy.MarkerHeader}) || !slices.Equal(removeResp, []string{"set-cookie"}) {
					t.Errorf("route %v: adds %v, removes %v %v", line, add, removeReq, removeResp)
				}
			default:
				if len(add)+len(removeReq)+len(removeResp)+len(r.GetResponseHeadersToAdd()) != 0 {
					t.Errorf("route %v changes headers", line)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("routes (-want +got):\n%s", diff)
		}

		h := p.hcm
		if h.GetRequestTimeout().AsDuration() != 0 || h.GetCommonHttpProtocolOptions().GetMaxStreamDuration() != nil ||
			h.GetCommonHttpProtocolOptions().GetMaxConnectionDuration() != nil || h.GetStreamIdleTimeout().AsDuration() < 30*time.Minute {
			t.Error("long requests are aborted")
		}
		if len(h.GetUpgradeConfigs()) != 0 || h.GetHttp2ProtocolOptions().GetAllowConnect() {
			t.Error("upgrades or CONNECT are on")
		}
		host := h.GetRouteConfig().GetVirtualHosts()[0]
		if len(host.GetTypedPerFilterConfig())+len(h.GetRouteConfig().GetTypedPerFilterConfig()) != 0 || host.GetRetryPolicy() != nil {
			t.Error("the virtual host overrides filters or retries")
		}
	})
}

func TestBootstrapClusters(t *testing.T) {
	eachBootstrap(t, func(t *testing.T, c config.Config, p parsedBootstrap) {
		want, own := 3, ""
		if c.Listen.Replicas != (config.Replicas{}) {
			want, own = 7, "-own"
		}
		if len(p.clusters) != want {
			t.Errorf("%d clusters, want %d", len(p.clusters), want)
		}
		for name, cluster := range p.clusters {
			if cluster.GetClusterType() != nil { // of other clusters
				continue
			}
			ext := cluster.GetTypedExtensionProtocolOptions()["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
			h2 := unpackAny(t, ext, new(upstreamhttpv3.HttpProtocolOptions)).GetExplicitHttpConfig().GetHttp2ProtocolOptions() != nil
			if h2 != slices.Contains([]string{"tokengate", "tokengate-own", "tokengate-replicas"}, name) {
				t.Errorf("cluster %s speaks HTTP/2: %v", name, h2)
			}
		}

		gate := p.clusters["tokengate"+own]
		limits := gate.GetCircuitBreakers().GetThresholds()
		if len(limits) != 1 || limits[0].GetMaxRetries().GetValue() < 10000 || limits[0].GetMaxRequests().GetValue() < 10000 || limits[0].GetMaxPendingRequests().GetValue() < 10000 {
			t.Errorf("limits are %v", limits)
		}
		checks := gate.GetHealthChecks()
		if len(checks) != 1 || checks[0].GetGrpcHealthCheck() == nil || checks[0].GetNoTrafficInterval().AsDuration() != time.Second || gate.GetCommonLbConfig() != nil {
			t.Errorf("health checks are %v, balancing is %v", checks, gate.GetCommonLbConfig())
		}

		listeners := map[string]config.Listener{"tokengate" + own: c.Listen.GRPC, "tokengate-http" + own: c.Listen.HTTP}
		if own != "" {
			listeners["tokengate-replicas"], listeners["tokengate-http-replicas"] = c.Listen.Replicas.Listeners()
		}
		for name, listener := range listeners {
			socket := p.clusters[name].GetTransportSocket()
			if listener.TLS == (config.TLS{}) {
				if socket != nil {
					t.Errorf("cluster %s speaks TLS", name)
				}
				continue
			}
			tls := unpackAny(t, socket.GetTypedConfig(), new(tlsv3.UpstreamTlsContext)).GetCommonTlsContext()
			validation := tls.GetCombinedValidationContext()
			if validation.GetValidationContextSdsSecretConfig().GetSdsConfig().GetPathConfigSource().GetPath() == "" ||
				len(validation.GetDefaultValidationContext().GetMatchTypedSubjectAltNames()) != 1 {
				t.Errorf("the certificate of %s is not verified: %v", name, tls)
			}
			if tls.GetTlsParams().GetTlsMinimumProtocolVersion() != tlsv3.TlsParameters_TLSv1_3 {
				t.Errorf("cluster %s speaks %v", name, tls.GetTlsParams())
			}
			if own := len(tls.GetTlsCertificateSdsSecretConfigs()) == 1; own != (listener.TLS.ClientCA != "") {
				t.Errorf("cluster %s has a client certificate: %v", name, own)
			}
		}

		jira := p.clusters["jira"]
		if https := strings.HasPrefix(c.Upstream.URL, "https:"); https != (jira.GetTransportSocket() != nil) {
			t.Fatalf("cluster jira speaks TLS: %v", !https)
		} else if https {
			tls := unpackAny(t, jira.GetTransportSocket().GetTypedConfig(), new(tlsv3.UpstreamTlsContext))
			v := tls.GetCommonTlsContext().GetValidationContext()
			if v.GetTrustedCa().GetFilename() == "" || len(v.GetMatchTypedSubjectAltNames()) != 1 {
				t.Errorf("certificate is not verified: %v", v)
			}
		}
		if adm := p.bootstrap.GetAdmin().GetAddress().GetPipe(); adm.GetPath() == "" || adm.GetMode() != 0o600 {
			t.Errorf("the administration address is %v", p.bootstrap.GetAdmin().GetAddress())
		}
	})
}

func TestBootstrapRefuses(t *testing.T) {
	long := "/" + strings.Repeat("x", 107)
	withTLS := func(c *config.Config) {
		c.Listen.GRPC = config.Listener{Address: config.Address{Network: "tcp", Address: "[::]:9001"}, TLS: config.TLS{Certificate: "/c", Key: "/k"}}
	}
	for name, tc := range map[string]struct {
		config func(*config.Config)
		opts   envoy.BootstrapOptions
		want   string
	}{
		"listener without port": {opts: envoy.BootstrapOptions{Listen: "0.0.0.0"}, want: "listen on"},
		"listener by name":      {opts: envoy.BootstrapOptions{Listen: "localhost:80"}, want: "listen on"},
		"metrics by name":       {opts: envoy.BootstrapOptions{Metrics: "localhost:9465"}, want: "localhost:9465"},
		"relative admin socket": {opts: envoy.BootstrapOptions{AdminSocket: "admin.sock"}, want: "admin socket"},
		"long admin socket":     {opts: envoy.BootstrapOptions{AdminSocket: long}, want: "107"},
		"upstream scheme":       {config: func(c *config.Config) { c.Upstream.URL = "ftp://jira" }, want: "upstream.url"},
		"upstream URL":          {config: func(c *config.Config) { c.Upstream.URL = "http://u:hunter2@jira\x00" }, want: "upstream.url"},
		"upstream port":         {config: func(c *config.Config) { c.Upstream.URL = "http://jira:70000" }, want: "upstream.url"},
		"no grpc address":       {config: func(c *config.Config) { c.Listen.GRPC.Address = config.Address{} }, want: "listen.grpc"},
		"http port 0":           {config: func(c *config.Config) { c.Listen.HTTP.Address = config.Address{Network: "tcp", Address: "127.0.0.1:0"} }, want: "listen.http"},
		"grpc without port":     {config: func(c *config.Config) { c.Listen.GRPC.Address = config.Address{Network: "tcp", Address: "127.0.0.1"} }, want: "listen.grpc"},
		"every address":         {config: withTLS, want: "--tokengate-host"},
		"host with port":        {config: withTLS, opts: envoy.BootstrapOptions{Host: "tokengate:9001"}, want: "without a port"},
		"relative secrets":      {config: withTLS, opts: envoy.BootstrapOptions{Host: "tokengate", Secrets: "etc"}, want: "secrets"},
		"unknown networking":    {config: func(c *config.Config) { c.Listen.GRPC.Address = config.Address{Network: "udp", Address: "127.0.0.1:1"} }, want: "udp"},
	} {
		t.Run(name, func(t *testing.T) {
			c := config.Default()
			if tc.config != nil {
				tc.config(&c)
			}
			var b bytes.Buffer
			err := envoy.Bootstrap(&b, c, tc.opts)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want one with %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error shows a password: %v", err)
			}
			if b.Len() != 0 {
				t.Errorf("wrote %d bytes", b.Len())
			}
		})
	}
}

// Values are quoted: they cannot add YAML.
func TestBootstrapQuotes(t *testing.T) {
	const hostile = "/a\"\\ #: {x}\n- \u2028'é%"
	c := config.Default()
	c.Listen.GRPC.Address.Address = hostile
	p := parseBootstrap(t, generateBootstrap(t, c, envoy.BootstrapOptions{AdminSocket: hostile}))
	pipe := p.clusters["tokengate"].GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress().GetPipe()
	if pipe.GetPath() != hostile || p.bootstrap.GetAdmin().GetAddress().GetPipe().GetPath() != hostile {
		t.Errorf("paths are %q and %q", pipe.GetPath(), p.bootstrap.GetAdmin().GetAddress().GetPipe().GetPath())
	}
}
