//go:build long

package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/token"
)

// jiraClients are unmodified clients of Jira, each with its package list in
// testdata/tools/python and a script that runs the steps. mcp-atlassian shows its
// own texts for a forbidden path (closed) and an exceeded rate (spent).
var jiraClients = []struct{ name, list, script, closed, spent string }{
	{"python-jira", "clients", "python_jira.py", "", ""},
	{"atlassian-python-api", "clients", "atlassian_python_api.py", "", ""},
	{"mcp-atlassian", "mcp", "mcp_atlassian_client.py", "403 Client Error: Forbidden", "rate limit hit (429). Server requested Retry-After: "},
}

// clientStep is an action of a client with a credential.
type clientStep struct {
	URL     string `json:"url"`
	How     string `json:"how"` // basic, bearer, or session
	User    string `json:"user"`
	Secret  string `json:"secret"`
	Do      string `json:"do"`
	Retries int    `json:"retries"` // 0: the client shows the first answer

	name string
	want string // the text that the client shows; empty: the text of the denial
	fail bool   // the client must fail
	// path and method are the request whose denial has the expected text.
	method, path string
}

// outcome is the result of a step, as the client shows it.
type outcome struct {
	OK      bool    `json:"ok"`
	Text    string  `json:"text"`
	Seconds float64 `json:"seconds"`
}

const myself = "/rest/api/2/myself"

// Unmodified clients work with tokens, and show why a request is denied.
func TestJiraClients(t *testing.T) {
	x := newSite(t)
	full, _ := x.create("--user", "fred", "--name", "full", "--expires", "1d")
	reader, _ := x.create("--user", "fred", "--name", "reader", "--expires", "1d", "--read-only")
	office, _ := x.create("--user", "fred", "--name", "office", "--expires", "1d", "--ip", "10.0.0.0/8")
	revoked, id := x.create("--user", "fred", "--name", "revoked", "--expires", "1d")
	if _, err := x.command(t.Context(), "token", "revoke", id); err != nil {
		t.Fatal(err)
	}
	expired, id := x.create("--user", "fred", "--name", "expired", "--expires", "1s")
	if err := x.waitForExpiry(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for _, c := range jiraClients {
		slow, _ := x.create("--user", "fred", "--name", "slow "+c.name, "--expires", "1d", "--rate", "1/1d")
		pace, _ := x.create("--user", "fred", "--name", "pace "+c.name, "--expires", "1d", "--rate", "1/3s")
		t.Run(c.name, func(t *testing.T) {
			for _, how := range []string{"basic", "bearer"} {
				x.runClient(t, c.list, c.script, []clientStep{
					{name: how + " reads", How: how, Secret: full, Do: "read", want: "fred reads DEMO-1"},
					{name: how + " writes", How: how, Secret: full, Do: "write", want: "DEMO-"},
					{name: how + " attaches", How: how, Secret: full, Do: "attach", want: "attached"},
					{name: how + " reads with a read-only token", How: how, Secret: reader, Do: "read", want: "fred reads DEMO-1"},
					{name: how + " downloads with a read-only token", How: how, Secret: reader, Do: "download", want: "16"},
					{name: how + " writes with a read-only token", How: how, Secret: reader, Do: "write", fail: true, method: "POST", path: "/rest/api/2/issue"},
					{name: how + " with a revoked token", How: how, Secret: revoked, Do: "myself", fail: true, path: myself},
					{name: how + " with an expired token", How: how, Secret: expired, Do: "myself", fail: true, path: myself},
					{name: how + " on a path that is not allowed", How: how, Secret: full, Do: "closed", fail: true, want: c.closed, path: "/secure/Dashboard.jspa"},
				})
			}
			x.runClient(t, c.list, c.script, []clientStep{
				{name: "the only request of a day", How: "bearer", Secret: slow, Do: "issue", want: "DEMO-1"},
				{name: "the second", How: "bearer", Secret: slow, Do: "issue", fail: true, want: c.spent, path: myself},
				{name: "one request in three seconds", How: "bearer", Secret: pace, Do: "issue", want: "DEMO-1"},
				{name: "the next waits", How: "bearer", Secret: pace, Do: "issue", Retries: 3, want: "DEMO-1"},
			})
			x.moveTo(outside)
			defer x.moveTo(inside)
			x.runClient(t, c.list, c.script, []clientStep{{name: "from another network", How: "bearer", Secret: office, Do: "myself", fail: true, path: myself}})
		})
	}
	x.reconfigure("passwords: {mode: block}\n")
	for _, c := range jiraClients {
		t.Run(c.name+" with a password", func(t *testing.T) {
			x.runClient(t, c.list, c.script, []clientStep{{name: "password", How: "basic", Secret: fred, Do: "myself", fail: true, path: myself}})
		})
	}
	if n := x.jira.Failures("fred"); n != 0 {
		t.Errorf("Jira counted %d failed logins for fred", n)
	}
}

// runClient runs steps with a client and checks the texts that it shows.
func (x *site) runClient(t *testing.T, list, script string, steps []clientStep) []outcome {
	t.Helper()
	texts := make([]string, len(steps)) // of the denials
	for i := range steps {
		s := &steps[i]
		s.URL, s.User = x.url, "fred"
		if s.want == "" && s.How != "" && s.Do != "issue" {
			texts[i] = x.denialText(t, *s)
		}
	}
	input, err := json.Marshal(steps)
	if err != nil {
		t.Fatal(err)
	}
	cmd := python(t.Context(), t, list, "cmd/demo/testdata/clients/"+script)
	cmd.Stdin = strings.NewReader(string(input))
	out, err := cmd.Output()
	if err != nil {
		stderr := ""
		if e, ok := err.(*exec.ExitError); ok {
			stderr = string(e.Stderr)
		}
		t.Fatalf("%s: %v: %s", script, err, token.Redact(stderr))
	}
	var outcomes []outcome
	if err := json.Unmarshal(out, &outcomes); err != nil || len(outcomes) != len(steps) {
		t.Fatalf("%s: %v: %s", script, err, token.Redact(string(out)))
	}
	for i, got := range outcomes {
		s, shown := steps[i], token.Redact(outcomes[i].Text)
		if s.want == "" && texts[i] == "" {
			texts[i] = x.denialText(t, s)
		}
		t.Logf("%s: %v in %.1f s: %s", s.name, got.OK, got.Seconds, shown)
		switch {
		case token.Contains(got.Text):
			t.Errorf("%s: the client shows the token", s.name)
		case got.OK == s.fail:
			t.Errorf("%s: succeeded %v: %s", s.name, got.OK, shown)
		case !strings.Contains(unpaced(got.Text), unpaced(s.want+texts[i])):
			t.Errorf("%s: the client shows\n%s\nwithout\n%s", s.name, shown, s.want+texts[i])
		}
	}
	return outcomes
}

// unpaced replaces numbers, which change while a client waits.
func unpaced(text string) string { return regexp.MustCompile(`[0-9]+`).ReplaceAllString(text, "N") }

// denialText returns the text of the denial that a step gets.
func (x *site) denialText(t *testing.T, s clientStep) string {
	t.Helper()
	method := s.method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(t.Context(), method, x.url+s.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.Secret)
	if s.How == "basic" {
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("fred:"+s.Secret)))
	}
	client := http.Client{Timeout: time.Minute}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	var denied struct{ Message string }
	if err == nil {
		err = json.Unmarshal(body, &denied)
	}
	if err != nil || response.StatusCode < 400 || denied.Message == "" {
		t.Fatalf("%s: %d %v: %s", s.name, response.StatusCode, err, body)
	}
	return denied.Message
}

// Python's requests prefers ~/.netrc, possibly with another user, to the header
// that a program sets.
func TestNetrc(t *testing.T) {
	x := newSite(t)
	value, _ := x.create("--user", "fred", "--name", "netrc", "--expires", "1d")
	file := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(file, []byte("machine 127.0.0.1 login wilma password "+wilma+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const program = `
import os, requests
session = requests.Session()
session.trust_env = os.environ["TRUST"] == "yes"
me = session.get(os.environ["JIRA"] + "/rest/api/2/myself", headers={"Authorization": "Bearer " + os.environ["TOKEN"]})
print(me.json()["name"])`
	for trust, want := range map[string]string{"yes": "wilma", "no": "fred"} {
		cmd := python(t.Context(), t, "clients", "-c", program)
		cmd.Env = append(cmd.Env, "NETRC="+file, "TRUST="+trust, "JIRA="+x.url, "TOKEN="+value)
		if got := strings.TrimSpace(succeed(t, cmd)); got != want {
			t.Errorf("with trust_env %s the user is %s, want %s", trust, got, want)
		}
	}
}
