package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestRevokedCredential checks that of a client's requests after its user has revoked the personal access
// token in Jira, the first reaches Jira as nobody's. Envoy reports it as it answers the client, so that the
// next may still be faster than the report, from a client on the same machine that waits for nothing.
func TestRevokedCredential(t *testing.T) {
	t.Parallel()
	c := newConnected(t, "alice", "rita", "rob", "ada")
	oneConnection := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer oneConnection.CloseIdleConnections()
	newConnections := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, way := range []struct {
		user, creator, settings string
		client                  *http.Client
	}{
		{"alice", "alice", `{"label":"a"}`, oneConnection},
		{"rita", "rita", `{"label":"b","readOnly":true}`, newConnections},
		{"rob", "alice", `{"label":"c","user":"rob"}`, oneConnection},
		{"ada", "ada", `{"label":"d"}`, newConnections},
	} {
		k := c.create(way.creator, way.settings)
		send := func(n int) answer {
			got, err := c.try(context.Background(), way.client, request{
				path: fmt.Sprintf("/rest/api/2/serverInfo?from=%s%d", way.user, n), auth: bearer(k.value)})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		if got := send(0); got.status != 200 || c.seen().User != way.user {
			t.Fatalf("%s: before: %d, Jira saw %q", way.user, got.status, c.seen().User)
		}
		for _, pat := range c.jira.PATs(way.user) {
			c.jira.RevokePAT(pat.ID)
		}
		const requests, atOnce = 50, 5
		for n := range requests {
			if got := send(n + 1); got.status != 503 || !strings.Contains(got.body, "connection any more") {
				t.Fatalf("%s: request %d after the revocation: %d %s", way.user, n+1, got.status, got.body)
			}
		}
		served := 0
		for _, seen := range c.jira.Requests() {
			if strings.Contains(seen.RequestURI, "from="+way.user) && seen.User == "" {
				served++
			}
		}
		if served < 1 || served > atOnce {
			t.Errorf("%s: Jira served %d of %d requests as nobody, want 1 to %d", way.user, served, requests, atOnce)
		}
		t.Logf("%s: Jira served %d of %d requests as nobody", way.user, served, requests)
	}
}
