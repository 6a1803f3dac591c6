package main

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/token"
)

// rules are the access settings of a company. Its directory is the rig's Jira, which is
// queried only when a test calls refresh.
const rules = `
directory: {upstream: {credential: CREDENTIAL, refresh: 1h, staleAfter: 3h}}
access:
  use: [staff]
  create:
    - {groups: [devs], maxLifetime: 90d}
    - {groups: [readers], maxLifetime: 365d, readOnly: true}
    - {groups: [vendors], maxLifetime: 30d, approval: true, networks: required}
  createForOthers: [{groups: [devs], for: [robots]}]
  admin: [admins]
`

// company is the rig with users and groups in Jira, and rules for them.
type company struct {
	*rig
	sessions map[string]string
	origin   string // of publicURL
}

func newCompany(t *testing.T, o options) *company {
	t.Helper()
	more := o.settings
	var credential string
	o.settings = func(yaml string) string {
		credential = regexp.MustCompile(`dir: (\S+)/data`).FindStringSubmatch(yaml)[1] + "/credential"
		if err := os.WriteFile(credential, []byte("c2VydmljZXNlcnZpY2VzZXJ2aWNlc2VydmljZQ==\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		yaml += strings.ReplaceAll(rules, "CREDENTIAL", credential)
		if more != nil {
			yaml = more(yaml)
		}
		return yaml
	}
	o.users = func(jira *jiratest.Server) {
		for name, groups := range map[string][]string{
			"alice": {"staff", "devs"}, "rita": {"staff", "readers"}, "vic": {"staff", "vendors"}, "rob": {"staff", "robots"},
			"ada": {"staff", "admins"}, "nell": {"staff"}, "rex": {"staff", "robots", "admins"},
		} {
			jira.Put(jiratest.User{Name: name, Password: name + "'s password", Active: true, Groups: groups})
		}
		jira.Put(jiratest.User{Name: "service", Active: true, Groups: []string{jiratest.Administrators}, PATs: []string{"c2VydmljZXNlcnZpY2VzZXJ2aWNlc2VydmljZQ=="}})
	}
	c := &company{newRig(t, o), map[string]string{}, "https://jira.example.com"}
	if !o.noGate {
		c.awaitDirectory()
	}
	return c
}

// awaitDirectory waits for the first answer of the directory after a start.
func (c *company) awaitDirectory() {
	c.t.Helper()
	c.until("the first answer of the directory", func() bool { return c.refreshes() > 0 })
}

// refreshes returns the number of successful refreshes of the directory.
func (c *company) refreshes() int {
	c.t.Helper()
	_, metrics := c.probe("/metrics")
	m := regexp.MustCompile(`tokengate_directory_refreshes_total\{result="good"\} (\d+)`).FindStringSubmatch(metrics)
	if m == nil {
		c.t.Fatal("no metric of the directory's refreshes")
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// refresh refreshes the directory and waits for the result.
func (c *company) refresh() {
	c.t.Helper()
	before := c.refreshes()
	c.gate.signal(syscall.SIGHUP)
	c.until("a refresh of the directory", func() bool { return c.refreshes() > before })
}

// session logs a user in with Jira's form, as a browser does, and returns the cookie.
func (c *company) session(name string) string {
	c.t.Helper()
	if cookie := c.sessions[name]; cookie != "" {
		return cookie
	}
	form := "os_username=" + name + "&os_password=" + strings.ReplaceAll(name+"'s password", " ", "+")
	login := c.send(request{method: "POST", path: c.context + "/login.jsp", body: strings.NewReader(form),
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}})
	for _, cookie := range (&http.Response{Header: login.header}).Cookies() {
		if cookie.Name == "JSESSIONID" {
			c.sessions[name] = "JSESSIONID=" + cookie.Value
		}
	}
	if c.sessions[name] == "" {
		c.t.Fatalf("no session for %s: %d", name, login.status)
	}
	return c.sessions[name]
}

const api = "/rest/api-tokens/latest/"

// by returns a request to the API with a user's session, as the page in a browser sends
// it.
func (c *company) by(name, method, path, body string) request {
	q := request{method: method, path: c.context + api + path, header: http.Header{
		"Cookie": {c.session(name)}, "Sec-Fetch-Site": {"same-origin"},
	}}
	if method != http.MethodGet {
		q.header.Set("Origin", c.origin)
	}
	if body != "" || method == http.MethodPost {
		q.header.Set("Content-Type", "application/json")
		q.body = strings.NewReader(body)
	}
	return q
}

// do sends a request, which must be answered with this status, and decodes the answer.
func (c *company) do(q request, status int, into any) answer {
	c.t.Helper()
	got := c.send(q)
	if got.status != status {
		c.t.Fatalf("%s %s: %d %s, want %d", q.method, token.Redact(q.path), got.status, token.Redact(got.body), status)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(got.body), into); err != nil {
			c.t.Fatalf("%s %s answers %s: %v", q.method, q.path, token.Redact(got.body), err)
		}
	}
	return got
}

// issued is the answer to a creation.
type issued struct {
	PasswordValue, ID, State, User string
	ReadOnly                       bool
	ExpiresAt                      int64
	value                          token.Value
}

// create creates a token with a user's session.
func (c *company) create(name, body string) (k issued) {
	c.t.Helper()
	c.do(c.by(name, "POST", "", body), 200, &k)
	value, err := token.Parse(k.PasswordValue)
	if err != nil {
		c.t.Fatalf("the value is no token: %v", err)
	}
	remember(c.t, k.PasswordValue)
	k.value = value
	return k
}

// myself asks Jira for the user of this token, and fails unless the answer has the
// status.
func (c *company) myself(k issued, status int) (user string) {
	c.t.Helper()
	var me struct{ Name string }
	got := c.send(request{path: c.context + "/rest/api/2/myself", auth: bearer(k.value)})
	if got.status != status {
		c.t.Fatalf("with token %s: %d %s, want %d", k.ID, got.status, got.body, status)
	}
	_ = json.Unmarshal([]byte(got.body), &me)
	return me.Name
}
