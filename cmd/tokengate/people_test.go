package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory/jiratest"
	"github.com/tokengate/tokengate/authz/token"
)

// A user creates, uses, narrows, rotates and revokes tokens with nothing but a
// session of Jira's, through Envoy; each change is in force for the very next
// request.
func TestSelfService(t *testing.T) {
	c := newCompany(t, options{})
	k := c.create("alice", `{"label":"ci"}`)
	if user := c.myself(k, 200); user != "alice" || k.User != "alice" || k.State != "active" {
		t.Errorf("the token of %q is %q to Jira, and %s", k.User, user, k.State)
	}
	if days := time.Until(time.UnixMilli(k.ExpiresAt)).Hours() / 24; days < 89 || days > 90 {
		t.Errorf("it lives %v days", days)
	}
	// The list is the original's, with more beside.
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

// The rules, as people meet them.
func TestRulesOverREST(t *testing.T) {
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
		"for an admin":       {"alice", `{"label":"x","user":"rex"}`, 403, "No rule lets you"},
		"for another":        {"alice", `{"label":"x","user":"rita"}`, 403, "No rule lets you"},
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

// A pending token works from an administrator's approval on, and a disabled one
// again from when it is enabled.
func TestApprovalOverREST(t *testing.T) {
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

// Whoever leaves the group or the company, or whose name is another's by now,
// loses the use of their tokens with the next refresh; who is renamed does not.
// What can come back does.
func TestPeopleLeave(t *testing.T) {
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
	if got := c.send(request{auth: bearer(tokens["alice"].value)}); got.status != 403 || !strings.Contains(got.body, "not permitted") {
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

// Each kind of token is refused at the other's door, and a management token does
// what an administrator does, under its own name, until it is revoked.
func TestManagementTokens(t *testing.T) {
	c := newCompany(t, options{})
	ordinary := c.create("alice", `{"label":"ci"}`)
	if got := c.send(request{path: api, auth: bearer(ordinary.value)}); got.status != 403 || !strings.Contains(got.body, "kind of API token") {
		t.Errorf("an ordinary token at the management API: %d %s", got.status, got.body)
	}
	bot := c.create("ada", `{"label":"deploy bot","type":"management","expiresIn":"30d","networks":["10.1.0.0/16"]}`)
	if got := c.send(request{auth: bearer(bot.value)}); got.status != 403 || !strings.Contains(got.body, "kind of API token") {
		t.Errorf("a management token at Jira: %d %s", got.status, got.body)
	}
	as := func(method, path, body string) request {
		q := request{method: method, path: api + path, auth: bearer(bot.value), header: http.Header{}}
		if body != "" {
			q.body = strings.NewReader(body)
			q.header.Set("Content-Type", "application/json")
		}
		return q
	}
	var k issued
	c.do(as("POST", "", `{"label":"by automation","user":"rob"}`), 200, &k)
	remember(t, k.PasswordValue)
	k.value = mustParse(t, k.PasswordValue)
	if user := c.myself(k, 200); user != "rob" {
		t.Errorf("the robot's token is %q to Jira", user)
	}
	c.do(as("POST", "", `{"label":"more","type":"management","expiresIn":"1d","networks":["10.1.0.0/16"]}`), 403, nil)
	c.do(as("POST", bot.ID+"/rotate", `{}`), 403, nil)
	c.do(as("GET", "", ""), 403, nil) // it has no tokens of its own
	var audit struct{ Values []struct{ Actor string } }
	c.do(as("GET", "audit?action=token.create&limit=1&outcome=done", ""), 200, &audit)
	if got := audit.Values[0].Actor; got != "token:"+bot.ID+" deploy bot" {
		t.Errorf("the audit log says %q", got)
	}
	from := as("GET", "tokens", "")
	from.from = "192.0.2.1"
	c.do(from, 403, nil)
	c.do(c.by("ada", "DELETE", bot.ID, ""), 204, nil)
	c.do(as("GET", "tokens", ""), 401, nil)
}

// What a request says of itself counts for nothing: not a header that names
// somebody, and not a page of another site.
func TestNobodyIsBelieved(t *testing.T) {
	c := newCompany(t, options{})
	for _, header := range []string{"X-Forwarded-User", "Remote-User", "X-Tokengate-User", "X-Tokengate-Client-Ip"} {
		c.do(request{path: api + "tokens", header: http.Header{header: {"ada"}}}, 401, nil)
	}
	for name, change := range map[string]func(*request){
		"another site":         func(q *request) { q.header.Set("Sec-Fetch-Site", "cross-site") },
		"a sister site":        func(q *request) { q.header.Set("Sec-Fetch-Site", "same-site") },
		"another origin":       func(q *request) { q.header.Set("Origin", "https://evil.example.com") },
		"no origin":            func(q *request) { q.header.Set("Origin", "null") },
		"a form":               func(q *request) { q.header.Set("Content-Type", "application/x-www-form-urlencoded") },
		"a form in plain text": func(q *request) { q.header.Set("Content-Type", "text/plain") },
	} {
		q := c.by("alice", "POST", "", `{"label":"stolen"}`)
		change(&q)
		got := c.send(q)
		if got.status != 403 && got.status != 415 {
			t.Errorf("%s: %d %s", name, got.status, token.Redact(got.body))
		}
		if len(got.header.Values("Access-Control-Allow-Origin")) > 0 {
			t.Errorf("%s is told that it may read", name)
		}
	}
	var own []any
	if c.do(c.by("alice", "GET", "", ""), 200, &own); len(own) != 0 {
		t.Errorf("alice has %d tokens", len(own))
	}
}

// Jira down, refusing passwords, or answering nonsense: nothing is done, and the
// text says what to do.
func TestJiraFails(t *testing.T) {
	c := newCompany(t, options{})
	c.session("alice")
	create := func() request { return c.by("alice", "POST", "", `{"label":"x"}`) }
	for name, fault := range map[string]jiratest.Fault{
		"503": jiratest.Status(503), "a login page": jiratest.LoginPage(), "nonsense": jiratest.Nonsense(),
		"half an answer": jiratest.Truncated(), "no end": jiratest.Endless(),
	} {
		failure := c.jira.Fail("/rest/api/2/myself", fault)
		c.sessions["alice"] += ";x=" + strings.ReplaceAll(name, " ", "") // a credential that nobody has asked about
		if got := c.send(create()); got.status != 503 || !strings.Contains(got.body, "errorMessages") || got.header.Get("Retry-After") != "" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		failure.Stop()
	}
	c.jira.RefuseBasic(true)
	got := c.send(request{path: api, auth: basic("rita", "rita's password")})
	if got.status != 403 || !strings.Contains(got.body, "log in") {
		t.Errorf("passwords switched off in Jira: %d %s", got.status, got.body)
	}
	c.jira.RefuseBasic(false)
	for range 10 {
		c.send(request{path: api, auth: basic("nell", fmt.Sprint("wrong ", time.Now().UnixNano()))})
	}
	if n := c.jira.Failures("nell"); n > 2 {
		t.Errorf("Jira counted %d failed logins of nell", n)
	}
	c.sessions["alice"] = strings.Split(c.sessions["alice"], ";")[0] + ";y=1"
	c.create("alice", `{"label":"x"}`)
}

// A token has a rate, which outlives a change of the token.
func TestRate(t *testing.T) {
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

// Who still uses passwords, and how much there was to decide.
func TestRecordsOverREST(t *testing.T) {
	c := newCompany(t, options{})
	k := c.create("alice", `{"label":"x"}`)
	c.myself(k, 200)
	c.send(request{auth: basic("alice", "alice's password"), header: http.Header{"User-Agent": {"old-script/1"}}})
	c.gate.stop()
	c.startGate()
	c.until("the directory's answer", func() bool { return c.refreshes() > 0 })
	var passwords struct {
		Users []struct {
			User string
			Uses []struct {
				Client, Address string
				Passed          int
			}
		}
	}
	c.do(c.by("ada", "GET", "passwords", ""), 200, &passwords)
	if len(passwords.Users) != 1 || passwords.Users[0].User != "alice" || passwords.Users[0].Uses[0].Client != "old-script/1" || passwords.Users[0].Uses[0].Address != "10.1.2.3" {
		t.Errorf("passwords: %+v", passwords)
	}
	var totals struct{ Days []struct{ Allowed int } }
	c.do(c.by("ada", "GET", "totals", ""), 200, &totals)
	allowed := 0
	for _, d := range totals.Days {
		allowed += d.Allowed
	}
	if allowed != 1 {
		t.Errorf("totals: %+v", totals)
	}
	for _, path := range []string{"passwords", "totals", "rules", "audit"} {
		c.do(c.by("alice", "GET", path, ""), 403, nil)
	}
	var me struct{ Name string }
	if c.do(c.by("alice", "GET", "me", ""), 200, &me); me.Name != "alice" {
		t.Errorf("alice is %+v", me)
	}
}

// Everything that there is to read, through Envoy, by an administrator's
// session: JSON, CSV, the stream of all tokens, and the description.
func TestReadingOverREST(t *testing.T) {
	c := newCompany(t, options{})
	k := c.create("alice", `{"label":"ci","purpose":"=1+1"}`)
	c.create("rita", `{"label":"report"}`)
	for path, says := range map[string]string{
		"tokens?user=alice":                   `"label":"ci"`,
		"tokens?sort=name&order=desc&limit=1": `"total":2`,
		"tokens?format=csv":                   k.ID,
		"all":                                 `"username":"alice","count":1`,
		"audit?format=csv":                    "token.create",
		"me":                                  `"administrator":true`,
		"rules":                               `"key":"access.create[0].maxLifetime"`,
		"passwords":                           `"users":[]`,
		"totals":                              `"days":`,
		"openapi.json":                        `"openapi": "3.1.0"`,
		k.ID:                                  `"label":"ci"`,
	} {
		if got := c.do(c.by("ada", "GET", path, ""), 200, nil); !strings.Contains(got.body, says) {
			t.Errorf("%s: %.1000s does not say %s", path, got.body, says)
		}
	}
	if got := c.do(c.by("ada", "GET", "tokens?format=csv", ""), 200, nil); strings.Contains(got.body, ",=1+1") || !strings.Contains(got.header.Get("Content-Type"), "text/csv") {
		t.Errorf("CSV with a formula, as %s: %s", got.header.Get("Content-Type"), got.body)
	}
	for who, status := range map[string]int{"alice": 200, "ada": 200, "rita": 404} {
		body := fmt.Sprintf(`{"tokenId":%q,"method":"GET","path":"/rest/pat/latest/tokens","ip":"10.1.2.3"}`, k.ID)
		got := c.do(c.by(who, "POST", "explain", body), status, nil)
		if status == 200 && !strings.Contains(got.body, `"reason":"endpoint_forbidden"`) {
			t.Errorf("explained to %s: %s", who, got.body)
		}
	}
	// Only Envoy's own account of the client's address counts.
	q := c.by("alice", "GET", "me", "")
	q.header.Set("X-Tokengate-Client-Ip", "203.0.113.9")
	if got := c.do(q, 200, nil); strings.Contains(got.body, "203.0.113.9") || !strings.Contains(got.body, "10.1.2.3") {
		t.Errorf("alice is where she says: %s", got.body)
	}
}
