package web_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/manage/web"
)

// What a change names is changed, and nothing else.
func TestChange(t *testing.T) {
	f := newFixture(t)
	fred := f.person("fred")
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
		// Wider again, as far as the rule goes.
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

// What a client sends as a ChangeRequest says what it means.
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

// A token that needs approval is told with its value, and comes into force when
// an administrator says so; the rule's terms stand in it.
func TestApproval(t *testing.T) {
	f := configured(t, "publicURL: https://jira.example.com\ndirectory: {jira: {credential: /unused}}\n"+
		"access:\n  use: [contractors]\n  admin: [jira-administrators]\n  create:\n"+
		"    - {groups: [contractors], maxLifetime: 30d, readOnly: true, approval: true, networks: required, rate: {requests: 60, per: 1m}}\n")
	contractor, barney := f.person("contractor"), f.person("barney")
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
		for _, s := range []sender{contractor, f.person("lead")} {
			denied(t, s.send(t, "POST", path+"/"+step.verb, nil), 403, "")
		}
		if got := barney.send(t, "POST", path+"/"+step.verb, nil); got.status != 204 || got.body != "" {
			t.Errorf("%s: %d %s", step.verb, got.status, got.body)
		}
		state(step.state)
		denied(t, barney.send(t, "POST", path+"/"+step.verb, nil), 409, "")
	}
}

// For others there are tokens by rule, and never for an administrator.
func TestCreateForOthers(t *testing.T) {
	f := newFixture(t)
	lead, fred := f.person("lead"), f.person("fred")
	var issued web.IssuedToken
	lead.into(t, "POST", base+"/", `{"label":"ci","user":"ROBOT"}`, &issued)
	if issued.User != "robot" || issued.CreatedBy != "lead" {
		t.Errorf("created %+v", issued.Token)
	}
	for user, want := range map[string]int{"wilma": 403, "barney": 403, "admin": 403} {
		denied(t, lead.send(t, "POST", base+"/", fmt.Sprintf(`{"label":"x","user":%q}`, user)), want, "")
		denied(t, fred.send(t, "POST", base+"/", fmt.Sprintf(`{"label":"x","user":%q}`, user+"x")), 403, "")
	}
	denied(t, f.person("stranger").send(t, "POST", base+"/", `{"label":"x"}`), 403, "")
	denied(t, fred.send(t, "POST", base+"/", `{"label":"x","type":"management","expiresIn":"1d","networks":["192.0.2.0/24"]}`), 403, "")
	denied(t, fred.send(t, "POST", base+"/", `{"label":"x","expiresInDays":91}`), 400, "expiresIn")
	for n := range 3 {
		fred.into(t, "POST", base+"/", fmt.Sprintf(`{"label":"%d"}`, n), &issued)
	}
	denied(t, fred.send(t, "POST", base+"/", `{"label":"x"}`), 409, "")
}
