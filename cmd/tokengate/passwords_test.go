package main

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/tokengate/tokengate/authz/directory/jiratest"
)

// Passwords are switched off as cmd/tokengate/README.md says: first observe, then
// block, with a reload. observe logs exactly the requests that block refuses.
func TestPasswordModes(t *testing.T) {
	t.Parallel()
	const observe = "passwords: {mode: observe, allowedUsers: [admin]}"
	r := newRig(t, options{settings: func(yaml string) string {
		return withoutKey(t, yaml, "passwords") + "\n" + observe + "\n"
	}})
	value := r.mint("passwords")
	post := func(path, contentType, body string) func() request {
		return func() request {
			return request{method: "POST", path: path, header: http.Header{"Content-Type": {contentType}}, body: strings.NewReader(body)}
		}
	}
	get := func(path, auth string) func() request {
		return func() request { return request{path: path, auth: auth} }
	}
	const json, form = "application/json", "application/x-www-form-urlencoded"
	const fred, admin = `{"username":"fred","password":"yabba"}`, `{"username":"admin","password":"secret"}`
	const myself = "/rest/api/2/myself"
	cases := []struct {
		name   string
		q      func() request
		passes bool // under block
		status int  // Jira's
		how    jiratest.How
	}{
		{"Basic", get(myself, basic("fred", "yabba")), false, 200, jiratest.ByBasic},
		{"Basic outside REST", get("/secure/Dashboard.jspa", basic("fred", "yabba")), false, 200, jiratest.ByBasic},
		{"REST login", post("/rest/auth/1/session", json, fred), false, 200, jiratest.ByLogin},
		{"REST login by another name", post("/rest/auth/latest/session.json", json, fred), false, 200, jiratest.ByLogin},
		{"REST login of an exempt user", post("/rest/auth/1/session", json, admin), false, 200, jiratest.ByLogin}, // the body is not read
		{"query", get(myself+"?os_username=fred&os_password=yabba", ""), false, 200, jiratest.ByQuery},
		{"query, escaped", get(myself+"?os%5fusername=fred&os_passw%6frd=yabba", ""), false, 200, jiratest.ByQuery},
		{"exempt user", get(myself, basic("ADMIN", "secret")), true, 200, jiratest.ByBasic},
		{"exempt path", get("/rest/usermanagement/1/user", basic("fred", "yabba")), true, 404, jiratest.ByBasic},
		{"form login", post("/login.jsp", form, "os_username=fred&os_password=yabba"), true, 302, jiratest.ByLogin},
		{"token", get(myself, basic("fred", value.Reveal())), true, 200, jiratest.ByHeader},
		{"nothing", get("/rest/api/2/serverInfo", ""), true, 200, jiratest.Anonymous},
	}
	modes := []struct {
		name, line, metric string
	}{
		{"observe", "password passed through; mode block would deny it", "tokengate_passwords_observed_total 7"},
		{"block", "request denied: password_blocked", `tokengate_decisions_total{outcome="denied",reason="password_blocked"} 7`},
	}
	for _, mode := range modes {
		blocks := mode.name == "block"
		if blocks {
			r.write(strings.Replace(read(t, r.config), "mode: observe", "mode: block", 1))
			r.gate.signal(syscall.SIGHUP)
			r.gate.waitFor("the configuration file was reloaded")
		}
		for _, c := range cases {
			t.Run(fmt.Sprint(mode.name, ", ", c.name), func(t *testing.T) {
				r.jira.Reset()
				got := r.send(c.q())
				if !blocks || c.passes {
					if seen := r.seen(); got.status != c.status || seen.How != c.how {
						t.Errorf("status %d, want %d; Jira knew the user by %s, want %s", got.status, c.status, seen.How, c.how)
					}
					return
				}
				if got.status != 403 || !strings.Contains(got.body, "Passwords are switched off") {
					t.Errorf("status %d: %s", got.status, got.body)
				}
				checkDenial(t, "", got)
				if n := r.jira.Total(); n != 0 {
					t.Errorf("Jira heard %d requests", n)
				}
			})
		}
		if !r.hasMetric(mode.metric) {
			t.Errorf("no metric %s", mode.metric)
		}
	}
	if err := r.gate.stop(); err != nil { // then the log is complete
		t.Error(err)
	}
	log := r.gate.log.String()
	for _, mode := range modes {
		if n := strings.Count(log, mode.line); n != 7 {
			t.Errorf("%s: %d lines, want 7", mode.name, n)
		}
	}
	if strings.Contains(log+r.envoy.Output()+r.envoy.Log(), "yabba") {
		t.Error("a log holds a password")
	}
	if n := r.jira.Failures("fred"); n != 0 {
		t.Errorf("Jira counted %d failed logins", n)
	}
}
