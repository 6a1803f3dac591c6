package envoy_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
)

// withPATs forwards requests with the owner's personal access token.
func withPATs(c *config.Config, _ *envoy.BootstrapOptions) {
	c.Upstream.Identity = config.Identity{PAT: config.PATIdentity{SealKeys: []string{"/etc/tokengate/seal-key"}}}
}

// allowWithPAT answers requests with a Bearer credential as tokengate does with
// upstream.identity.pat, and others as requests without a token.
func allowWithPAT(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if !strings.HasPrefix(r.GetAttributes().GetRequest().GetHttp().GetHeaders()["authorization"], "Bearer") {
		return &authv3.CheckResponse{
			Status:       &rpcstatus.Status{},
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{HeadersToRemove: []string{envoy.MarkerHeader}}},
		}, nil
	}
	set := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers:         []*corev3.HeaderValueOption{set(envoy.MarkerHeader, "1"), set("authorization", "Bearer NDIxMjM0NTY3ODkw")},
			HeadersToRemove: []string{"cookie"},
		}},
		DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{"reason": structpb.NewStringValue("allowed")}},
	}, nil
}

// TestEnvoyForwardsTheOwnersPAT checks that the upstream gets exactly the owner's
// credential, and no client an answer that the upstream made for nobody.
func TestEnvoyForwardsTheOwnersPAT(t *testing.T) {
	rig := newBootstrapRig(t, allowWithPAT, false, withPATs)
	const sent = "Authorization: Bearer sent"
	resp := rig.send(t, "/rest/api/2/myself", sent, "Cookie: JSESSIONID=old", "X-Forwarded-User: admin", "X-Test-User: fred")
	got := rig.got(t)
	if resp.StatusCode != 200 || len(resp.Header["Set-Cookie"]) != 0 {
		t.Errorf("status %d, cookies %q", resp.StatusCode, resp.Header["Set-Cookie"])
	}
	if a := got.header["Authorization"]; len(a) != 1 || a[0] != "Bearer NDIxMjM0NTY3ODkw" {
		t.Error("the upstream did not get the owner's credential alone")
	}
	for _, name := range []string{"Cookie", "X-Forwarded-User", envoy.MarkerHeader} {
		if got.header.Get(name) != "" {
			t.Errorf("the upstream got %s", name)
		}
	}
	for name, c := range map[string]struct {
		user   []string
		status int
	}{
		"refused by the upstream":          {[]string{sent, "X-Test-User: anonymous"}, 503},
		"in another case":                  {[]string{sent, "X-Test-User: Anonymous"}, 503},
		"a user with a similar name":       {[]string{sent, "X-Test-User: anonymous2"}, 200},
		"no user in the answer":            {[]string{sent}, 200},
		"an anonymous browser":             {[]string{"X-Test-User: anonymous"}, 200},
		"a browser that claims the marker": {[]string{"X-Test-User: anonymous", envoy.MarkerHeader + ": 1"}, 200},
	} {
		resp := rig.send(t, "/rest/api/2/myself", c.user...)
		rig.got(t)
		if resp.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d", name, resp.StatusCode, c.status)
		}
		if c.status == 503 && (!strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") || resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("X-AUSERNAME") != "") {
			t.Errorf("%s: headers %v", name, resp.Header)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+rig.envoy.Addr+"/rest/api/2/myself", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Authorization": {"Bearer sent"}, "X-Test-User": {"anonymous"}, "Accept": {"*/*"}}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if want := string(authz.Denial(authz.UpstreamCredentialBroken.Text())); err != nil || string(body) != want {
		t.Errorf("the answer is %s (error %v), want %s", body, err, want)
	}
}
