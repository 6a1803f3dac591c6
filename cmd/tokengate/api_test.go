package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/token"
)

// Ordinary tokens are refused by the management API, and management tokens by Jira. A
// management token acts as an administrator, under its own name, until it is revoked.
func TestManagementTokens(t *testing.T) {
	t.Parallel()
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

// Headers that claim an identity are ignored, and requests from other sites are refused.
func TestSpoofedRequests(t *testing.T) {
	t.Parallel()
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
			t.Errorf("%s is allowed to read the answer", name)
		}
	}
	var own []any
	if c.do(c.by("alice", "GET", "", ""), 200, &own); len(own) != 0 {
		t.Errorf("alice has %d tokens", len(own))
	}
}

// When Jira is down, refuses passwords or answers nonsense, nothing is changed, and the
// text says what to do.
func TestJiraFails(t *testing.T) {
	t.Parallel()
	c := newCompany(t, options{})
	c.session("alice")
	create := func() request { return c.by("alice", "POST", "", `{"label":"x"}`) }
	for name, fault := range map[string]jiratest.Fault{
		"503": jiratest.Status(503), "a login page": jiratest.LoginPage(), "nonsense": jiratest.Nonsense(),
		"half an answer": jiratest.Truncated(), "no end": jiratest.Endless(),
	} {
		failure := c.jira.Fail("/rest/api/2/myself", fault)
		c.sessions["alice"] += ";x=" + strings.ReplaceAll(name, " ", "") // a credential that is not cached
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
