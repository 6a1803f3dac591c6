package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/token"
)

// patName is the name of the first personal access token that tokengate creates for a user.
const patName = "tokengate jira.example.com 1"

// names returns the names of a user's personal access tokens in Jira.
func (c *connected) names(user string) string {
	var names []string
	for _, p := range c.jira.PATs(user) {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

// ownConnection returns the state of a user's own connection.
func (c *connected) ownConnection(user string) string {
	c.t.Helper()
	var own struct{ State string }
	c.do(c.by(user, "GET", "connection", ""), 200, &own)
	return own.State
}

// TestConnectByCreating lets users without anything create a token: it works, to a Jira that trusts no
// header, until they disconnect.
func TestConnectByCreating(t *testing.T) {
	t.Parallel()
	c := newConnected(t)
	if state := c.ownConnection("alice"); state != "none" {
		t.Errorf("at first: %s", state)
	}
	alice := c.create("alice", `{"label":"a"}`)
	if got := c.myself(alice, 200); got != "alice" || c.seen().How != jiratest.ByBearer {
		t.Errorf("Jira saw %q by %s", got, c.seen().How)
	}
	if got := c.names("alice"); got != patName {
		t.Errorf("alice has %q", got)
	}

	// Two first creations at once, with a password.
	var both sync.WaitGroup
	var values [2]issued
	for i := range values {
		both.Go(func() {
			got := c.send(request{method: "POST", path: api, auth: basic("rita", "rita's password"),
				header: http.Header{"Content-Type": {"application/json"}}, body: strings.NewReader(`{"label":"` + string(rune('a'+i)) + `"}`)})
			if err := json.Unmarshal([]byte(got.body), &values[i]); err != nil || got.status != 200 {
				t.Errorf("rita's creation: %d", got.status)
				return
			}
			remember(t, values[i].PasswordValue)
			values[i].value, _ = token.Parse(values[i].PasswordValue)
		})
	}
	both.Wait()
	for _, k := range values {
		if got := c.myself(k, 200); got != "rita" {
			t.Errorf("Jira saw %q in place of rita", got)
		}
	}
	if got := c.names("rita"); got != patName {
		t.Errorf("rita has %q", got)
	}

	c.do(c.by("alice", "POST", "connection", "{}"), 204, nil)
	if got := c.names("alice"); got != "tokengate jira.example.com 2" || c.myself(alice, 200) != "alice" {
		t.Errorf("renewed: alice has %q", got)
	}
	c.do(c.by("alice", "DELETE", "connection", ""), 204, nil)
	if state := c.ownConnection("alice"); state != "none" || c.names("alice") != "" {
		t.Errorf("disconnected: %s, alice has %q", state, c.names("alice"))
	}
	c.myself(alice, 403)
	var tokens []struct{ State string }
	if c.do(c.by("alice", "GET", "", ""), 200, &tokens); len(tokens) != 1 || tokens[0].State != "suspended" {
		t.Errorf("alice's tokens: %+v", tokens)
	}

	// A token that would be refused anyway connects nobody.
	if c.do(c.by("alice", "POST", "", `{"label":"a"}`), 409, nil); c.names("alice") != "" {
		t.Errorf("after a refused creation alice has %q", c.names("alice"))
	}
	// The password is accepted beside a session that has ended.
	ended := request{method: "POST", path: api + "connection", auth: basic("nell", "nell's password"), body: strings.NewReader("{}"),
		header: http.Header{"Content-Type": {"application/json"}, "Cookie": {"JSESSIONID=0123456789ABCDEF"}}}
	if c.do(ended, 204, nil); c.names("nell") != patName {
		t.Errorf("nell has %q", c.names("nell"))
	}
	c.do(c.by("nell", "DELETE", "connection", ""), 204, nil)

	c.jira.SetPATs(jiratest.PATSettings{Off: true})
	refused := c.do(c.by("nell", "POST", "connection", "{}"), 409, nil)
	if !strings.Contains(refused.body, "atlassian.pats.enabled") {
		t.Errorf("with personal access tokens switched off: %s", refused.body)
	}
	c.do(c.by("alice", "POST", "", `{"label":"another"}`), 409, nil)
	c.searchPATs()
}

// TestKilledWhileConnecting kills tokengate around the moment at which Jira creates a personal access token. After the
// next start, Jira has none that tokengate does not know.
func TestKilledWhileConnecting(t *testing.T) {
	t.Parallel()
	c := newConnected(t)
	session := c.session("alice")
	orphans, kept := 0, 0
	for n := range kills {
		// Half of the time Jira is late to confirm whose it is, before which tokengate stores nothing.
		delay := time.Duration(n % 2 * 300)
		slow := c.jira.Fail("/rest/api/2/myself", jiratest.Slow(delay*time.Millisecond))
		sent := make(chan struct{})
		q := c.by("alice", "POST", "connection", "{}")
		go func() {
			defer close(sent)
			_, _ = c.try(context.Background(), noRedirects, q)
		}()
		for deadline := time.Now().Add(waitTime); c.names("alice") == ""; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("Jira creates none")
			}
		}
		time.Sleep(time.Duration(n%8) * time.Millisecond) // not to wait, but to kill at another moment
		c.gate.signal(os.Kill)
		<-c.gate.done
		slow.Stop()
		<-sent
		if c.names("alice") != "" {
			orphans++
		}
		c.startGate()
		c.until("Jira and tokengate agree", func() bool {
			state, names := c.ownConnection("alice"), c.names("alice")
			return state == "none" && names == "" || state == "active" && names != "" && !strings.Contains(names, ",")
		})
		if c.ownConnection("alice") == "active" {
			kept++
			c.do(c.by("alice", "DELETE", "connection", ""), 204, nil)
		}
	}
	t.Logf("%d times Jira had one when tokengate was killed; %d times it was stored", orphans, kept)
	if orphans == kept {
		t.Error("no round killed tokengate between Jira's creation and its own record")
	}
	c.pats["the session"] = strings.TrimPrefix(session, "JSESSIONID=")
	c.searchPATs()
}
