package main

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// clientProblems reproduces each row of the README's table of client problems.
// Rows with nil are reproduced in TestJiraClients or TestNetrc (make test-long).
var clientProblems = []struct {
	row       string // prefix of the row
	reproduce func(t *testing.T, x *site, value string)
}{
	{"gets anonymous answers", func(t *testing.T, x *site, value string) {
		if got := x.challengeFirst(t, "/rest/api/2/serverInfo", value); got.StatusCode != 200 || got.Header.Get("X-AUSERNAME") != "anonymous" {
			t.Errorf("challenge-first: %d as %q", got.StatusCode, got.Header.Get("X-AUSERNAME"))
		}
		if got := x.ask(t, "GET", "/rest/api/2/serverInfo", basic("fred", value), ""); got.StatusCode != 200 || got.Header.Get("X-AUSERNAME") != "fred" {
			t.Errorf("at once: %d as %q", got.StatusCode, got.Header.Get("X-AUSERNAME"))
		}
	}},
	{"sends `?os_authType=basic`", func(t *testing.T, x *site, value string) {
		const path = "/rest/api/2/serverInfo?os_authType=basic"
		if got := x.challengeFirst(t, path, value); got.StatusCode != 200 || got.Header.Get("X-AUSERNAME") != "fred" {
			t.Errorf("challenge-first: %d as %q", got.StatusCode, got.Header.Get("X-AUSERNAME"))
		}
		if last, _ := x.jira.Last(); strings.Contains(last.RequestURI, "os_") {
			t.Errorf("Jira received %s", last.RequestURI)
		}
	}},
	{"is python-jira with `auth=", func(t *testing.T, x *site, value string) {
		got := x.ask(t, "POST", "/rest/auth/1/session", "", `{"username":"fred","password":"`+value+`"}`)
		if got.StatusCode != 401 || got.Header.Get("Set-Cookie") != "" {
			t.Errorf("the login: %d", got.StatusCode)
		}
	}},
	{"reads issues, but gets 403", func(t *testing.T, x *site, value string) {
		x.reconfigure("tokens: {paths: [/rest/], downloadPaths: []}\n")
		if got := x.ask(t, "GET", "/secure/attachment/1/a.txt", "Bearer "+value, ""); got.StatusCode != 403 {
			t.Errorf("without the path: %d", got.StatusCode)
		}
		x.replace("downloadPaths: []", "downloadPaths: [/secure/attachment/]")
		if got := x.ask(t, "GET", "/secure/attachment/1/a.txt", "Bearer "+value, ""); got.StatusCode != 404 {
			t.Errorf("with the path: %d, want Jira's 404", got.StatusCode)
		}
	}},
	{"has a user whose name can't hold a token", func(t *testing.T, x *site, _ string) {
		for _, name := range []string{"frëd", "fred:f", "fred,f", "fred;f"} {
			if _, err := x.command(t.Context(), "token", "create", "--user", name, "--name", "x"); err == nil || !strings.Contains(err.Error(), "has the character") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}},
	{"hangs and says nothing", func(t *testing.T, x *site, _ string) {
		slow, _ := x.create("--user", "fred", "--name", "slow", "--expires", "1d", "--rate", "1/1h")
		x.ask(t, "GET", "/rest/api/2/myself", "Bearer "+slow, "")
		got := x.ask(t, "GET", "/rest/api/2/myself", "Bearer "+slow, "")
		if wait, err := strconv.Atoi(got.Header.Get("Retry-After")); got.StatusCode != 429 || err != nil || wait < 3000 {
			t.Errorf("%d, Retry-After %q", got.StatusCode, got.Header.Get("Retry-After"))
		}
	}},
	{"acts as another user", nil},
	{"is mcp-atlassian", nil},
}

func TestClientProblems(t *testing.T) {
	x := newSite(t)
	readme, err := os.ReadFile("authz/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "\n| your client |")
	table, _, _ = strings.Cut(table, "\n\n")
	var rows []string
	for _, line := range strings.Split(table, "\n")[2:] {
		rows = append(rows, strings.TrimSpace(strings.Split(line, "|")[1]))
	}
	var reproduced []string
	value, _ := x.create("--user", "fred", "--name", "says", "--expires", "1d")
	for _, s := range clientProblems {
		at := slices.IndexFunc(rows, func(row string) bool { return strings.HasPrefix(row, s.row) })
		if at < 0 {
			t.Errorf("the README has no row %q", s.row)
			continue
		}
		reproduced = append(reproduced, rows[at])
		if s.reproduce != nil {
			t.Run(s.row, func(t *testing.T) { s.reproduce(t, x, value) })
		}
	}
	if diff := cmp.Diff(rows, reproduced); diff != "" {
		t.Errorf("rows (-README +reproduced):\n%s", diff)
	}
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// ask sends a request and returns the answer with its body closed.
func (x *site) ask(t *testing.T, method, path, authorization, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, x.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response
}

// challengeFirst sends the credential only after a challenge, like curl --anyauth.
func (x *site) challengeFirst(t *testing.T, path, value string) *http.Response {
	t.Helper()
	got := x.ask(t, "GET", path, "", "")
	if got.StatusCode == 401 && strings.HasPrefix(got.Header.Get("WWW-Authenticate"), "Basic ") {
		return x.ask(t, "GET", path, basic("fred", value), "")
	}
	return got
}

// replace edits tokengate's configuration and reloads it.
func (x *site) replace(old, new string) {
	x.t.Helper()
	before, err := os.ReadFile(x.config)
	if err == nil {
		err = os.WriteFile(x.config, bytes.ReplaceAll(before, []byte(old), []byte(new)), 0o600)
	}
	if err != nil {
		x.t.Fatal(err)
	}
	x.reconfigure("")
}
