package running_test

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/envoy/envoytest"
	"github.com/tokengate/tokengate/envoy/running"
)

// settings are tokengate's configurations that change what Envoy's has.
var settings = map[string]string{
	"default": "publicURL: https://jira.example.com",
	"everything": `
publicURL: https://jira.example.com/jira
upstream: {url: "http://jira.internal:8080", contextPath: /jira, identity: {pat: {sealKeys: [/seal/key]}}}
directory: {upstream: {credential: /jira/credential}}
clientAddress: {trustedHops: 2}
tokens: {queryParameter: access_token}
envoy: {bypass: true}
`,
	"client header": "publicURL: https://jira.example.com\nclientAddress: {header: X-Real-IP}\nupstream: {identity: {header: Remote-User-2}}\n",
	"source":        "publicURL: https://jira.example.com\nclientAddress: {source: true}\nenvoy: {bypass: true}\n",
	"replicas": `
publicURL: https://jira.example.com
listen: {replicas: {grpc: "tcp://0.0.0.0:9001", http: "tcp://0.0.0.0:9002", host: localhost, tls: {certificate: DIR/tls.crt, key: DIR/tls.key, ca: DIR/ca.crt}}}
store: {etcd: {endpoints: ["https://127.0.0.1:2379"]}}
clientAddress: {trustedHops: 1}
`,
	"TLS": `
publicURL: https://jira.example.com
listen: {grpc: {address: "tcp://0.0.0.0:9001", tls: {certificate: DIR/tls.crt, key: DIR/tls.key, clientCA: DIR/ca.crt}}, http: {address: "tcp://0.0.0.0:9002", tls: {certificate: DIR/tls.crt, key: DIR/tls.key, clientCA: DIR/ca.crt}}}
`,
}

// parse reads a configuration, with DIR for a directory with certificates.
func parse(t *testing.T, text string) config.Config {
	t.Helper()
	if strings.Contains(text, "DIR") {
		dir := envoytest.Dir(t)
		envoytest.NewAuthority(t).Write(dir, "localhost")
		text = strings.ReplaceAll(text, "DIR", dir)
	}
	c, err := config.Parse("tokengate.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// generate returns the text and what Generated makes of it.
func generate(t *testing.T, c config.Config) (text string, generated *running.Configuration, socket string) {
	t.Helper()
	socket = filepath.Join(envoytest.Dir(t), "e")
	options := envoy.BootstrapOptions{Listen: "127.0.0.1:0", AdminSocket: socket, Secrets: filepath.Dir(socket)}
	if tls := c.Listen.GRPC.TLS; tls != (config.TLS{}) { // of Envoy's own listener, too
		options.Host, options.ListenTLS, options.Certificate, options.Key = "localhost", "127.0.0.1:0", tls.Certificate, tls.Key
		envoytest.Secrets(t, "../README.md", options.Secrets, filepath.Dir(tls.Certificate))
	}
	secrets, err := envoy.Secrets(c, options)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range secrets {
		if err := os.WriteFile(filepath.Join(options.Secrets, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := envoy.Bootstrap(&b, c, options); err != nil {
		t.Fatal(err)
	}
	if generated, err = running.Generated(c, envoy.BootstrapOptions{Host: running.AnyHost}); err != nil {
		t.Fatal(err)
	}
	return b.String(), generated, socket
}

// run starts a real Envoy, compares and stops it.
func run(t *testing.T, text string, generated *running.Configuration, socket string) running.Comparison {
	t.Helper()
	e := envoytest.Start(t, []byte(text))
	c, err := running.Read(context.Background(), socket)
	if err != nil {
		t.Fatal(err)
	}
	e.Stop()
	if !strings.HasPrefix(c.Version, "1.") || c.LogLevel == "" {
		t.Errorf("version %q, log level %q", c.Version, c.LogLevel)
	}
	found, err := running.Compare(generated, c)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// read compares the file of an Envoy.
func read(t *testing.T, text string, generated *running.Configuration) running.Comparison {
	t.Helper()
	c, err := running.ParseBootstrap([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	found, err := running.Compare(generated, c)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A real Envoy with the generated configuration has no difference.
func TestGeneratedIsRight(t *testing.T) {
	t.Parallel()
	for name, text := range settings {
		t.Run(name, func(t *testing.T) {
			text, generated, socket := generate(t, parse(t, text))
			want := running.Comparison{Fingerprint: true, Problems: map[string]string{}}
			if diff := cmp.Diff(want, run(t, text, generated, socket)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// planted are mistakes in an Envoy's configuration, each with the only check that finds it. old is
// an expression.
var planted = []struct {
	name, settings, old, new, id string
}{
	{"identity header not removed", "default", `- remove: "x-forwarded-user"`, ``, "envoy-strip"},
	{"marker not removed", "default", `(?s)- remove: "x-tokengate-authenticated".*?prefix: "x-tokengate-"}}`, ``, "envoy-strip"},
	{"Envoy's headers not removed", "default", `- remove_on_match: {key_matcher: {prefix: "x-envoy-"}}`, ``, "envoy-strip"},
	{"client's address not removed", "client header", `- remove: "x-real-ip"`, ``, "envoy-strip"},
	{"underscores", "default", `headers_with_underscores_action: DROP_HEADER`, ``, "envoy-underscores"},
	{"passes without an answer", "default", `failure_mode_allow: false`, `failure_mode_allow: true`, "envoy-failure-mode"},
	{"can be disabled", "default", `deny_at_disable: .*`, ``, "envoy-disable"},
	{"another status", "default", `status_on_error: .*`, ``, "envoy-status-on-error"},
	{"no end", "default", `timeout: 2s`, `timeout: 0s`, "envoy-timeout"},
	{"default timeout", "default", `timeout: 2s`, ``, "envoy-timeout"},
	{"another metadata key", "default", `{key: "x-client-ip"`, `{key: "x-clientip"`, "envoy-client-address"},
	{"a header that is not set", "client header", `(?s)- name: envoy.filters.http.header_mutation.*?_ADD
`, "", "envoy-client-address"},
	{"one proxy too many", "default", `xff_num_trusted_hops: 0`, `xff_num_trusted_hops: 1`, "envoy-hops"},
	{"believes every proxy", "default", `use_remote_address: true`, `use_remote_address: false`, "envoy-hops"},
	{"internal addresses", "default", `use_remote_address: true`, "use_remote_address: true\n          internal_address_config: {}", "envoy-hops"},
	{"paths as they come", "default", `normalize_path: true`, ``, "envoy-paths"},
	{"escaped slashes", "default", `path_with_escaped_slashes_action: REJECT_REQUEST`, ``, "envoy-paths"},
	{"any change", "default", `disallow_is_error: true`, ``, "envoy-mutations"},
	{"a header that tokengate reads", "default", `- {exact: "authorization"}`, ``, "envoy-checked-headers"},
	{"the route stays", "default", `clear_route_cache: true`, ``, "envoy-route-cache"},
	{"no route to the API", "default", `(?s)- match: {path_separated_prefix: "/rest/api-tokens"}.*?_OR_ADD`, ``, "envoy-management-routes"},
	{"client's address kept", "everything", `append_action: OVERWRITE_IF_EXISTS_OR_ADD`, `append_action: APPEND_IF_EXISTS_OR_ADD`, "envoy-management-routes"},
	{"no marker route", "default", `(?s)- match:\n +prefix: "/"\n +headers:\n +- {name: "x-tokengate-authenticated".*?\[set-cookie\]`, ``, "envoy-marker-route"},
	{"marker route behind all", "default", `(?s)(- match:\n +prefix: "/"\n +headers:\n +- {name: "x-tokengate-authenticated".*?\[set-cookie\]\n)(.*?)(- match: {prefix: "/"}\n[^\n]*\n)`, "$2$3              $1", "envoy-route-order"},
	{"the API behind all", "default", `( +routes:\n)`, "$1              - {match: {prefix: \"/rest\"}, route: {cluster: jira}, response_headers_to_remove: [set-cookie]}\n", "envoy-route-order"},
	{"a session", "default", `response_headers_to_remove: \[set-cookie\]`, ``, "envoy-set-cookie"},
	{"bodies of logins", "default", `(?s)(- match: {safe_regex:[^\n]*\n[^\n]*\n) +typed_per_filter_config:.*?pack_as_bytes: true}\n`, "$1", "envoy-logins"},
	{"answers for nobody", "everything", `(?s) +- name: envoy.filters.http.custom_response.*?CustomResponse\n`, "", "envoy-custom-response"},
	{"a route without a check", "default", `(- match: {prefix: "/"}\n[^\n]*\n)`, "$1                typed_per_filter_config: {envoy.filters.http.ext_authz: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}\n", "envoy-ext-authz"},
	{"a route without a check in the old way", "source", `(- match: {prefix: "/"}\n[^\n]*\n)`, "$1                typed_per_filter_config: {envoy.filters.http.ext_authz: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true}}\n", "envoy-ext-authz"},
	{"no check", "default", `- name: envoy.filters.http.ext_authz\n`, "- name: envoy.filters.http.ext_authz\n            disabled: true\n", "envoy-ext-authz"},
	{"upgrades", "default", `(http_filters:)`, "upgrade_configs: [{upgrade_type: websocket}]\n          $1", "envoy-upgrades"},
	{"redirects", "default", `(- match: {prefix: "/"}\n +route: {cluster: jira)`, "$1, internal_redirect_policy: {}", "envoy-upgrades"},
	{"another cluster is asked", "default", `(envoy_grpc: \{cluster_name: tokengate), `, "$1-http, ", "envoy-ext-authz"},
	{"Google's client asks", "default", `envoy_grpc: \{cluster_name: tokengate, .*\}`, `google_grpc: {target_uri: "127.0.0.1:1", stat_prefix: x}`, "envoy-ext-authz"},
	{"tokengate at another socket", "default", `/run/tokengate/authz.sock`, `/tmp/authz.sock`, "envoy-ext-authz"},
	{"tokengate at another port", "TLS", `port_value: 9001`, `port_value: 9003`, "envoy-ext-authz"},
	{"replicas of others", "replicas", `(address: "localhost", port_value: 900)1`, "${1}3", "envoy-ext-authz"},
	{"one more server", "default", `( +- endpoint:\n +address:\n +pipe: \{path: "/run/tokengate/)authz.sock"\}\n`, "$0${1}other.sock\"}\n", "envoy-ext-authz"},
	{"no replicas", "replicas", `clusters: \[tokengate-own, tokengate-replicas\]`, `clusters: [tokengate-own]`, "envoy-ext-authz"},
	{"the API elsewhere", "default", `(path_separated_prefix: "/rest/api-tokens"\}\n +route: \{cluster: tokengate)-http`, "$1", "envoy-management-routes"},
	{"the API at another socket", "default", `/run/tokengate/http.sock`, `/tmp/http.sock`, "envoy-management-routes"},
	{"the client not in X-Forwarded-For", "replicas", `use_remote_address: true\n( +)xff`, "use_remote_address: true\n${1}skip_xff_append: true\n${1}xff", "envoy-hops"},
	{"an identity header", "default", `(- match: \{prefix: "/"\}\n)`, "$1                request_headers_to_add: [{header: {key: x-forwarded-user, value: \"%REQ(x-user)%\"}}]\n", "envoy-mutations"},
	{"an identity header for all", "default", `( +)domains: \["\*"\]\n`, "$0${1}request_headers_to_add: [{header: {key: x-forwarded-user, value: alice}}]\n", "envoy-mutations"},
	{"another filter", "default", `(- name: envoy.filters.http.router)`, "- name: buffer\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 100000}\n          $1", "envoy-filters"},
}

// withoutReplies removes the texts of errors, which would take most of the time to read.
var withoutReplies = regexp.MustCompile(`(?s) +local_reply_config:.*?\n\n`)

// Each mistake is found by a real Envoy's report, as that and nothing else.
func TestPlantedMistakes(t *testing.T) {
	t.Parallel()
	type made struct {
		text, socket string
		generated    *running.Configuration
	}
	known := make(map[string]made)
	one := func(name string) (string, *running.Configuration, string) {
		if known[name].generated == nil {
			text, generated, socket := generate(t, parse(t, settings[name]))
			known[name] = made{text, socket, generated}
		}
		return known[name].text, known[name].generated, known[name].socket
	}
	found := make(map[string]bool)
	for i, m := range planted {
		t.Run(m.name, func(t *testing.T) {
			text, generated, socket := one(m.settings)
			text = withoutReplies.ReplaceAllString(text, "")
			wrong := regexp.MustCompile(m.old).ReplaceAllString(text, m.new)
			if wrong == text {
				t.Fatal("the mistake is not in the configuration")
			}
			var got running.Comparison
			if everyEnvoy || i%9 == 0 {
				got = run(t, wrong, generated, socket)
			} else {
				got = read(t, wrong, generated)
			}
			if ids := slices.Sorted(maps.Keys(got.Problems)); !slices.Equal(ids, []string{m.id}) || got.Outdated || got.Upstream != "" {
				t.Errorf("found %+v, want %s", got, m.id)
			}
			t.Log(got.Problems[m.id])
			found[m.id] = true
		})
	}
	for _, c := range running.Checks {
		if !found[c.ID] {
			t.Errorf("no planted mistake shows that %s finds one", c.ID)
		}
	}
}

// A configuration that was generated from other settings is called outdated, and one that leads
// elsewhere is found.
func TestOutdatedAndUpstream(t *testing.T) {
	t.Parallel()
	before := parse(t, settings["default"])
	text, generated, _ := generate(t, before)
	text = strings.Replace(text, "port_value: 8080", "port_value: 8081", 1)
	if got := read(t, text, generated); got.Outdated || len(got.Problems) > 0 || !strings.Contains(got.Upstream, "127.0.0.1:8081, but upstream.url is 127.0.0.1:8080") {
		t.Errorf("another port: %+v", got)
	}
	text, _, _ = generate(t, before)
	after := before
	after.Upstream.Identity.Header = "X-Other"
	_, generated, _ = generate(t, after)
	if got := read(t, text, generated); !got.Outdated || got.Problems["envoy-strip"] == "" {
		t.Errorf("another header: %+v", got)
	}
	text, generated, _ = generate(t, before)
	text = regexp.MustCompile(`(?s)grpc_health_check:\n.*?"x-tokengate-configuration".*?\n`).ReplaceAllString(text, "grpc_health_check: {}\n")
	if got := read(t, text, generated); got.Outdated || got.Fingerprint || len(got.Problems) > 0 {
		t.Errorf("no fingerprint: %+v", got)
	}
}
