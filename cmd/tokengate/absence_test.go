package main

import (
	"net/http"
	"os"
	"syscall"
	"testing"
)

// withBypass are the options of a rig in which Envoy forwards requests without a credential itself.
var withBypass = options{settings: func(yaml string) string { return yaml + "\nenvoy: {bypass: true}\n" }}

const dashboard = "/secure/Dashboard.jspa"

// visitors are a load of browsers' requests, a browser whose page keeps fetching from Jira, and one that
// loads pages.
type visitors struct {
	*load
	t               *testing.T
	fetcher, reader *browser
}

func startVisitors(c *company) *visitors {
	c.t.Helper()
	v := &visitors{t: c.t, fetcher: c.person("alice"), reader: c.person("alice")}
	v.fetcher.open(dashboard)
	eval[int](v.fetcher, `(window.goOn = true, window.fetched = 0, window.answers = {}, window.fetching = (async () => {
		for (let n = 0; goOn; n++) {
			const asked = n % 2 ? fetch("/rest/api/2/serverInfo?n=" + n) :
				fetch("/rest/api/2/search", {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"jql": "project = DEMO"}'});
			const status = await asked.then(r => r.text().then(() => r.status)).catch(String);
			answers[status] = (answers[status] ?? 0) + 1;
			fetched++;
			await new Promise(done => setTimeout(done, 20));
		}
	})(), 0)`)
	v.load = startLoad(c.rig, request{path: dashboard, header: http.Header{"Cookie": {c.session("rita")}}})
	return v
}

// visit loads a page, and returns when the others have had answers, too.
func (v *visitors) visit() {
	v.t.Helper()
	before := eval[int](v.fetcher, "fetched")
	v.reader.open(dashboard)
	if status := v.reader.status(); status != 200 {
		v.t.Errorf("the browser gets %d", status)
	}
	v.next()
	v.fetcher.until("answers to fetches", func() bool { return eval[int](v.fetcher, "fetched") >= before+5 })
}

// end fails the test unless every request was answered with 200.
func (v *visitors) end() {
	v.t.Helper()
	statuses, fetched := v.stop().total(), eval[map[string]int](v.fetcher, `(goOn = false, fetching.then(() => answers))`)
	v.t.Logf("answers by status: %v, and to fetches in a page: %v", statuses, fetched)
	if len(statuses) != 1 || statuses[200] < 150 || len(fetched) != 1 {
		v.t.Errorf("answers by status: %v, and to fetches in a page: %v; want 200 alone", statuses, fetched)
	}
}

// With envoy.bypass, browsers with a session notice nothing while tokengate is hung, stopped, killed
// or restarted. Tokens get 503, and Jira receives none of their requests.
func TestBrowsersGoOnWithoutTokengate(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, withBypass)
	auth := bearer(c.create("alice", `{"label":"absence"}`).value)
	v := startVisitors(c)
	token := func(t *testing.T, status int) {
		t.Helper()
		if got := c.send(request{auth: auth}); got.status != status {
			t.Errorf("a token gets %d, want %d: %s", got.status, status, got.body)
		}
	}
	away := func(t *testing.T) {
		t.Helper()
		v.visit()
		token(t, 503)
	}
	token(t, 200)
	t.Run("hung", func(t *testing.T) {
		c.gate.freeze()
		defer c.gate.signal(syscall.SIGCONT)
		away(t)
	})
	token(t, 200)
	t.Run("stopped", func(t *testing.T) {
		if err := c.gate.stop(); err != nil {
			t.Error(err)
		}
		away(t)
	})
	c.startGate()
	token(t, 200)
	t.Run("killed", func(t *testing.T) {
		c.gate.signal(os.Kill)
		<-c.gate.done
		away(t)
	})
	c.startGate()
	token(t, 200)
	for range restarts {
		if err := c.gate.stop(); err != nil {
			t.Error(err)
		}
		c.startGate()
		v.visit()
	}
	v.end()
}

// With envoy.bypass, browsers notice nothing while the store's disk is full to the last byte. Tokens work;
// none can be created until there is space again.
func TestBrowsersGoOnWithAFullDisk(t *testing.T) {
	t.Parallel()
	o := withBypass
	o.noGate = true
	c := newPageCompany(t, o)
	data := c.startGateOnSmallDisk(t)
	c.awaitDirectory()
	before := c.create("alice", `{"label":"before"}`)
	v := startVisitors(c)
	c.myself(before, 200)
	fill(t, data+"/filler")
	v.visit()
	c.myself(before, 200)
	c.do(c.by("alice", "POST", "", `{"label":"during"}`), 503, nil)
	v.visit()
	if err := os.Remove(data + "/filler"); err != nil {
		t.Fatal(err)
	}
	c.until("the probe to see that the store works again", func() bool {
		status, _ := c.probe("/readyz?for=tokens")
		return status == 200
	})
	c.myself(before, 200)
	c.myself(c.create("alice", `{"label":"after"}`), 200)
	v.visit()
	v.end()
}
