//go:build long

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// While Jira's REST API does not answer, tokens work until the user directory is too old,
// and then get 503; browsers are not affected. With the next answer, tokens work again.
func TestOutageOfTheDirectory(t *testing.T) {
	c := newCompany(t, options{settings: func(yaml string) string {
		return strings.Replace(yaml, "refresh: 1h, staleAfter: 3h", "refresh: 10s, staleAfter: 20s", 1)
	}})
	k := c.create("alice", `{"label":"ci"}`)
	status := func() int { return c.send(request{auth: bearer(k.value)}).status }
	failures := []*jiratest.Failure{
		c.jira.Fail("/rest/api/2/group", jiratest.Status(503)),
		c.jira.Fail("/rest/api/2/user", jiratest.LoginPage()),
	}
	if got := status(); got != 200 {
		t.Errorf("at first: %d", got)
	}
	deadline := time.Now().Add(2 * waitTime)
	for status() == 200 && time.Now().Before(deadline) {
		<-time.After(100 * time.Millisecond)
	}
	if got := status(); got != 503 {
		t.Fatalf("when the directory is too old, tokens get %d", got)
	}
	for name, q := range map[string]request{"a browser": {path: "/secure/Dashboard.jspa"}, "a password": {auth: basic("alice", "alice's password")}} {
		if got := c.send(q); got.status != 200 {
			t.Errorf("%s gets %d", name, got.status)
		}
	}
	if ready, _ := c.probe("/readyz"); ready != 200 {
		t.Errorf("readyz: %d", ready)
	}
	if ready, text := c.probe("/readyz?for=tokens"); ready != 503 || !strings.Contains(text, "too old") {
		t.Errorf("readyz for tokens: %d %s", ready, text)
	}
	for _, f := range failures {
		f.Stop()
	}
	c.until("the directory answers again", func() bool { return status() == 200 })
}
