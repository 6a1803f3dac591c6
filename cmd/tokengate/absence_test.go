package main

import (
	"net/http"
	"os"
	"syscall"
	"testing"
)

// With envoy.bypass, browsers with a session notice nothing while tokengate is hung, stopped, killed
// or restarted. Tokens get 503, and Jira receives none of their requests.
func TestBrowsersGoOnWithoutTokengate(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, options{bootstrap: []string{}, settings: func(yaml string) string { return yaml + "\nenvoy: {bypass: true}\n" }})
	auth := bearer(c.create("alice", `{"label":"absence"}`).value)
	const page = "/secure/Dashboard.jspa"
	b := c.person("alice")
	load := startLoad(c.rig, request{path: page, header: http.Header{"Cookie": {c.session("rita")}}})
	works := func(t *testing.T) {
		t.Helper()
		if got := c.send(request{auth: auth}); got.status != 200 {
			t.Fatalf("a token gets %d: %s", got.status, got.body)
		}
	}
	away := func(t *testing.T) {
		t.Helper()
		b.open(page)
		if status := b.status(); status != 200 {
			t.Errorf("the browser gets %d", status)
		}
		if got := c.send(request{auth: auth}); got.status != 503 {
			t.Errorf("a token gets %d, want 503", got.status)
		}
		load.next()
	}
	works(t)
	t.Run("hung", func(t *testing.T) {
		c.gate.freeze()
		defer c.gate.signal(syscall.SIGCONT)
		away(t)
	})
	works(t)
	t.Run("stopped", func(t *testing.T) {
		if err := c.gate.stop(); err != nil {
			t.Error(err)
		}
		away(t)
	})
	c.startGate()
	works(t)
	t.Run("killed", func(t *testing.T) {
		c.gate.signal(os.Kill)
		<-c.gate.done
		away(t)
	})
	c.startGate()
	works(t)
	for range restarts {
		if err := c.gate.stop(); err != nil {
			t.Error(err)
		}
		c.startGate()
		load.next()
	}
	statuses := load.stop().total()
	t.Logf("%d restarts; answers to browsers by status: %v", restarts, statuses)
	if len(statuses) != 1 || statuses[200] < 150 {
		t.Errorf("answers to browsers by status: %v, want 200 alone", statuses)
	}
}
