package envoy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
)

// Headers that clients may not send reach no server.
func TestEnvoyStripsClaims(t *testing.T) {
	t.Parallel()
	rig := newBootstrapRig(t, passThrough, false, nil)
	for _, name := range []string{
		"X-Forwarded-User", "X_Forwarded_User", "Remote-User", "REMOTE_USER", "X-Remote-User",
		envoy.MarkerHeader, authz.ClientIPHeader, "X-Tokengate-Other",
		"X-Envoy-External-Address", "X-Envoy-Original-Path", "X-Envoy-Upstream-Rq-Timeout-Ms",
	} {
		rig.send(t, "/", name+": admin", name+": admin")
		got := rig.got(t)
		for key, values := range got.header {
			if strings.Contains(strings.Join(values, ","), "admin") {
				t.Errorf("%s reached %s as %s: %q", name, got.server, key, values)
			}
		}
	}
}

// A browser's request and Jira's answer are forwarded unchanged.
func TestEnvoyPassesBrowsersThrough(t *testing.T) {
	t.Parallel()
	rig := newBootstrapRig(t, passThrough, false, nil)
	const target = "/secure/Dashboard.jspa?z=9&a=b%2f&&c&os_x=%zz|{}"
	resp := rig.send(t, target, "Cookie: JSESSIONID=mine; atlassian.xsrf.token=A|b", "Authorization: Bearer foreign")
	got := rig.got(t)
	if got.server != "jira" || got.target != target {
		t.Errorf("%s got %q, want %q", got.server, got.target, target)
	}
	if c := got.header.Get("Cookie"); c != "JSESSIONID=mine; atlassian.xsrf.token=A|b" {
		t.Errorf("cookie is %q", c)
	}
	if a := got.header.Get("Authorization"); a != "Bearer foreign" {
		t.Errorf("authorization is %q", a)
	}
	if diff := cmp.Diff([]string{"JSESSIONID=new; Path=/", "xsrf=1"}, resp.Header["Set-Cookie"]); diff != "" {
		t.Errorf("Set-Cookie (-want +got):\n%s", diff)
	}
	if s := resp.Header.Get("Server"); s != "Apache-Coyote/1.1" {
		t.Errorf("server is %q", s)
	}
	for name := range resp.Header {
		if strings.HasPrefix(name, "X-Envoy-") {
			t.Errorf("browser gets %s", name)
		}
	}
}

// An allowed token request arrives with the headers and path that tokengate sets,
// without the marker; the answer has no cookies, and the access log has the
// metadata.
func TestEnvoyAppliesTokengatesChanges(t *testing.T) {
	t.Parallel()
	rig := newBootstrapRig(t, func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		set := func(k, v string) *corev3.HeaderValueOption {
			return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: k, Value: v}}
		}
		said, err := structpb.NewStruct(map[string]any{"user": "fred", "token_id": "abc", "reason": "allowed"})
		return &authv3.CheckResponse{
			Status:          status.New(codes.OK, "").Proto(),
			DynamicMetadata: said,
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
				Headers:         []*corev3.HeaderValueOption{set("X-Forwarded-User", "fred"), set(envoy.MarkerHeader, "1"), set(":path", "/rest/x?b")},
				HeadersToRemove: []string{"authorization", "cookie"},
			}},
		}, err
	}, false, nil)
	resp := rig.send(t, "/rest/x?t=tgate_secret&b", "Cookie: JSESSIONID=mine", "Authorization: Bearer tgate_secret", "X-Request-Id: 1")
	if resp.StatusCode != http.StatusOK || resp.Header["Set-Cookie"] != nil {
		t.Errorf("answer is %d with cookies %q", resp.StatusCode, resp.Header["Set-Cookie"])
	}
	got := rig.got(t)
	if got.server != "jira" || got.target != "/rest/x?b" {
		t.Errorf("%s got %s", got.server, got.target)
	}
	if diff := cmp.Diff([]string{"fred"}, got.header["X-Forwarded-User"]); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	for _, name := range []string{"Authorization", "Cookie", envoy.MarkerHeader} {
		if v := got.header.Get(name); v != "" {
			t.Errorf("%s reached Jira: %q", name, v)
		}
	}

	entry := rig.envoy.AccessLog(func(e map[string]any) bool { return e["user"] == "fred" })
	for key, want := range map[string]any{
		"method": "GET", "path": "/rest/x", "status": 200.0, "token_id": "abc", "reason": "allowed",
		"client": "127.0.0.1", "cluster": "jira", "protocol": "HTTP/1.1",
	} {
		if entry[key] != want {
			t.Errorf("access log: %s is %v, want %v", key, entry[key], want)
		}
	}
	if out := rig.envoy.Output() + rig.envoy.Log(); strings.Contains(out, "tgate_secret") || strings.Contains(out, "JSESSIONID") {
		t.Errorf("a secret is logged:\n%s", out)
	}
}

// A change that tokengate never makes is an error.
func TestEnvoyRefusesOtherChanges(t *testing.T) {
	t.Parallel()
	rig := newBootstrapRig(t, func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		return &authv3.CheckResponse{
			Status: status.New(codes.OK, "").Proto(),
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{
				{Header: &corev3.HeaderValue{Key: "X-Forwarded-User2", Value: "fred"}},
			}}},
		}, nil
	}, false, nil)
	if resp := rig.send(t, "/"); resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("status is %d, want 500", resp.StatusCode)
	}
	rig.gotNothing(t)
}

func TestEnvoyWithoutTokengate(t *testing.T) {
	t.Parallel()
	rig := newBootstrapRig(t, nil, false, nil)
	for _, target := range []string{"/", "/rest/api/2/myself", "/rest/api-tokens"} {
		if resp := rig.send(t, target); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: status is %d, want 503", target, resp.StatusCode)
		}
	}
	rig.gotNothing(t)
	if n := rig.envoy.Stats()["cluster.tokengate.upstream_rq_retry"]; n < 3 {
		t.Errorf("%d retries, want enough for a restart", n)
	}
}

// Only the management paths are sent to tokengate, with the client's address from
// Envoy and the caller's credentials.
func TestEnvoyRoutesManagement(t *testing.T) {
	t.Parallel()
	for _, ctx := range []string{"", "/jira"} {
		rig := newBootstrapRig(t, passThrough, false, func(c *config.Config, _ *envoy.BootstrapOptions) { c.Upstream.ContextPath = ctx })
		for path, want := range map[string]string{
			"/rest/api-tokens": "tokengate", "/rest/api-tokens/": "tokengate", "/rest/api-tokens/latest/all?x=1": "tokengate",
			"/rest/api-tokens?x": "tokengate", "/plugins/servlet/api-tokens": "tokengate", "/plugins/servlet/api-tokens/a.css": "tokengate",
			"/rest//api%2Dtokens": "tokengate", "/rest/x/../api-tokens": "tokengate",
			"/rest/api-tokensX": "jira", "/rest/api-tokens;x/latest": "jira", "/plugins/servlet/api-tokens.css": "jira",
			"/REST/api-tokens": "jira", "/s/x/_/rest/api-tokens": "jira", "/rest/api": "jira", "/": "jira",
		} {
			rig.send(t, ctx+path, "Cookie: JSESSIONID=mine", "Authorization: Bearer tgadm_x",
				authz.ClientIPHeader+": 192.0.2.1", authz.ClientIPHeader+": 192.0.2.2")
			got := rig.got(t)
			if got.server != want {
				t.Errorf("%s%s went to %s, want %s", ctx, path, got.server, want)
			}
			var ips []string
			if want == "tokengate" {
				ips = []string{"127.0.0.1"}
			}
			if diff := cmp.Diff(ips, got.header[http.CanonicalHeaderKey(authz.ClientIPHeader)]); diff != "" {
				t.Errorf("%s%s: %s (-want +got):\n%s", ctx, path, authz.ClientIPHeader, diff)
			}
			if got.header.Get("Cookie") == "" || got.header.Get("Authorization") == "" {
				t.Errorf("%s%s lost its credentials", ctx, path)
			}
		}
		if ctx != "" {
			rig.send(t, "/rest/api-tokens")
			if got := rig.got(t); got.server != "jira" {
				t.Errorf("outside the context path: went to %s", got.server)
			}
		}
	}
}

// The listener for metrics has Envoy's metrics and no other page of its administration.
func TestEnvoyShowsItsMetrics(t *testing.T) {
	t.Parallel()
	rig := newBootstrapRig(t, passThrough, false, func(_ *config.Config, o *envoy.BootstrapOptions) { o.Metrics = "127.0.0.1:0" })
	var listeners struct {
		Statuses []struct {
			Name  string
			Local struct {
				Socket struct {
					Address string
					Port    int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(rig.envoy.Admin("/listeners?format=json"), &listeners); err != nil {
		t.Fatal(err)
	}
	url := ""
	for _, l := range listeners.Statuses {
		if l.Name == "metrics" {
			url = fmt.Sprintf("http://%s:%d", l.Local.Socket.Address, l.Local.Socket.Port)
		}
	}
	ask := func(method, path string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), method, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}

	rig.send(t, "/")
	if status, text := ask("GET", "/stats/prometheus?usedonly"); status != 200 ||
		!strings.Contains(text, `envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="http"} 1`) {
		t.Errorf("the metrics: %d\n%s", status, text)
	}
	for _, request := range []string{
		"POST /stats/prometheus", "HEAD /stats/prometheus", "GET /stats", "GET /stats/prometheus/", "GET /stats/prometheus/../../config_dump", "GET /config_dump",
		"GET /", "POST /quitquitquit", "POST /drain_listeners?graceful", "GET /certs", "POST /logging?level=trace", "GET /x?/stats/prometheus", "GET //stats/prometheus",
	} {
		method, path, _ := strings.Cut(request, " ")
		if status, _ := ask(method, path); status != 404 {
			t.Errorf("%s: %d", request, status)
		}
	}
}

// With each source of the client's address tokengate gets one value, from Envoy.
func TestEnvoySendsTheClientAddress(t *testing.T) {
	t.Parallel()
	const forged, forwarded = "192.0.2.66", "198.51.100.7"
	for _, tc := range []struct {
		name    string
		address config.ClientAddress
		want    string
	}{
		{"metadata", config.ClientAddress{Metadata: "x-client-ip"}, "127.0.0.1"},
		{"header", config.ClientAddress{Header: "X-Real-IP"}, "127.0.0.1"},
		{"envoy's header", config.ClientAddress{Header: "x-envoy-external-address"}, "127.0.0.1"},
		{"source", config.ClientAddress{Source: true}, "127.0.0.1"},
		{"behind a proxy", config.ClientAddress{TrustedHops: 1}, forged + ", " + forwarded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			type asked struct {
				addresses []string
				headers   map[string]string
			}
			checks := make(chan asked, 1)
			rig := newBootstrapRig(t, func(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
				a := asked{headers: r.GetAttributes().GetRequest().GetHttp().GetHeaders()}
				md, _ := metadata.FromIncomingContext(ctx)
				switch {
				case tc.address.Source:
					a.addresses = []string{r.GetAttributes().GetSource().GetAddress().GetSocketAddress().GetAddress()}
				case tc.address.TrustedHops > 0:
					list := a.headers["x-forwarded-for"] // ends in Envoy's peer; for a peer on loopback, in this machine's address
					a.addresses = []string{list[:strings.LastIndex(list, ",")]}
				case tc.address.Header != "":
					a.addresses = []string{a.headers[strings.ToLower(tc.address.Header)]}
				default:
					a.addresses = md.Get(tc.address.Metadata)
				}
				checks <- a
				return passThrough(ctx, r)
			}, false, func(c *config.Config, _ *envoy.BootstrapOptions) { c.ClientAddress = tc.address })

			header := []string{"X-Forwarded-For: " + forged + ", " + forwarded, "Cookie: JSESSIONID=mine", "Accept: x"}
			for _, name := range []string{"X-Client-IP", "X-Real-IP", "X-Envoy-External-Address", authz.ClientIPHeader} {
				header = append(header, name+": "+forged)
			}
			for _, name := range authz.Headers {
				if name != "upgrade" { // Envoy refuses upgrades before it asks
					header = append(header, name+": sent")
				}
			}
			rig.send(t, "/", header...)
			rig.got(t)
			got := <-checks
			if diff := cmp.Diff([]string{tc.want}, got.addresses); diff != "" {
				t.Errorf("address (-want +got):\n%s", diff)
			}
			// Besides Envoy's pseudo headers, only listed ones are sent.
			for name := range got.headers {
				if !strings.HasPrefix(name, ":") && !slices.Contains(authz.Headers, name) && !strings.EqualFold(name, tc.address.Header) &&
					(name != "x-forwarded-for" || tc.address.TrustedHops == 0) {
					t.Errorf("tokengate is sent %s", name)
				}
			}
			for _, name := range authz.Headers {
				if got.headers[name] == "" && name != "upgrade" {
					t.Errorf("tokengate is not sent %s", name)
				}
			}
		})
	}
}

// An https upstream is used only if its certificate is for its name.
func TestEnvoyVerifiesTheUpstream(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]int{"127.0.0.1": http.StatusOK, "localhost": http.StatusServiceUnavailable} {
		rig := newBootstrapRig(t, passThrough, true, func(c *config.Config, _ *envoy.BootstrapOptions) {
			c.Upstream.URL = strings.Replace(c.Upstream.URL, "127.0.0.1", host, 1)
		})
		if resp := rig.send(t, "/"); resp.StatusCode != want {
			t.Errorf("%s: status is %d, want %d", host, resp.StatusCode, want)
		}
		if want == http.StatusOK {
			rig.got(t)
		}
		rig.gotNothing(t)
	}
}
