package web_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/web"
)

func ptr[T any](v T) *T { return &v }

// me is the audit log's name of the user who runs the tests.
var me = "uid:" + strconv.Itoa(os.Geteuid())

// The whole life of a token, byte for byte.
func TestLife(t *testing.T) {
	f := newFixture(t)
	got := f.send(t, "POST", base+"/", `{"label":"New token","user":"fred","purpose":"nightly","expiresInDays":90,"readOnly":true,"networks":["192.0.2.0/24","::ffff:198.51.100.7"]}`)
	var issued web.IssuedToken
	if err := json.Unmarshal([]byte(got.body), &issued); err != nil || got.status != 200 {
		t.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	value, err := token.Parse(issued.PasswordValue)
	if err != nil || value.ID().String() != issued.ID {
		t.Fatalf("the value is of token %q, not %q: %v", value.ID(), issued.ID, err)
	}
	if kind := got.header.Get("Content-Type"); kind != "application/json;charset=UTF-8" {
		t.Errorf("Content-Type %q", kind)
	}
	if cache := got.header.Get("Cache-Control"); cache != "no-store" {
		t.Errorf("Cache-Control %q", cache)
	}
	id := issued.ID
	apiToken := func(usage, tail string) string {
		return fmt.Sprintf(`"id":%q,"number":1,"type":"ordinary","label":"New token","user":"Fred","purpose":"nightly","createdAt":1772366400000,"createdBy":%q,`+
			`"expiresAt":1780142400000,%s"readOnly":true,"networks":["192.0.2.0/24","198.51.100.7/32"],"rate":null,%s`, id, me, usage, tail)
	}
	unused := `"lastAccessed":null,"lastAddress":null,"usageCount":0,"writeCount":0,`
	same := func(what, got, want string) {
		t.Helper()
		if diff := cmp.Diff(want+"\n", got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	active := `"state":"active","revokedAt":null,"previousUntil":null}`
	same("created", got.body, `{"passwordValue":"`+issued.PasswordValue+`",`+apiToken(unused, active))
	same("shown", f.send(t, "GET", base+"/"+id, nil).body, "{"+apiToken(unused, active))

	f.manager.Usage.Record(id, true, start.Add(time.Minute), netip.MustParseAddr("192.0.2.9"))
	used := `"lastAccessed":1772366460000,"lastAddress":"192.0.2.9","usageCount":1,"writeCount":1,`
	same("listed", f.send(t, "GET", base+"/tokens", nil).body, `{"values":[{`+apiToken(used, active)+`],"total":1,"next":null}`)

	rotated := f.send(t, "POST", base+"/"+id+"/rotate", `{"overlap":"1h"}`)
	if err := json.Unmarshal([]byte(rotated.body), &issued); err != nil {
		t.Fatal(err)
	}
	same("rotated", rotated.body, `{"passwordValue":"`+issued.PasswordValue+`",`+
		apiToken(used, `"state":"active","revokedAt":null,"previousUntil":1772370000000}`))

	revoked := f.send(t, "DELETE", base+"/"+id, nil)
	if revoked.status != 204 || revoked.body != "" || revoked.header.Get("Content-Type") != "" {
		t.Errorf("revoked with %d %q %v", revoked.status, revoked.body, revoked.header)
	}
	same("shown revoked", f.send(t, "GET", base+"/"+id, nil).body,
		"{"+apiToken(used, `"state":"revoked","revokedAt":1772366400000,"previousUntil":null}`))
	denied(t, f.send(t, "DELETE", base+"/"+id, nil), 409, "")
	denied(t, f.send(t, "POST", base+"/"+id+"/rotate", "{}"), 409, "")

	log, err := f.tokens.AuditLog(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range log {
		if a.Actor != me || a.From != "admin socket" || a.TokenID != id {
			t.Errorf("audit record %+v", a)
		}
	}
	if len(log) != 5 {
		t.Errorf("%d audit records", len(log))
	}
}

func TestCreateExpiry(t *testing.T) {
	f := newFixture(t)
	for i := range 6 {
		f.jira.Put(jiratest.User{Name: fmt.Sprintf("user%d", i), Active: true, Groups: []string{"jira-users"}})
	}
	for i, c := range []struct {
		ask  string
		want *int64
	}{
		{``, ptr(start.Add(365 * 24 * time.Hour).UnixMilli())},
		{`,"expiresIn":"1d12h"`, ptr(start.Add(36 * time.Hour).UnixMilli())},
		{`,"expiresIn":"unlimited"`, nil},
		{`,"expiresInDays":1`, ptr(start.Add(24 * time.Hour).UnixMilli())},
		{`,"expiresAt":"2030-01-31T12:00:00+01:00"`, ptr(time.Date(2030, 1, 31, 11, 0, 0, 0, time.UTC).UnixMilli())},
		{`,"expiresInDays":null`, ptr(start.Add(365 * 24 * time.Hour).UnixMilli())},
	} {
		var issued web.IssuedToken
		f.into(t, "POST", base+"/", fmt.Sprintf(`{"user":"user%d","label":"ci"%s}`, i, c.ask), &issued)
		if diff := cmp.Diff(c.want, issued.ExpiresAt); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.ask, diff)
		}
	}
}

func TestBothBases(t *testing.T) {
	f := newFixture(t)
	f.create(t, "fred", "ci")
	want := f.send(t, "GET", "/rest/api-tokens/latest/tokens", nil)
	got := f.send(t, "GET", "/rest/api-tokens/1.0/tokens", nil)
	if got.status != 200 || got.body != want.body {
		t.Errorf("1.0 answers %d %s", got.status, got.body)
	}
	var issued web.IssuedToken
	f.into(t, "POST", "/rest/api-tokens/1.0", `{"user":"fred","label":"without the slash"}`, &issued)
}

func TestExplain(t *testing.T) {
	f := newFixture(t)
	issued := f.create(t, "Fred", "ci")
	for _, c := range []struct {
		name string
		ask  web.ExplainRequest
		want web.Explanation // without checks
	}{
		{"allowed as Bearer", web.ExplainRequest{Token: issued.PasswordValue, Path: "/rest/api/2/myself?x=1", IP: "192.0.2.7"},
			web.Explanation{Outcome: "allowed", Reason: "allowed", User: "Fred", TokenID: issued.ID}},
		{"allowed as Basic", web.ExplainRequest{Token: issued.PasswordValue, User: "fred", Method: "POST", Path: "/rest/api/2/issue", IP: "::ffff:192.0.2.7"},
			web.Explanation{Outcome: "allowed", Reason: "allowed", User: "Fred", TokenID: issued.ID}},
		{"another's name", web.ExplainRequest{Token: issued.PasswordValue, User: "wilma", Path: "/rest/api/2/myself", IP: "192.0.2.7"},
			web.Explanation{Outcome: "denied", Reason: "wrong_user", Status: 401, Text: authz.WrongUser.Text(), User: "Fred", TokenID: issued.ID}},
		{"no address", web.ExplainRequest{Token: issued.PasswordValue, Path: "/rest/api/2/myself"},
			web.Explanation{Outcome: "denied", Reason: "no_client_address", Status: 503, Text: authz.NoClientAddress.Text(), User: "Fred", TokenID: issued.ID}},
		{"a password", web.ExplainRequest{Token: "yabba", User: "fred", Path: "/rest/api/2/myself", IP: "192.0.2.7"},
			web.Explanation{Outcome: "pass_through", Reason: "password"}},
		{"a line end behind the token", web.ExplainRequest{Token: issued.PasswordValue + "\n", User: "fred", Path: "/rest/api/2/myself", IP: "192.0.2.7"},
			web.Explanation{Outcome: "denied", Reason: "malformed_token", Detail: "line_end", Status: 401,
				Text: authz.Decision{Reason: authz.MalformedToken, Detail: authz.LineEnd}.Text()}},
		{"no token", web.ExplainRequest{Path: "/", IP: "192.0.2.7"},
			web.Explanation{Outcome: "pass_through", Reason: "no_credential"}},
		{"a logout", web.ExplainRequest{Token: issued.PasswordValue, Method: "DELETE", Path: "/rest/auth/1/session", IP: "192.0.2.7"},
			web.Explanation{Outcome: "answered", Reason: "session_kept", Status: 204, Text: authz.SessionKept.Text(), User: "Fred", TokenID: issued.ID}},
		{"two credentials", web.ExplainRequest{Token: issued.PasswordValue + ", Basic eDp5", Path: "/", IP: "192.0.2.7"},
			web.Explanation{Outcome: "denied", Reason: "malformed_credential", Detail: "two_credentials", Status: 401,
				Text: authz.Decision{Reason: authz.MalformedCredential, Detail: authz.TwoCredentials}.Text()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got web.Explanation
			f.into(t, "POST", base+"/explain", c.ask, &got)
			deciding := 0
			for _, r := range got.Checks {
				if r.Result == "decides" && r.Reason == got.Reason && r.Check != "" {
					deciding++
				}
			}
			if deciding != 1 {
				t.Errorf("of the checks %+v %d decide", got.Checks, deciding)
			}
			got.Checks = nil
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("explanation (-want +got):\n%s", diff)
			}
		})
	}

	// Headers that a check reads matter, here on a read-only token.
	var reader web.IssuedToken
	f.into(t, "POST", base+"/", web.CreateRequest{User: "fred", Label: "reader", ReadOnly: true}, &reader)
	for name, want := range map[string]string{"X-HTTP-Method-Override": "read_only", "User-Agent": "allowed"} {
		var got web.Explanation
		f.into(t, "POST", base+"/explain", web.ExplainRequest{
			Token: reader.PasswordValue, Path: "/rest/api/2/issue/X-1", IP: "192.0.2.7", Headers: map[string]string{name: "DELETE"},
		}, &got)
		if got.Reason != want {
			t.Errorf("with %s: %s, want %s", name, got.Reason, want)
		}
	}
	if counted, err := f.manager.Usage.Usage(t.Context(), []string{issued.ID}); err != nil || len(counted) != 0 {
		t.Errorf("explaining counts as use: %v, %v", counted, err)
	}
}

// A change affects the given fields only.
func TestChange(t *testing.T) {
	f := newFixture(t)
	fred := f.user("fred")
	var issued web.IssuedToken
	fred.into(t, "POST", base+"/", `{"label":"ci","purpose":"nightly","expiresIn":"30d","networks":["192.0.2.0/24"],"rate":{"requests":60,"perSeconds":60}}`, &issued)
	want := issued.Token
	if diff := cmp.Diff(&web.Rate{Requests: 60, PerSeconds: 60, Burst: 60}, want.Rate); diff != "" {
		t.Errorf("rate (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		ask    string
		change func(*web.Token)
	}{
		{`{}`, func(*web.Token) {}},
		{``, func(*web.Token) {}},
		{`{"label":"build"}`, func(k *web.Token) { k.Label = "build" }},
		{`{"purpose":""}`, func(k *web.Token) { k.Purpose = "" }},
		{`{"readOnly":true}`, func(k *web.Token) { k.ReadOnly = true }},
		{`{"networks":["192.0.2.7"]}`, func(k *web.Token) { k.Networks = []string{"192.0.2.7/32"} }},
		{`{"rate":{"requests":6,"perSeconds":60,"burst":2}}`, func(k *web.Token) { k.Rate = &web.Rate{Requests: 6, PerSeconds: 60, Burst: 2} }},
		{`{"expiresInDays":1}`, func(k *web.Token) { k.ExpiresAt = ptr(start.Add(24 * time.Hour).UnixMilli()) }},
		{`{"expiresAt":"2026-03-03T00:00:00Z"}`, func(k *web.Token) {
			k.ExpiresAt = ptr(time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC).UnixMilli())
		}},
		// Extended again, as far as the policy allows.
		{`{"networks":[]}`, func(k *web.Token) { k.Networks = []string{} }},
		{`{"rate":null}`, func(k *web.Token) { k.Rate = nil }},
		{`{"readOnly":false,"expiresIn":"90d"}`, func(k *web.Token) {
			k.ReadOnly, k.ExpiresAt = false, ptr(start.Add(90*24*time.Hour).UnixMilli())
		}},
	} {
		c.change(&want)
		var got web.Token
		fred.into(t, "PATCH", base+"/"+issued.ID, c.ask, &got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.ask, diff)
		}
		if diff := cmp.Diff(want, f.get(t, issued.ID)); diff != "" {
			t.Errorf("%s, read again (-want +got):\n%s", c.ask, diff)
		}
	}
	denied(t, fred.send(t, "PATCH", base+"/"+issued.ID, `{"expiresIn":"91d"}`), 400, "expiresIn")
	denied(t, fred.send(t, "PATCH", base+"/"+issued.ID, `{"expiresIn":"unlimited"}`), 400, "expiresIn")
	var got web.Token
	f.into(t, "PATCH", base+"/"+issued.ID, `{"expiresIn":"unlimited"}`, &got)
	if got.ExpiresAt != nil {
		t.Errorf("an administrator's change: %+v", got)
	}
}

// A ChangeRequest survives its encoding as JSON.
func TestChangeRequestAsJSON(t *testing.T) {
	for want, ask := range map[string]web.ChangeRequest{
		`{}`:                {},
		`{"rate":null}`:     {Rate: web.RateChange{Given: true}},
		`{"networks":[]}`:   {Networks: &[]string{}},
		`{"readOnly":true}`: {ReadOnly: ptr(true)},
		`{"rate":{"requests":1,"perSeconds":2,"burst":1}}`: {Rate: web.RateChange{Given: true, Rate: &web.Rate{Requests: 1, PerSeconds: 2, Burst: 1}}},
	} {
		got, err := json.Marshal(ask)
		if err != nil || string(got) != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
		var again web.ChangeRequest
		if err := json.Unmarshal(got, &again); err != nil || !cmp.Equal(ask, again) {
			t.Errorf("%s is read as %+v, %v", got, again, err)
		}
	}
}

// A token that needs approval is returned with its value, has the policy's terms,
// and works once approved.
func TestApproval(t *testing.T) {
	f := configured(t, "publicURL: https://jira.example.com\ndirectory: {upstream: {credential: /unused}}\n"+
		"access:\n  use: [contractors]\n  admin: [jira-administrators]\n  create:\n"+
		"    - {groups: [contractors], maxLifetime: 30d, readOnly: true, approval: true, networks: required, rate: {requests: 60, per: 1m}}\n")
	contractor, barney := f.user("contractor"), f.user("barney")
	denied(t, contractor.send(t, "POST", base+"/", `{"label":"ci"}`), 400, "networks")
	var issued web.IssuedToken
	contractor.into(t, "POST", base+"/", `{"label":"ci","networks":["192.0.2.0/24"]}`, &issued)
	if issued.State != "pending" || !issued.ReadOnly || issued.Rate == nil || *issued.ExpiresAt != start.Add(30*24*time.Hour).UnixMilli() {
		t.Errorf("created %+v", issued.Token)
	}
	path := base + "/" + issued.ID
	denied(t, contractor.send(t, "POST", path+"/approve", nil), 403, "")
	denied(t, barney.send(t, "POST", path+"/enable", nil), 409, "")
	denied(t, contractor.send(t, "POST", path+"/rotate", `{}`), 409, "")
	state := func(want string) {
		t.Helper()
		if got := f.get(t, issued.ID).State; got != want {
			t.Errorf("it is %s, want %s", got, want)
		}
	}
	for _, step := range []struct{ verb, state string }{{"approve", "active"}, {"disable", "disabled"}, {"enable", "active"}} {
		for _, s := range []sender{contractor, f.user("lead")} {
			denied(t, s.send(t, "POST", path+"/"+step.verb, nil), 403, "")
		}
		if got := barney.send(t, "POST", path+"/"+step.verb, nil); got.status != 204 || got.body != "" {
			t.Errorf("%s: %d %s", step.verb, got.status, got.body)
		}
		state(step.state)
		denied(t, barney.send(t, "POST", path+"/"+step.verb, nil), 409, "")
	}
}

// Policies allow tokens for others, but never for an administrator.
func TestCreateForOthers(t *testing.T) {
	f := newFixture(t)
	lead, fred := f.user("lead"), f.user("fred")
	var issued web.IssuedToken
	lead.into(t, "POST", base+"/", `{"label":"ci","user":"ROBOT"}`, &issued)
	if issued.User != "robot" || issued.CreatedBy != "lead" {
		t.Errorf("created %+v", issued.Token)
	}
	for user, want := range map[string]int{"wilma": 403, "barney": 403, "admin": 403} {
		denied(t, lead.send(t, "POST", base+"/", fmt.Sprintf(`{"label":"x","user":%q}`, user)), want, "")
		denied(t, fred.send(t, "POST", base+"/", fmt.Sprintf(`{"label":"x","user":%q}`, user+"x")), 403, "")
	}
	denied(t, f.user("stranger").send(t, "POST", base+"/", `{"label":"x"}`), 403, "")
	denied(t, fred.send(t, "POST", base+"/", `{"label":"x","type":"management","expiresIn":"1d","networks":["192.0.2.0/24"]}`), 403, "")
	denied(t, fred.send(t, "POST", base+"/", `{"label":"x","expiresInDays":91}`), 400, "expiresIn")
	for n := range 3 {
		fred.into(t, "POST", base+"/", fmt.Sprintf(`{"label":"%d"}`, n), &issued)
	}
	denied(t, fred.send(t, "POST", base+"/", `{"label":"x"}`), 409, "")
}
