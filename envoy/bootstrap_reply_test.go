package envoy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
)

// ask sends text unchanged and returns the answer and its body.
func (rig *bootstrapRig) ask(t *testing.T, text string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", rig.envoy.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// unreachable is an address without a listener.
const unreachable = "127.0.0.1:1"

// denied is a denial in tokengate's format.
func denied(text string, code typev3.StatusCode) checkFunc {
	return func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		said, err := structpb.NewStruct(map[string]any{"reason": "read_only"})
		return &authv3.CheckResponse{
			Status: status.New(codes.PermissionDenied, "").Proto(), DynamicMetadata: said,
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: code}, Body: string(authz.Denial(text)),
				Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "content-type", Value: authz.DenialType}}},
			}},
		}, err
	}
}

// Envoy's own answers explain the error: to API clients in the format of Jira's
// errors, to browsers on a page.
func TestEnvoysOwnAnswers(t *testing.T) {
	t.Parallel()
	const get, secret = "GET %s HTTP/1.1\r\nHost: jira.example.com\r\nConnection: close\r\n%s\r\n", "s3cret<script>"
	away := func(c *config.Config, _ *envoy.BootstrapOptions) { c.Upstream.URL = "http://" + unreachable }
	managementAway := func(c *config.Config, _ *envoy.BootstrapOptions) { c.Listen.HTTP.Address.Address = unreachable }
	invalid := func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-other", Value: "x"}}},
		}}}, nil
	}
	upgrade := "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	long := "Cookie: " + strings.Repeat("x", 70<<10) + "\r\n"
	for _, c := range []struct {
		name   string
		check  checkFunc
		edit   func(*config.Config, *envoy.BootstrapOptions)
		path   string
		header string
		status int
		says   string
		json   bool // for browsers too, because the request was not parsed
	}{
		{"tokengate is away", nil, nil, "/x", "", 503, "tokengate, which checks", false},
		{"tokengate is away, management", nil, nil, "/plugins/servlet/api-tokens", "", 503, "tokengate, which checks", false},
		{"tokengate is away, health check", nil, nil, "/plugins/servlet/api-tokens/healthz", "", 503, "tokengate is not ready", false},
		{"Jira is away", passThrough, away, "/x", "", 503, "Jira cannot be reached", false},
		{"Jira's name is unknown", passThrough, func(c *config.Config, _ *envoy.BootstrapOptions) { c.Upstream.URL = "http://jira.invalid" }, "/x", "", 503, "Jira cannot be reached", false},
		{"only management is away", passThrough, managementAway, "/plugins/servlet/api-tokens", "", 503, "tokengate, which manages", false},
		{"only management is away, API", passThrough, managementAway, "/rest/api-tokens/latest/me", "", 503, "tokengate, which manages", true},
		{"an escaped slash", passThrough, nil, "/" + secret + "%2Fx", "", 400, "%2F, %5C", false},
		{"an upgrade", passThrough, nil, "/" + secret, upgrade, 403, "Upgrade header", false},
		{"an answer that is not allowed", invalid, nil, "/x", "", 500, "Envoy's access log", false},
		{"large headers", passThrough, nil, "/x", long, 431, "cookies", true},
		{"many headers", passThrough, nil, "/x", strings.Repeat("X-Y: 1\r\n", 1001), 431, "more than 1000 headers", true},
		{"no path", passThrough, nil, "no/slash", "", 400, "must begin with a slash", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rig := newBootstrapRig(t, c.check, false, c.edit)
			for accept, page := range map[string]bool{"": false, "application/json": false, "text/html,application/xhtml+xml,*/*;q=0.8": true, "TEXT/HTML": true} {
				head := c.header
				if accept != "" {
					head = "Accept: " + accept + "\r\n" + head
				}
				resp, body := rig.ask(t, fmt.Sprintf(get, c.path, head))
				if resp.StatusCode != c.status {
					t.Errorf("Accept %q: status %d, want %d: %s", accept, resp.StatusCode, c.status, body)
				}
				if strings.Contains(body, "s3cret") {
					t.Errorf("Accept %q: the answer quotes the request", accept)
				}
				if page && !c.json {
					if resp.Header.Get("Content-Type") != "text/html;charset=UTF-8" || !strings.HasPrefix(body, "<!DOCTYPE html>") || !strings.Contains(strings.ReplaceAll(body, "&#39;", "'"), c.says) {
						t.Errorf("Accept %q: %s %s", accept, resp.Header.Get("Content-Type"), body)
					}
					continue
				}
				var said struct {
					ErrorMessages []string
					Errors        map[string]string
					Message       string
				}
				if err := json.Unmarshal([]byte(body), &said); err != nil || resp.Header.Get("Content-Type") != authz.DenialType ||
					string(authz.Denial(said.Message)) != body || !strings.Contains(said.Message, c.says) {
					t.Errorf("Accept %q: %v: %s %s", accept, err, resp.Header.Get("Content-Type"), body)
				}
			}
			rig.gotNothing(t)
		})
	}
}

// tokengate's own denials are not changed.
func TestEnvoyKeepsDenials(t *testing.T) {
	t.Parallel()
	for _, code := range []typev3.StatusCode{400, 401, 403, 404, 413, 429, 503} {
		rig := newBootstrapRig(t, denied("100%REQ(:PATH)% refused <b>", code), false, nil)
		for _, accept := range []string{"*/*", "text/html"} {
			resp, body := rig.ask(t, "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: "+accept+"\r\n\r\n")
			if resp.StatusCode != int(code) || body != string(authz.Denial("100%REQ(:PATH)% refused <b>")) || resp.Header.Get("Content-Type") != authz.DenialType {
				t.Errorf("%d, Accept %s: %d %s %s", code, accept, resp.StatusCode, resp.Header.Get("Content-Type"), body)
			}
		}
	}
}

// With up to 100 headers of a client, Tomcat's own limit, and well beyond, added
// headers never lead to Envoy's 500.
func TestEnvoyTakesManyHeaders(t *testing.T) {
	t.Parallel()
	allowed := func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		set := func(k, v string) *corev3.HeaderValueOption {
			return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: k, Value: v}}
		}
		return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{set("x-forwarded-user", "fred"), set(envoy.MarkerHeader, "1")}, HeadersToRemove: []string{"authorization", "cookie"},
		}}}, nil
	}
	for name, c := range map[string]struct {
		check checkFunc
		want  int
	}{"an allowed token": {allowed, 200}, "passed through": {passThrough, 200}, "denied": {denied("no", 403), 403}} {
		rig := newBootstrapRig(t, c.check, false, nil)
		for _, n := range []int{98, 99, 100, 101, 150, 193, 200, 201, 300, 990, 1001} {
			want := c.want
			if n > 1000 {
				want = 431
			}
			var lines []string
			for i := range n - 2 { // Host and Connection are two
				lines = append(lines, fmt.Sprintf("X-Number-%d: 1", i))
			}
			if resp := rig.send(t, "/", lines...); resp.StatusCode != want {
				t.Errorf("%s, %d headers: status %d, want %d", name, n, resp.StatusCode, want)
			}
			if want == 200 {
				rig.got(t)
			}
			rig.gotNothing(t)
		}
	}
}
