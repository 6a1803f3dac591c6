package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// newConnecting is newPageCompany for a Jira that trusts no header, in which nobody is connected.
func newConnecting(t *testing.T) *company {
	t.Helper()
	return newPageCompany(t, options{settings: func(yaml string) string {
		return strings.Replace(yaml, "identity: {header: X-Forwarded-User}", "identity: {pat: {sealKeys: ["+writeSealKey(t, "key!5678")+"]}}", 1)
	}})
}

// recorder keeps what it forwards to clients.
type recorder struct {
	mu       sync.Mutex
	received bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.received.Write(p)
}

// forward forwards a client's connection.
func (r *recorder) forward(client net.Conn, addr string) {
	defer client.Close()
	relay(client, addr, io.MultiWriter(r, client))
}

// recorded returns a browser in which a user is logged in to Jira, and a search of all that it
// received for the personal access tokens of a user that Jira saw.
func (c *company) recorded(name string, o ...browserOption) (b *browser, search func(user string)) {
	c.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { l.Close() })
	r := &recorder{}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go r.forward(client, c.envoy.Addr)
		}
	}()
	b = startBrowser(c.t, l.Addr().String(), c.context, o...)
	b.takeSession(c, name)
	return b, func(user string) {
		c.t.Helper()
		b.settle()
		r.mu.Lock()
		defer r.mu.Unlock()
		if !bytes.Contains(r.received.Bytes(), []byte("HTTP/1.1 200 OK")) {
			c.t.Error("nothing was recorded")
		}
		found := 0
		for _, seen := range c.jira.Requests() {
			if pat, ok := strings.CutPrefix(seen.Header.Get("Authorization"), "Bearer "); ok && seen.User == user {
				found++
				if bytes.Contains(r.received.Bytes(), []byte(pat)) {
					c.t.Error("the browser received a personal access token")
				}
			}
		}
		if found == 0 {
			c.t.Errorf("Jira saw no personal access token of %s", user)
		}
	}
}

// A user without anything agrees, creates a token, uses it, replaces the personal access token and
// removes it, with and without scripts.
func TestPageConnect(t *testing.T) {
	for name, scripts := range map[string]bool{"with scripts": true, "without scripts": false} {
		t.Run(name, func(t *testing.T) {
			c := newConnecting(t)
			b, search := c.recorded("alice", browserOption(scripts))
			b.scripts(scripts)
			confirm := func() {
				if scripts {
					b.click(`a[href$="/connection/disconnect"]`)
					b.submit("dialog button.danger")
				} else {
					b.submit(`a[href$="/connection/disconnect"]`)
					b.submit("button.danger")
				}
			}
			k := b.createByPage("nightly", func() {
				if said := b.text("form.fields"); !strings.Contains(said, "creates a personal access token for you in Jira") {
					t.Errorf("the form says %q", said)
				}
				b.click("[name=consent]")
			})
			if scripts {
				b.click(`button[data-copy="value"]`)
				b.until("the button to say Copied", func() bool { return b.text(`button[data-copy="value"]`) == "Copied" })
				if b.clipboard() != k.PasswordValue {
					t.Error("the clipboard does not contain the value")
				}
			}
			if user := c.myself(k, 200); user != "alice" {
				t.Errorf("Jira sees the user %q", user)
			}
			first := c.jira.PATs("alice")
			if len(first) != 1 || !strings.HasPrefix(first[0].Name, "tokengate") {
				t.Fatalf("alice has %+v", first)
			}
			b.open(config.PagePath + "/new")
			if b.has("[name=consent]") {
				t.Error("the form asks for consent again")
			}
			b.submit(`nav a[href$="/connection"]`)
			if said := b.text("main"); !strings.Contains(said, first[0].Name) || !strings.Contains(said, "by alice") || !strings.Contains(said, "just now") {
				t.Errorf("the connection is shown as %q", said)
			}
			b.submit("form.fields button")
			if got := b.text(".notice"); got != "You are connected." {
				t.Errorf("the notice is %q", got)
			}
			c.until("the old personal access token is deleted", func() bool { return len(c.jira.PATs("alice")) == 1 })
			if now := c.jira.PATs("alice"); now[0].ID == first[0].ID {
				t.Error("the personal access token is the old one")
			}
			c.myself(k, 200)
			confirm()
			if got := b.text(".notice"); !strings.Contains(got, "You are disconnected.") {
				t.Errorf("the notice is %q", got)
			}
			got := c.send(request{path: "/rest/api/2/myself", auth: bearer(k.value)})
			if got.status != 403 || !strings.Contains(got.body, config.PagePath+"/connection") {
				t.Errorf("disconnected: %d %s", got.status, got.body)
			}
			c.until("the personal access token is deleted", func() bool { return len(c.jira.PATs("alice")) == 0 })
			b.open(config.PagePath)
			if said := b.text(".urgent"); !strings.Contains(said, "you are not connected with Jira") {
				t.Errorf("the page says %q", said)
			}
			b.submit(`.urgent a`)
			b.click("[name=consent]")
			b.submit("form.fields button.primary")
			c.myself(k, 200)
			search("alice")
		})
	}
}

// A Jira in which personal access tokens are switched off shows why no token is created.
func TestPageConnectSwitchedOff(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	c.jira.SetPATs(jiratest.PATSettings{Off: true})
	b := c.person("alice")
	b.open(config.PagePath + "/new")
	b.fill("#name", "nightly")
	b.click("[name=consent]")
	b.allowStatus(http.StatusConflict)
	b.submit("form.fields button.primary")
	if said := b.text("#problem"); !strings.Contains(said, "personal access tokens") || !strings.Contains(said, "switch them on") {
		t.Errorf("the form says %q", said)
	}
	if at[string](b, "#name", "e.value") != "nightly" || !at[bool](b, "[name=consent]", "e.checked") {
		t.Error("the form does not keep its input")
	}
	var own []any
	if c.do(c.by("alice", "GET", "", ""), 200, &own); len(own) != 0 {
		t.Errorf("alice has %d tokens", len(own))
	}
}

// An administrator connects a user with a personal access token, checks and disconnects it.
func TestPageConnectUser(t *testing.T) {
	t.Parallel()
	const pat = "Ym90Ym90Ym90Ym90Ym90Ym90Ym90Ym90Ym90Ym90Ym90"
	c := newConnecting(t)
	c.jira.Put(jiratest.User{Name: "bot", Active: true, Groups: []string{"staff", "robots"}, PATs: []string{pat}})
	c.refresh()
	k := c.create("ada", `{"label":"deployment","user":"bot"}`)
	c.myself(k, 403)
	b, search := c.recorded("ada")
	b.open(config.PagePath)
	b.submit(`nav a[href$="/connections"]`)
	b.submit(`a[href$="/connections/new"]`)
	b.fill("#user", "rob")
	b.fill("#pat", pat)
	b.allowStatus(http.StatusBadRequest)
	b.submit("form.fields button.primary")
	if said := b.text("#pat-wrong"); !strings.Contains(said, "belongs to another user") || at[string](b, "#pat", "e.value") != "" || at[string](b, "#user", "e.value") != "rob" {
		t.Errorf("another user's: %q", said)
	}
	b.allowStatus()
	b.fill("#user", "bot")
	b.fill("#pat", pat)
	b.submit("form.fields button.primary")
	if got := b.text("tbody tr"); b.text(".notice") != "The user is connected." || !strings.Contains(got, "bot") || !strings.Contains(got, "by ada") {
		t.Errorf("the row is %q", got)
	}
	if user := c.myself(k, 200); user != "bot" {
		t.Errorf("Jira sees the user %q", user)
	}
	b.submit("td.actions button")
	if got := b.text(".notice"); got != "The personal access token is accepted." {
		t.Errorf("the notice is %q", got)
	}
	b.click(`a[href*="/connections/disconnect?"]`)
	b.submit("dialog button.danger")
	if got := b.text(".found"); got != "0 users" {
		t.Errorf("the list has %q", got)
	}
	c.myself(k, 403)
	search("bot")
}

// The pages about connections look like the others: see TestPageLooks.
func TestPageConnectionLooks(t *testing.T) {
	t.Parallel()
	const pat = "Ym90Ym90Ym90Ym90Ym90Ym90Ym90Ym90Ym90Ym90Ym90"
	c := newConnecting(t)
	c.jira.Put(jiratest.User{Name: "bot", Active: true, Groups: []string{"staff", "robots"}, PATs: []string{pat}})
	c.refresh()
	c.create("ada", `{"label":"ci","user":"rita"}`)
	send := func(status int) func(*browser) {
		return func(b *browser) {
			b.fill("#pat", map[bool]string{true: pat, false: "wrong"}[status == 0])
			b.allowStatus(status)
			b.submit("form.fields button.primary")
			b.allowStatus()
		}
	}
	c.checkLooks(map[string][]look{"ada": {
		{"connect-user", "/connections/new", nil},
		{"connect-user-wrong", "/connections/new", send(http.StatusBadRequest)},
		{"connections", "/connections/new", send(0)},
		{"disconnect-user", "/connections", func(b *browser) { b.click("a[data-dialog]") }},
		{"connection-insights", "/insights", nil},
	}})
	c.checkLooks(map[string][]look{
		"rita": {{"own-not-connected", "", nil}},
		"alice": {
			{"create-consent", "/new", nil},
			{"not-connected", "/connection", nil},
			{"connected", "/connection", func(b *browser) {
				b.click("[name=consent]")
				b.submit("form.fields button.primary")
			}},
			{"disconnect", "/connection", func(b *browser) { b.click("a[data-dialog]") }},
		},
	})
}
