package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

// change changes the sealed credential of a user in the store, while tokengate does not run.
func (c *connected) change(user string, change func(*store.UpstreamCredential)) {
	c.t.Helper()
	db, err := badger.Open(c.t.Context(), badger.Options{Dir: c.dir + "/data"})
	if err != nil {
		c.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.UpdateUpstream(c.t.Context(), user, func(all []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		change(&all[0])
		return all, nil, nil
	}); err != nil {
		c.t.Fatal(err)
	}
}

// TestDamagedConnections checks that a record that was copied to another user, cut, or sealed with another
// site's key opens nothing: tokens of its user are denied before Jira, and all others work. Without a key that
// records need, tokengate does not start, and names the key.
func TestDamagedConnections(t *testing.T) {
	t.Parallel()
	c := newConnected(t, "alice", "rita", "rob", "ada")
	tokens := map[string]issued{
		"alice": c.create("alice", `{"label":"a"}`), "rita": c.create("rita", `{"label":"b","readOnly":true}`),
		"rob": c.create("alice", `{"label":"c","user":"rob"}`), "ada": c.create("ada", `{"label":"d"}`),
	}
	if err := c.gate.stop(); err != nil {
		t.Fatal(err)
	}
	var alices store.UpstreamCredential
	c.change("alice", func(k *store.UpstreamCredential) { alices = *k })
	c.change("rita", func(k *store.UpstreamCredential) { k.ID, k.Sealed = alices.ID, slices.Clone(alices.Sealed) })
	c.change("rob", func(k *store.UpstreamCredential) { k.Sealed = k.Sealed[:len(k.Sealed)-1] })
	c.change("ada", func(k *store.UpstreamCredential) { // claims to be sealed with this site's key
		foreign, err := seal.ReadKeys([]string{writeSealKey(t, "foreign!")})
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := foreign.Seal([]byte(c.pats["ada"]), seal.Context{Site: c.origin, User: "ada", Credential: k.ID})
		if err != nil {
			t.Fatal(err)
		}
		own, _ := seal.KeyOf(k.Sealed)
		id, _ := seal.KeyOf(sealed)
		k.Sealed = []byte(strings.Replace(string(sealed), string(id[:]), string(own[:]), 1))
	})
	c.startGate()
	c.awaitDirectory()
	check := func() {
		t.Helper()
		for user, k := range tokens {
			before := c.jira.Total()
			got := c.send(request{path: "/rest/api/2/serverInfo?from=client", auth: bearer(k.value)})
			if user == "alice" {
				if got.status != 200 || c.seen().User != "alice" {
					t.Errorf("alice: %d, Jira saw %q", got.status, c.seen().User)
				}
				continue
			}
			if got.status != 503 || !strings.Contains(got.body, "connection any more") {
				t.Errorf("%s: %d %s", user, got.status, got.body)
			}
			for _, seen := range c.jira.Requests()[max(0, len(c.jira.Requests())-(c.jira.Total()-before)):] {
				if strings.Contains(seen.RequestURI, "from=client") {
					t.Errorf("%s: Jira received the request, as %q", user, seen.User)
				}
			}
			if !strings.Contains(c.gate.log.String(), `connection of a user cannot be opened; the user has to connect again","user_key":"`+user+`"`) {
				t.Errorf("%s: the log does not say it", user)
			}
		}
	}
	check()
	if list, _ := c.run("upstream", "list", "--output", "csv", "--admin-socket", c.dir+"/a"); strings.Count(list, ",broken,") != 3 || strings.Count(list, ",active,") != 1 {
		t.Errorf("the list is %s", list)
	}
	if got := c.send(request{path: "/rest/api/2/serverInfo"}); got.status != 200 {
		t.Errorf("without a token: %d", got.status)
	}
	c.searchPATs()

	if err := c.gate.stop(); err != nil {
		t.Fatal(err)
	}
	settings := read(t, c.config)
	lost, _ := seal.KeyOf(alices.Sealed)
	other := writeSealKey(t, "another!")
	c.write(strings.Replace(settings, c.keyFile, other, 1))
	p := start(t, "serve", "--config", c.config)
	code, log := p.exitCode(), p.log.String()
	if code != 1 || strings.Contains(log, "is ready") {
		t.Errorf("without the key: exit %d", code)
	}
	for _, words := range []string{"are sealed with key " + lost.String(), "upstream.identity.pat.sealKeys", "add its file there"} {
		if !strings.Contains(log, words) {
			t.Errorf("without the key: the log does not say %q: %s", words, log)
		}
	}
	if found := c.findPAT(log); found != "" {
		t.Errorf("the log holds %s", found)
	}
	c.write(strings.Replace(settings, c.keyFile, other+", "+c.keyFile, 1))
	c.startGate()
	c.awaitDirectory()
	check()

	// The key is lost: its users connect again.
	if err := c.gate.stop(); err != nil {
		t.Fatal(err)
	}
	c.write(strings.Replace(settings, c.keyFile, other, 1))
	c.gate = start(t, "serve", "--config", c.config, "--accept-loss")
	c.gate.waitFor(`"tokengate is ready"`)
	c.awaitDirectory()
	for user, k := range tokens {
		if got := c.send(request{auth: bearer(k.value)}); got.status != 403 {
			t.Errorf("%s, whose key is lost: %d %s", user, got.status, got.body)
		}
	}
	if err := c.gate.stop(); err != nil {
		t.Fatal(err)
	}
	c.startGate()
	c.awaitDirectory()
	c.do(c.by("alice", "POST", "connection", "{}"), 204, nil)
	c.myself(tokens["alice"], 200)
}
