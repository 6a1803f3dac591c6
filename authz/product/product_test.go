package product_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/wikitest"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
)

// A second product shows that nothing of Jira's is built into the decision. The test of
// the whole server with it is in cmd/tokengate/app.
func TestSecondProduct(t *testing.T) {
	config.Products["wiki"] = &wikitest.Product
	t.Cleanup(func() { delete(config.Products, "wiki") })
	c, err := config.Parse("test.yaml", []byte("publicURL: https://wiki.example.com\nupstream: {product: wiki}\npasswords: {mode: block}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Upstream.Identity.Header; got != "Remote-User" {
		t.Errorf("the default identity header is %s", got)
	}
	value, err := token.Mint(token.Ordinary, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	tokens := &index.Index{}
	tokens.SetTokensFresh(store.Forever)
	tokens.UpdateOwnerStatus(func(store.Owner, index.OwnerStatus) index.OwnerStatus { return index.OwnerPermitted }, store.Forever)
	put := func(readOnly bool) {
		tokens.Put(store.Token{ID: value.ID().String(), Owner: store.Owner{Name: "fred"}, State: store.Active, ReadOnly: readOnly,
			Secret: store.Secret{Hash: value.Hash([16]byte{})}})
	}
	view := authz.View{Policy: policy.New(c), Index: tokens, Now: time.Unix(1e9, 0)}
	const readOnly, password = "read-only token", "password"
	for _, test := range []struct {
		credential, request string
		want                authz.Reason
	}{
		{"token", "GET /api/pages", authz.TokenAllowed},
		{"token", "POST /api/pages", authz.TokenAllowed},
		{"token", "GET /files/1", authz.TokenAllowed},
		{"token", "GET /api/keys", authz.EndpointForbidden},
		{"token", "GET /api/login", authz.TokenAllowed},
		{"token", "DELETE /api/login", authz.SessionKept},
		{readOnly, "GET /api/pages", authz.TokenAllowed},
		{readOnly, "POST /api/query", authz.TokenAllowed},
		{readOnly, "POST /api/pages", authz.ReadOnly},
		{"", "POST /api/login", authz.PasswordBlocked},
		{"", "GET /?login_name=fred&login_secret=pw", authz.PasswordBlocked},
		{password, "GET /sync/1", authz.Password},
		{password, "GET /api/pages", authz.PasswordBlocked},

		// Jira's rules do not apply.
		{"token", "GET /rest/api/2/myself", authz.PathNotAllowed},
		{"token", "GET /secure/attachment/1", authz.PathNotAllowed},
		{"token", "GET /api/pat", authz.TokenAllowed},
		{"token", "GET /api/pages?os_username=fred", authz.TokenAllowed},
		{"token", "GET /s/x/_/api/pages", authz.PathNotAllowed},
		{"token", "GET /api/keys.json", authz.EndpointForbidden},
		{"token", "DELETE /api/login.json", authz.TokenAllowed}, // no suffixes
		{readOnly, "POST /rest/api/2/search", authz.PathNotAllowed},
		{"", "POST /rest/auth/1/session", authz.NoCredential},
		{"", "GET /?os_username=fred&os_password=pw", authz.NoCredential},
		{password, "GET /rest/usermanagement/1", authz.PasswordBlocked},
	} {
		put(test.credential == readOnly)
		method, path, _ := strings.Cut(test.request, " ")
		r := &authz.Request{Method: method, Path: path, Client: netip.MustParseAddr("192.0.2.1"), Protocol: "HTTP/1.1", Body: "{}"}
		switch test.credential {
		case "token", readOnly:
			r.Authorization = "Bearer " + value.Reveal()
		case password:
			r.Authorization = "Basic ZnJlZDpwdw=="
		}
		d := authz.Decide(r, view)
		if d.Reason != test.want || d.Path != "" {
			t.Errorf("%s with %q: %v, path %q, want %v", test.request, test.credential, d.Reason, d.Path, test.want)
		}
	}
	r := &authz.Request{Method: "GET", Path: "/api/pages?login_x=1&a=2", Client: netip.MustParseAddr("192.0.2.1"), Protocol: "HTTP/1.1", Authorization: "Bearer " + value.Reveal()}
	if d := authz.Decide(r, view); d.Path != "/api/pages?a=2" {
		t.Errorf("the path without login parameters is %q", d.Path)
	}

	for _, text := range []string{"upstream: {product: wiki, contextPath: /api}", "upstream: {product: wiki}\ntokens: {queryParameter: login_x}", "upstream: {product: other}"} {
		if _, err := config.Parse("test.yaml", []byte("publicURL: https://wiki.example.com/api\n"+text)); err == nil || !strings.Contains(err.Error(), "iki") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A product that is not registered accepts no token and no password.
func TestUnknownProduct(t *testing.T) {
	c := config.Default()
	c.Upstream.Product = "other"
	view := authz.View{Policy: policy.New(c), Index: &index.Index{}, Now: time.Unix(1e9, 0)}
	for name, r := range map[string]authz.Request{
		"a password":              {Path: "/rest/api/2/myself", Authorization: "Basic ZnJlZDpwdw=="},
		"a password in the query": {Path: "/?os_username=fred&os_password=pw"},
		"a login":                 {Method: "POST", Path: "/rest/auth/1/session", Body: `{"username":"fred","password":"pw"}`},
		"another issuer's token":  {Path: "/", Authorization: "Bearer x"},
		"no credential":           {Path: "/"},
	} {
		r.Client = netip.MustParseAddr("192.0.2.1")
		if d := authz.Decide(&r, view); d.Outcome != authz.Denied || d.Reason != authz.BadCheck {
			t.Errorf("%s: %v, %v", name, d.Outcome, d.Reason)
		}
	}
}

func TestLoginExpression(t *testing.T) {
	for p, want := range map[*product.Product]string{
		{}:                "",
		&wikitest.Product: `(/[!-$&-:<-\[\]-~]*)?/api/login(/?\.[0-9A-Za-z]+)?/*`,
		&jira.Product:     `(/[!-$&-:<-\[\]-~]*)?/rest/auth/[!-$&-.0-:<-\[\]-~]+/session(/?\.[0-9A-Za-z]+)?/*`,
	} {
		if got := p.Session.LoginExpression(); got != want {
			t.Errorf("LoginExpression() = %s, want %s", got, want)
		}
	}
}
