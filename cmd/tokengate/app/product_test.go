package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/wikitest"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// Two more products; bare has no resource for logins.
func init() {
	bare := wikitest.Product
	bare.Name, bare.Session = "bare", product.Session{}
	for _, p := range []*product.Product{&wikitest.Product, &bare} {
		config.Products[p.Name] = p
	}
}

// The whole server works with a second product: its sessions, groups, login page,
// challenge and identity header.
func TestSecondProduct(t *testing.T) {
	wiki := &wikitest.Server{}
	wiki.Set("fred", "staff")
	wiki.Set("wilma", "guests")
	upstream := httptest.NewServer(wiki)
	defer upstream.Close()
	dir := envoytest.Dir(t)
	settings := strings.ReplaceAll(`
publicURL: https://wiki.example.com
listen: {grpc: unix://DIR/g, http: unix://DIR/h, admin: unix://DIR/a, metrics: unix://DIR/m}
store: {badger: {dir: DIR/data}}
upstream: {product: wiki, url: APPLICATION}
directory: {upstream: {credential: DIR/credential}}
access: {use: [staff], create: [{groups: [staff], maxLifetime: 90d}]}
`, "DIR", dir)
	settings = strings.ReplaceAll(settings, "APPLICATION", upstream.URL)
	for file, content := range map[string]string{"tokengate.yaml": settings, "credential": wikitest.Secret} {
		if err := os.WriteFile(dir+"/"+file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(t.Context(), dir+"/tokengate.yaml", Options{Log: io.Discard, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	refresh := func() {
		t.Helper()
		if err := s.users.directory.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	refresh()

	client := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", dir+"/h") }}
	defer client.CloseIdleConnections()
	ask := func(method, path, user string, body any) (*http.Response, string) {
		t.Helper()
		var content bytes.Buffer
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://wiki"+path, &content)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if user != "" {
			r.Header.Set("Cookie", "lb=1; WIKISESSION="+user)
		}
		answer, err := client.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer, string(text)
	}
	api := web.Bases[0]
	if a, text := ask("GET", api+"/me", "", nil); a.StatusCode != 401 || a.Header.Get("WWW-Authenticate") != `Basic realm="The Wiki"` {
		t.Errorf("without a session: %d, %v, %s", a.StatusCode, a.Header, text)
	}
	if a, _ := ask("GET", config.PagePath, "", nil); a.Header.Get("Location") != "/enter?to=%2Fplugins%2Fservlet%2Fapi-tokens%3Flogin%3Dtrue" {
		t.Errorf("the page without a session: %d, %v", a.StatusCode, a.Header)
	}
	if a, text := ask("GET", config.PagePath, "fred", nil); a.StatusCode != 200 || !strings.Contains(text, "Back to Wiki") || strings.Contains(text, "Jira") {
		t.Errorf("the page: %d, %s", a.StatusCode, text)
	}
	if a, text := ask("POST", api+"/", "wilma", map[string]any{"label": "x"}); a.StatusCode != 403 {
		t.Errorf("a token for a user outside the group: %d, %s", a.StatusCode, text)
	}
	a, text := ask("POST", api+"/", "fred", map[string]any{"label": "x"})
	var created struct{ PasswordValue string }
	if err := json.Unmarshal([]byte(text), &created); err != nil || created.PasswordValue == "" {
		t.Fatalf("a token for fred: %d, %v", a.StatusCode, err)
	}

	conn, err := grpc.NewClient("unix://"+dir+"/g", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	check := func(path, credential string) *authv3.CheckResponse {
		t.Helper()
		answer, err := authv3.NewAuthorizationClient(conn).Check(metadata.AppendToOutgoingContext(t.Context(), "x-client-ip", "192.0.2.1"),
			&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
				Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: path, Protocol: "HTTP/1.1", Headers: map[string]string{"authorization": "Bearer " + credential}},
			}}})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	headers := func(answer *authv3.CheckResponse) map[string]string {
		all := map[string]string{}
		for _, h := range append(answer.GetOkResponse().GetHeaders(), answer.GetDeniedResponse().GetHeaders()...) {
			all[h.GetHeader().GetKey()] = h.GetHeader().GetValue() + string(h.GetHeader().GetRawValue())
		}
		return all
	}
	expect := func(what, path, credential, reason, header, value string) {
		t.Helper()
		answer := check(path, credential)
		if got := answer.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); got != reason || headers(answer)[header] != value {
			t.Errorf("%s: %s, %v", what, got, headers(answer))
		}
	}
	expect("a token", "/api/pages", created.PasswordValue, "allowed", "remote-user", "fred")
	expect("an invented token", "/api/pages", "tgate_x", "malformed_token", "www-authenticate", `Bearer realm="The Wiki"`)
	expect("a forbidden path", "/api/keys", created.PasswordValue, "endpoint_forbidden", "", "")
	wiki.Set("fred", "guests")
	refresh()
	expect("after the user has left the group", "/api/pages", created.PasswordValue, "owner_not_permitted", "", "")
}

// Envoy accepts its configuration for a second product, with and without a resource for
// logins. It has nothing of Jira.
func TestSecondProductsEnvoy(t *testing.T) {
	for name, logins := range map[string]bool{"wiki": true, "bare": false} {
		c, err := config.Parse("test.yaml", []byte("publicURL: https://wiki.example.com\nupstream: {product: "+name+"}\n"))
		if err != nil {
			t.Fatal(err)
		}
		var bootstrap bytes.Buffer
		if err := envoy.Bootstrap(&bootstrap, c, envoy.BootstrapOptions{}); err != nil {
			t.Fatal(err)
		}
		envoytest.Validate(t, bootstrap.Bytes())
		text := bootstrap.String()
		if strings.Contains(text, "with_request_body") != logins {
			t.Errorf("%s: the route of logins exists: %v", name, !logins)
		}
		for _, want := range []string{"Wiki cannot be reached", "- name: " + name + "\n", `prefix: "/api"}`, `remove: "remote-user"`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is missing", name, want)
			}
		}
		for _, foreign := range []string{"Jira", "jira", "/rest/auth", `"/rest"`} {
			if strings.Contains(text, foreign) {
				t.Errorf("%s: the configuration has %q", name, foreign)
			}
		}
	}
}
