package web_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web"
)

func TestRefused(t *testing.T) {
	f := newFixture(t)
	issued := f.create(t, "fred", "ci")
	id, value := issued.ID, issued.PasswordValue
	for _, c := range []struct {
		name   string
		method string
		path   string
		body   any
		status int
		field  string
		says   string
	}{
		{"no user", "POST", "/", `{"label":"x"}`, 400, "user", "which user"},
		{"no label", "POST", "/", `{"user":"fred"}`, 400, "label", "1 to 100"},
		{"no body", "POST", "/", ``, 400, "user", "which user"},
		{"bad network", "POST", "/", `{"user":"fred","label":"x","networks":["192.0.2.7/24"]}`, 400, "networks", "192.0.2.0/24"},
		{"same label", "POST", "/", `{"user":"Fred","label":"CI"}`, 409, "label", id},
		{"end in the past", "POST", "/", `{"user":"fred","label":"x","expiresAt":"2020-01-01T00:00:00Z"}`, 400, "expiresIn", "future"},
		{"bad lifetime", "POST", "/", `{"user":"fred","label":"x","expiresIn":"soon"}`, 400, "expiresIn", "90d"},
		{"a value as lifetime", "POST", "/", `{"user":"fred","label":"x","expiresIn":"` + value + `"}`, 400, "expiresIn", "90d"},
		{"bad time", "POST", "/", `{"user":"fred","label":"x","expiresAt":"31.1.2030"}`, 400, "expiresAt", "RFC 3339"},
		{"the zero time", "POST", "/", `{"user":"fred","label":"x","expiresAt":"0001-01-01T00:00:00Z"}`, 400, "expiresAt", "RFC 3339"},
		{"no days", "POST", "/", `{"user":"fred","label":"x","expiresInDays":0}`, 400, "expiresInDays", "1 to"},
		{"days that overflow", "POST", "/", `{"user":"fred","label":"x","expiresInDays":106752}`, 400, "expiresInDays", "106751"},
		{"two ends", "POST", "/", `{"user":"fred","label":"x","expiresInDays":1,"expiresIn":"1d"}`, 400, "expiresIn", "only one"},

		{"unknown field", "POST", "/", `{"user":"fred","label":"x","admin":true}`, 400, "admin", `"admin"`},
		{"a value as field", "POST", "/", `{"` + value + `":1}`, 400, "tgate_" + id + "…", "no field"},
		{"wrong type", "POST", "/", `{"user":7}`, 400, "user", "string"},
		{"wrong type below", "POST", "/", `{"networks":[7]}`, 400, "networks", "number; it must be a string"},
		{"a fraction", "POST", "/", `{"expiresInDays":1.5}`, 400, "expiresInDays", "whole number"},
		{"wrong type of flag", "POST", "/", `{"readOnly":"yes"}`, 400, "readOnly", "true or false"},
		{"no object", "POST", "/", `["` + value + `"]`, 400, "", "object"},
		{"no JSON", "POST", "/", `label=` + value, 400, "", "not JSON"},
		{"half of it", "POST", "/", `{"user":"fred"`, 400, "", "incomplete JSON"},
		{"two of it", "POST", "/", `{} {}`, 400, "", "more than one"},
		{"too long", "POST", "/", `{"label":"` + strings.Repeat("x", 64<<10) + `"}`, 413, "", "64 KiB"},
		{"10000 networks", "POST", "/", map[string]any{"networks": strings.Split(strings.Repeat("10.0.0.0/8 ", 10000), " ")}, 413, "", "64 networks"},
		{"65 networks", "POST", "/", map[string]any{"user": "fred", "label": "x", "networks": strings.Fields(strings.Repeat("10.0.0.0/8 ", 65))}, 400, "networks", "at most 64"},

		{"a key twice", "POST", "/", `{"user":"fred","label":"x","label":"y"}`, 400, "label", "more than once"},
		{"a key twice in another case", "POST", "/", `{"label":"x","user":"fred","LABEL":"y"}`, 400, "LABEL", "more than once"},
		{"a key twice below", "POST", "/", `{"user":"fred","label":"x","rate":{"requests":1,"perSeconds":1,"requests":2}}`, 400, "requests", "more than once"},
		{"unknown field below", "POST", "/", `{"user":"fred","label":"x","rate":{"requests":1,"perSeconds":1,"per":1}}`, 400, "per", "no field"},
		{"a rate of no time", "POST", "/", `{"user":"fred","label":"x","rate":{"requests":1}}`, 400, "rate", "perSeconds"},
		{"a rate of too much time", "POST", "/", `{"user":"fred","label":"x","rate":{"requests":1,"perSeconds":9223372036854775807}}`, 400, "rate", "perSeconds"},
		{"a rate of nothing", "POST", "/", `{"user":"fred","label":"x","rate":{"requests":0,"perSeconds":1}}`, 400, "rate", "1 to"},
		{"a burst too large", "POST", "/", `{"user":"fred","label":"x","rate":{"requests":1,"perSeconds":1,"burst":2}}`, 400, "rate", "burst"},
		{"a number too large", "POST", "/", `{"user":"fred","label":"x","rate":{"requests":1e99,"perSeconds":1}}`, 400, "rate.requests", "number"},
		{"bad type", "POST", "/", `{"user":"fred","label":"x","type":"admin"}`, 400, "type", "management"},
		{"management without end", "POST", "/", `{"label":"x","type":"management","networks":["10.0.0.0/8"],"expiresIn":"unlimited"}`, 400, "expiresIn", "must expire"},
		{"management without networks", "POST", "/", `{"label":"x","type":"management","expiresIn":"1d"}`, 400, "networks", "networks"},
		{"deep", "POST", "/", strings.Repeat("[", 20000), 400, "", "JSON"},
		{"change to nothing", "PATCH", "/" + id, `{"label":null}`, 400, "label", "null"},
		{"change networks to null", "PATCH", "/" + id, `{"networks":null}`, 400, "networks", "null"},
		{"change the owner", "PATCH", "/" + id, `{"user":"wilma"}`, 400, "user", "no field"},
		{"change to an unknown rate", "PATCH", "/" + id, `{"rate":{"per":1}}`, 400, "per", "no field"},
		{"change without JSON", "PATCH", "/" + id, `x`, 400, "", "not JSON"},
		{"change unknown", "PATCH", "/000000000000", `{}`, 404, "", "no token"},
		{"approve one's own", "POST", "/" + id + "/approve", nil, 403, "", "Another administrator"},
		{"enable what is active", "POST", "/" + id + "/enable", nil, 409, "", "active"},
		{"own tokens without an account", "GET", "/", nil, 403, "", "account"},
		{"delete all without a user", "DELETE", "/all", nil, 400, "user", "whose"},
		{"delete all with a typing error", "DELETE", "/all?users=fred", nil, 400, "users", "no parameter"},
		{"a parameter where there are none", "GET", "/me?format=csv", nil, 400, "format", "no parameter"},

		{"unknown id", "GET", "/000000000000", nil, 404, "", "no token"},
		{"no id at all", "GET", "/..%2f..", nil, 404, "", "nothing"},
		{"dots", "GET", "/..", nil, 404, "", "no token"},
		{"a value as id", "GET", "/" + value, nil, 400, "id", "value"},
		{"revoke unknown", "DELETE", "/000000000000", nil, 404, "", "no token"},
		{"rotate unknown", "POST", "/000000000000/rotate", `{}`, 404, "", "no token"},
		{"overlap too long", "POST", "/" + id + "/rotate", `{"overlap":"8d"}`, 400, "overlap", "7d"},
		{"overlap without end", "POST", "/" + id + "/rotate", `{"overlap":"unlimited"}`, 400, "overlap", "cannot be unlimited"},
		{"no overlap", "POST", "/" + id + "/rotate", `{"overlap":"1"}`, 400, "overlap", "overlap"},
		{"rotate with a label", "POST", "/" + id + "/rotate", `{"label":"x"}`, 400, "label", `"label"`},

		{"unknown parameter", "GET", "/tokens?users=fred", nil, 400, "users", `"users"`},
		{"parameter twice", "GET", "/tokens?user=fred&user=wilma", nil, 400, "user", "once"},
		{"bad query", "GET", "/tokens?user=%zz", nil, 400, "", "percent"},
		{"a value as parameter", "GET", "/tokens?id=" + value, nil, 400, "id", "value"},
		{"a value as unknown parameter", "GET", "/tokens?" + value + "=1", nil, 400, "tgate_" + id + "…", "no parameter"},
		{"a semicolon", "GET", "/tokens?user=fred;name=x", nil, 400, "", "percent"},
		{"a long query", "GET", "/tokens?user=" + strings.Repeat("x", 4<<10), nil, 414, "", "4 KiB"},
		{"bad type of token", "GET", "/tokens?type=admin", nil, 400, "type", "ordinary"},
		{"bad scope", "GET", "/tokens?scope=all", nil, 400, "scope", "read, write"},
		{"bad sort", "GET", "/tokens?sort=label", nil, 400, "sort", "created"},
		{"bad order", "GET", "/tokens?order=up", nil, 400, "order", "asc, desc"},
		{"bad flag", "GET", "/tokens?neverUsed=false", nil, 400, "neverUsed", "true"},
		{"bad date", "GET", "/tokens?createdFrom=1.3.2026", nil, 400, "createdFrom", "2030-01-31"},
		{"bad lifetime of a filter", "GET", "/tokens?expiringWithin=unlimited", nil, 400, "expiringWithin", "90d"},
		{"bad time unused", "GET", "/tokens?unusedSince=long", nil, 400, "unusedSince", "90d"},
		{"two ends of a filter", "GET", "/tokens?expiringWithin=1d&expiresUntil=2030-01-01", nil, 400, "expiringWithin", "not both"},
		{"bad format", "GET", "/tokens?format=xml", nil, 400, "format", "csv, json"},
		{"a page of CSV", "GET", "/tokens?format=csv&limit=1", nil, 400, "format", "all"},
		{"bad outcome", "GET", "/audit?outcome=ok", nil, 400, "outcome", "done, refused"},
		{"bad after of the log", "GET", "/audit?after=x", nil, 400, "after", "next"},
		{"a page of the log as CSV", "GET", "/audit?format=csv&after=1", nil, 400, "format", "all"},
		{"explain two credentials", "POST", "/explain", `{"path":"/","tokenId":"` + id + `","token":"x"}`, 400, "tokenId", "not both"},
		{"explain unknown", "POST", "/explain", `{"path":"/","tokenId":"000000000000"}`, 404, "", "no token"},

		{"bad state", "GET", "/tokens?state=asleep", nil, 400, "state", "active"},
		{"bad limit", "GET", "/tokens?limit=many", nil, 400, "limit", "number"},
		{"limit of nothing", "GET", "/tokens?limit=0", nil, 400, "limit", "positive"},
		{"limit too high", "GET", "/tokens?limit=1001", nil, 400, "limit", "1000"},
		{"bad after", "GET", "/tokens?after=-1", nil, 400, "after", "cursor"},

		{"explain nothing", "POST", "/explain", `{}`, 400, "path", "path"},
		{"explain a bad address", "POST", "/explain", `{"path":"/","ip":"here"}`, 400, "ip", "192.0.2.7"},
		{"explain a header", "POST", "/explain", `{"path":"/","headers":{"cookie":"x"}}`, 400, "headers", "user-agent"},
		{"explain a credential", "POST", "/explain", `{"path":"/","headers":{"Authorization":"Bearer x"}}`, 400, "headers", "token and user"},
		{"explain a header twice", "POST", "/explain", `{"path":"/","headers":{"Upgrade":"x","upgrade":"y"}}`, 400, "upgrade", "more than once"},
		{"explain a colon", "POST", "/explain", `{"path":"/","user":"a:b"}`, 400, "user", "colon"},

		{"no such path", "GET", "/a/b/c", nil, 404, "", base},
		{"an empty segment", "GET", "//", nil, 404, "", "nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := f.send(t, c.method, base+c.path, c.body)
			if text := denied(t, got, c.status, c.field); !strings.Contains(text, c.says) {
				t.Errorf("the text %q does not say %q", text, c.says)
			}
		})
	}
	page, err := f.manager.List(t.Context(), manage.Operator("test"), manage.Query{})
	if err != nil || len(page.Tokens) != 1 || page.Tokens[0].State != manage.StateActive {
		t.Errorf("refusals left %+v, %v", page.Tokens, err)
	}
	if _, ok := f.view().Index.Lookup(id); !ok {
		t.Error("the token is gone")
	}
}

func TestNoSuchPlace(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/", "/rest/api-tokens", "/rest/api-tokens/2.0/tokens", "/rest/api-tokens/latestx", "/rest/api/2/myself"} {
		denied(t, f.send(t, "GET", path, nil), 404, "")
	}
	got := f.send(t, "PUT", base+"/tokens", nil)
	denied(t, got, 405, "")
	if allow := got.header.Get("Allow"); allow != "GET, HEAD" {
		t.Errorf("Allow is %q", allow)
	}
}

func TestContentType(t *testing.T) {
	f := newFixture(t)
	for kind, want := range map[string]int{
		"application/json":                   200,
		"application/json; charset=UTF-8":    200,
		"Application/JSON;charset=\"utf-8\"": 200,
		"application/json; charset=latin1":   415,
		"application/x-www-form-urlencoded":  415,
		"text/plain":                         415,
		"multipart/form-data; boundary=x":    415,
		"application/json, text/plain":       415,
		"":                                   415,
	} {
		request, err := http.NewRequestWithContext(t.Context(), "POST", "http://tokengate"+base+"/explain", strings.NewReader(`{"path":"/"}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", kind)
		if got := f.do(t, f.client, request); got.status != want {
			t.Errorf("%q is answered with %d, want %d", kind, got.status, want)
		}
	}
}

// A request from an unknown peer is refused and recorded.
func TestUnknownPeer(t *testing.T) {
	f := newFixture(t)
	issued := f.create(t, "fred", "ci")
	f.client = serve(t, f.handler, nil) // the server does not note who connects
	before, err := f.tokens.AuditLog(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/", `{"user":"fred","label":"x"}`},
		{"GET", "/tokens", ""},
		{"GET", "/" + issued.ID, ""},
		{"POST", "/" + issued.ID + "/rotate", `{}`},
		{"POST", "/explain", `{"path":"/"}`},
		{"DELETE", "/" + issued.ID, ""},
		{"POST", "/backup", ""},
	} {
		var body any
		if c.body != "" {
			body = c.body
		}
		denied(t, f.send(t, c.method, base+c.path, body), 403, "")
	}
	log, err := f.tokens.AuditLog(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(log) - len(before); n != 7 {
		t.Errorf("7 refusals left %d audit records", n)
	}
	for _, a := range log[:len(log)-len(before)] {
		if a.Actor != "unknown" || a.Reason != "forbidden" {
			t.Errorf("audit record %+v", a)
		}
	}
}

// Over TCP no caller is an administrator.
func TestConnContextOverTCP(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	if ctx := web.ConnContext(t.Context(), here); ctx != t.Context() {
		t.Error("a pipe has a user")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if ctx := web.ConnContext(t.Context(), conn); ctx != t.Context() {
		t.Error("a TCP connection has a user")
	}
}

// Each request is logged with its caller and token.
func TestLog(t *testing.T) {
	f := newFixture(t)
	issued := f.create(t, "fred", "ci")
	f.send(t, "GET", base+"/"+issued.PasswordValue, nil)
	f.do(t, f.client, newRequest(t, "GET", base+"/me", nil, http.Header{http.CanonicalHeaderKey(authz.ClientIPHeader): {"192.0.2.1"}}))
	f.user("fred").send(t, "GET", base+"/me", nil)
	lines := f.logs.All()
	if len(lines) != 4 {
		t.Fatalf("%d log lines", len(lines))
	}
	created, refused := lines[0].ContextMap(), lines[1].ContextMap()
	if created["token"] != issued.ID || created["caller"] != me || created["status"] != int64(200) {
		t.Errorf("the creation was logged as %v", created)
	}
	if address := lines[2].ContextMap()["client"]; address != nil {
		t.Errorf("a client of the admin socket claims the address %v", address)
	}
	if person := lines[3].ContextMap(); person["client"] != "192.0.2.7" || person["caller"] != "Fred" {
		t.Errorf("a person's request was logged as %v", person)
	}
	if refused["refusal"] == nil || refused["status"] != int64(400) || !strings.Contains(fmt.Sprint(refused["path"]), issued.ID) {
		t.Errorf("the refusal was logged as %v", refused)
	}
}
