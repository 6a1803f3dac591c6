package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/token"
)

// A user creates, uses, restricts, rotates and revokes tokens with a Jira session, through
// Envoy; each change applies to the next request.
func TestSelfService(t *testing.T) {
	t.Parallel()
	c := newCompany(t, options{})
	k := c.create("alice", `{"label":"ci"}`)
	if user := c.myself(k, 200); user != "alice" || k.User != "alice" || k.State != "active" {
		t.Errorf("the token of %q is %q to Jira, and %s", k.User, user, k.State)
	}
	if days := time.Until(time.UnixMilli(k.ExpiresAt)).Hours() / 24; days < 89 || days > 90 {
		t.Errorf("it lives %v days", days)
	}
	// The list has the known plugin's fields, and more.
	var own []map[string]any
	c.do(c.by("alice", "GET", "", ""), 200, &own)
	if len(own) != 1 || own[0]["id"] != k.ID || own[0]["label"] != "ci" || own[0]["createdAt"] == nil {
		t.Errorf("own tokens: %v", own)
	}

	c.do(c.by("alice", "PATCH", k.ID, `{"readOnly":true}`), 200, nil)
	write := request{method: "POST", path: "/rest/api/2/issue", auth: bearer(k.value), body: strings.NewReader("{}"), header: http.Header{"Content-Type": {"application/json"}}}
	if got := c.send(write); got.status != 403 || !strings.Contains(got.body, "read-only") {
		t.Errorf("a write with a read-only token: %d %s", got.status, got.body)
	}
	var second issued
	c.do(c.by("alice", "POST", k.ID+"/rotate", `{"overlap":"1h"}`), 200, &second)
	remember(t, second.PasswordValue)
	c.myself(k, 200)
	second.value = mustParse(t, second.PasswordValue)
	c.myself(second, 200)
	var third issued
	c.do(c.by("alice", "POST", k.ID+"/rotate", `{}`), 200, &third)
	remember(t, third.PasswordValue)
	third.value = mustParse(t, third.PasswordValue)
	c.myself(k, 401)
	c.myself(second, 401)
	c.myself(third, 200)
	c.do(c.by("alice", "DELETE", k.ID, ""), 204, nil)
	c.myself(third, 401)

	// By password, as scripts do.
	q := request{method: "POST", path: api, auth: basic("alice", "alice's password"), body: strings.NewReader(`{"label":"script"}`), header: http.Header{"Content-Type": {"application/json"}}}
	c.do(q, 200, &k)
	remember(t, k.PasswordValue)
	k.value = mustParse(t, k.PasswordValue)
	c.myself(k, 200)
	c.do(request{method: "DELETE", path: api + "all", auth: basic("alice", "alice's password")}, 204, nil)
	c.myself(k, 401)
}

func mustParse(t *testing.T, text string) token.Value {
	t.Helper()
	v, err := token.Parse(text)
	if err != nil {
		t.Fatalf("no value: %v", err)
	}
	return v
}

// The access rules over REST.
func TestRulesOverREST(t *testing.T) {
	t.Parallel()
	c := newCompany(t, options{})
	for name, test := range map[string]struct {
		who, body string
		status    int
		says      string
	}{
		"no rule":            {"nell", `{"label":"x"}`, 403, "not permitted to create"},
		"91 days":            {"alice", `{"label":"x","expiresInDays":91}`, 400, "90d"},
		"90 days":            {"alice", `{"label":"90","expiresInDays":90}`, 200, ""},
		"read-only":          {"rita", `{"label":"x","readOnly":false}`, 200, `"readOnly":true`},
		"for a robot":        {"alice", `{"label":"x","user":"rob"}`, 200, `"user":"rob"`},
		"for an admin":       {"alice", `{"label":"x","user":"rex"}`, 403, "No policy lets you"},
		"for another":        {"alice", `{"label":"x","user":"rita"}`, 403, "No policy lets you"},
		"without networks":   {"vic", `{"label":"x"}`, 400, "networks"},
		"approval":           {"vic", `{"label":"x","networks":["10.0.0.0/8"]}`, 200, `"state":"pending"`},
		"admin for anybody":  {"ada", `{"label":"ada's","user":"rita","expiresIn":"unlimited"}`, 200, `"expiresAt":null`},
		"unknown user":       {"ada", `{"label":"x","user":"who"}`, 400, "no such user"},
		"management by user": {"alice", `{"label":"x","type":"management","expiresIn":"1d","networks":["10.0.0.0/8"]}`, 403, "administrators"},
	} {
		got := c.send(c.by(test.who, "POST", "", test.body))
		var k issued
		if json.Unmarshal([]byte(got.body), &k) == nil && k.PasswordValue != "" {
			remember(t, k.PasswordValue)
		}
		if got.status != test.status || !strings.Contains(got.body, test.says) {
			t.Errorf("%s: %d %s, want %d and %q", name, got.status, token.Redact(got.body), test.status, test.says)
		}
	}
	var page struct {
		Values []struct{ User string }
		Total  int
	}
	c.do(c.by("ada", "GET", "tokens", ""), 200, &page)
	if page.Total != 5 || len(page.Values) != 5 {
		t.Errorf("the administrator sees %+v", page)
	}
	c.do(c.by("alice", "GET", "tokens", ""), 403, nil)
	c.do(c.by("alice", "GET", "all", ""), 403, nil)
}

// A pending token works after an administrator's approval, and a disabled one after it is
// enabled.
func TestApprovalOverREST(t *testing.T) {
	t.Parallel()
	c := newCompany(t, options{})
	k := c.create("vic", `{"label":"x","networks":["10.0.0.0/8"]}`)
	c.myself(k, 401)
	c.do(c.by("vic", "POST", k.ID+"/approve", ""), 403, nil)
	c.do(c.by("ada", "POST", k.ID+"/approve", ""), 204, nil)
	c.myself(k, 200)
	c.do(c.by("ada", "POST", k.ID+"/disable", ""), 204, nil)
	c.myself(k, 401)
	c.do(c.by("ada", "POST", k.ID+"/enable", ""), 204, nil)
	c.myself(k, 200)
	var audit struct {
		Values []struct{ Action, Actor, From, TokenID, Outcome string }
	}
	c.do(c.by("ada", "GET", "audit?tokenId="+k.ID, ""), 200, &audit)
	var got []string
	for _, r := range audit.Values {
		got = append(got, r.Actor+" "+r.Action+" "+r.Outcome)
	}
	if want := "ada token.enable done, ada token.disable done, ada token.approve done, vic token.approve refused, vic token.create done"; strings.Join(got, ", ") != want {
		t.Errorf("the audit log: %v", got)
	}
	if audit.Values[0].From != "10.1.2.3" {
		t.Errorf("the audit log says they came from %q", audit.Values[0].From)
	}
}

// Users who leave the group or the company, or whose name now belongs to another user,
// cannot use their tokens after the next refresh; renamed users can. Users who return can
// use them again.
func TestUsersLeave(t *testing.T) {
	t.Parallel()
	c := newCompany(t, options{})
	names := []string{"alice", "rita", "vic", "ada", "rex"}
	tokens := map[string]issued{}
	for _, name := range names {
		c.session(name)
		tokens[name] = c.create("ada", fmt.Sprintf(`{"label":"of %s","user":%q}`, name, name))
		c.myself(tokens[name], 200)
	}
	for _, err := range []error{
		c.jira.SetGroups("alice", "devs"),
		c.jira.Deactivate("rita"),
		c.jira.Rename("vic", "victor"),
		c.jira.Delete("rex"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c.jira.Put(jiratest.User{Name: "rex", Active: true, Password: "another's", Groups: []string{"staff", "robots"}})
	c.refresh()
	if got := c.send(request{auth: bearer(tokens["alice"].value)}); got.status != 403 || !strings.Contains(got.body, "in no group that may use tokens") {
		t.Errorf("out of use: %d %s", got.status, got.body)
	}
	c.myself(tokens["rita"], 401)
	c.until("vic's token follows", func() bool { return c.send(request{auth: bearer(tokens["vic"].value)}).status == 200 })
	if user := c.myself(tokens["vic"], 200); user != "victor" {
		t.Errorf("to Jira vic is %q", user)
	}
	c.myself(tokens["rex"], 401)
	c.myself(tokens["ada"], 200)
	var k struct{ State, User string }
	for name, want := range map[string]string{"alice": "suspended alice", "rita": "suspended rita", "vic": "active victor", "rex": "suspended rex"} {
		c.do(c.by("ada", "GET", tokens[name].ID, ""), 200, &k)
		if got := k.State + " " + k.User; got != want {
			t.Errorf("%s's token is %s, want %s", name, got, want)
		}
	}
	for _, err := range []error{c.jira.SetGroups("alice", "staff", "devs"), c.jira.Activate("rita")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c.refresh()
	c.myself(tokens["alice"], 200)
	c.myself(tokens["rita"], 200)
	c.myself(tokens["rex"], 401)
	for _, name := range names {
		if n := c.jira.Failures(name); n != 0 {
			t.Errorf("Jira counted %d failed logins of %s", n, name)
		}
	}
}

// A token's rate limit survives a change of the token.
func TestRate(t *testing.T) {
	t.Parallel()
	c := newCompany(t, options{})
	k := c.create("alice", `{"label":"x","rate":{"requests":3,"perSeconds":3600}}`)
	for range 3 {
		c.myself(k, 200)
	}
	got := c.send(request{auth: bearer(k.value)})
	if got.status != 429 || got.header.Get("Retry-After") != "1200" && got.header.Get("Retry-After") != "1199" {
		t.Errorf("%d, Retry-After %q: %s", got.status, got.header.Get("Retry-After"), got.body)
	}
	c.do(c.by("alice", "PATCH", k.ID, `{"label":"y"}`), 200, nil)
	c.refresh()
	c.myself(k, 429)
}
