package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/index"
)

// connected is a company whose Jira trusts no header. Users are connected by personal access
// tokens.
type connected struct {
	*company
	pats    map[string]string // the values, by user
	keyFile string            // of the sealing key
}

// newConnected starts it with these users connected.
func newConnected(t *testing.T, users ...string) *connected {
	t.Helper()
	c := &connected{pats: map[string]string{}}
	var jiraURL string
	c.company = newCompany(t, options{
		settings: func(yaml string) string {
			jiraURL = regexp.MustCompile(`url: (http://\S+)`).FindStringSubmatch(yaml)[1]
			c.keyFile = writeSealKey(t, "key!5678")
			return strings.Replace(yaml, "identity: {header: X-Forwarded-User}", "identity: {pat: {sealKeys: ["+c.keyFile+"]}}", 1) + "log: {level: debug}\n"
		},
		before: func(dir string) { c.connect(t, dir, jiraURL, users) },
	})
	c.inspect = func(got answer) {
		if found := c.findPAT(fmt.Sprint(got)); found != "" {
			t.Errorf("an answer holds %s", found)
		}
	}
	return c
}

// writeSealKey writes a sealing key, this text four times, and returns the file's name.
func writeSealKey(t *testing.T, quarter string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "seal-key")
	if err := os.WriteFile(file, bytes.Repeat([]byte(quarter), 4), 0o400); err != nil {
		t.Fatal(err)
	}
	return file
}

// connect fills a store that is not open with personal access tokens that users have made in Jira.
func (c *connected) connect(t *testing.T, dir, jiraURL string, users []string) {
	t.Helper()
	db, err := badger.Open(t.Context(), badger.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	keys, err := seal.ReadKeys([]string{c.keyFile})
	if err != nil {
		t.Fatal(err)
	}
	client, err := jira.Product.Connect(jiraURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	credentials := &upstream.Credentials{
		Store: db, Index: &index.Index{}, Keys: keys, Site: "https://jira.example.com", Product: &jira.Product, Client: client, RenewAt: 67,
		Answer: envoy.UpstreamAnswer, Log: zap.NewNop(), Now: time.Now, Random: token.Random,
	}
	for _, name := range users {
		login := http.Header{"Authorization": {basic(name, name+"'s password")}}
		made, err := jira.Product.Credentials(client).Mint(t.Context(), login, "tokengate", 90*24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		c.pats[name] = made.Value.Reveal()
		if _, err := credentials.Set(t.Context(), "", made.Value, store.Audit{Actor: name, Action: "upstream.set", Outcome: "done"}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPersonalAccessTokens forwards requests with tokens as their owners' personal access tokens, to
// a Jira that trusts no header, until Jira does not accept one any more.
func TestPersonalAccessTokens(t *testing.T) {
	t.Parallel()
	c := newConnected(t, "alice", "rita")
	alice, rita, rob := c.create("alice", `{"label":"a"}`), c.create("rita", `{"label":"b","readOnly":true}`), c.create("alice", `{"label":"c","user":"rob"}`)
	for name, k := range map[string]issued{"alice": alice, "rita": rita} {
		claims := http.Header{"X-Forwarded-User": {"rex"}, "Cookie": {c.session("rex")}}
		if got := c.send(request{auth: bearer(k.value), header: claims}); got.status != 200 || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d", name, got.status)
		}
		seen := c.seen()
		if seen.User != name || seen.Header.Get("Authorization") != "Bearer "+c.pats[name] {
			t.Errorf("Jira saw %q by %v in place of %s", seen.User, seen.How, name)
		}
		for _, header := range []string{"Cookie", "X-Forwarded-User", "X-Tokengate-Authenticated"} {
			if seen.Header.Get(header) != "" {
				t.Errorf("Jira received %s", header)
			}
		}
	}
	if got := c.send(request{auth: bearer(rob.value)}); got.status != 403 || !strings.Contains(got.body, "not connected") {
		t.Errorf("not connected: %d %s", got.status, got.body)
	}
	if got := c.send(request{header: http.Header{"Cookie": {c.session("rob")}}}); got.status != 200 || c.seen().User != "rob" {
		t.Errorf("a browser: %d, Jira saw %q", got.status, c.seen().User)
	}
	if got := c.send(request{auth: "Bearer " + c.pats["rita"]}); got.status != 200 || c.seen().User != "rita" {
		t.Errorf("a native personal access token: %d, Jira saw %q", got.status, c.seen().User)
	}

	var me struct{ Key string }
	if err := json.Unmarshal([]byte(c.send(request{auth: bearer(alice.value)}).body), &me); err != nil || me.Key == "" {
		t.Fatalf("Jira does not say alice's key: %v", err)
	}
	for _, pat := range c.jira.PATs(me.Key) {
		c.jira.RevokePAT(pat.ID)
	}
	served := 0 // by Jira, as nobody
	c.until("tokengate refuses alice's requests itself", func() bool {
		before := c.jira.Total()
		got := c.send(request{path: "/rest/api/2/myself?from=client", auth: bearer(alice.value)})
		if got.status != 503 || !strings.Contains(got.body, "connection any more") {
			t.Fatalf("revoked in Jira: %d %s", got.status, got.body)
		}
		for _, seen := range c.jira.Requests()[max(0, len(c.jira.Requests())-(c.jira.Total()-before)):] {
			if strings.Contains(seen.RequestURI, "from=client") {
				served++
				return false
			}
		}
		return true
	})
	if served == 0 {
		t.Error("tokengate knew it before Jira did")
	}
	t.Logf("Jira served %d requests as nobody", served)
	if c.denied("upstream_credential_broken") == 0 {
		t.Error("the metrics have no refusal")
	}
	// cmd/tokengate/README.md says how to find both kinds of 503.
	replaced := c.envoy.AccessLog(func(entry map[string]any) bool {
		return entry["status"] == float64(503) && entry["reason"] == "allowed" && entry["details"] == "" && entry["user"] == "alice"
	})
	if line := c.gate.waitFor(fmt.Sprintf(`"request_id":"%s"`, replaced["request_id"])); !strings.Contains(line, "alice authenticated via API Token") {
		t.Errorf("the log line of the answer that Envoy replaced: %s", line)
	}
	c.gate.waitFor("request denied: upstream_credential_broken")
	if got := c.myself(rita, 200); got != "rita" {
		t.Errorf("rita is %q", got)
	}
	c.searchPATs()
}

// TestRefusedCredentialIsNoticed checks that tokengate learns that Jira does not accept a credential any
// more, even if no client gets an answer that says so.
func TestRefusedCredentialIsNoticed(t *testing.T) {
	t.Parallel()
	c := newConnected(t, "alice", "rita", "ada")
	alice, rita, ada := c.create("alice", `{"label":"a"}`), c.create("rita", `{"label":"b","readOnly":true}`), c.create("ada", `{"label":"c"}`)
	http2 := &http.Client{Transport: &http.Transport{Protocols: new(http.Protocols)}}
	http2.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	defer http2.CloseIdleConnections()
	defer c.jira.Fail("/rest/api/2/serverInfo", jiratest.Slow(30*time.Millisecond)).Stop()
	for _, way := range []struct {
		name, user string
		token      issued
		send       func(auth string)
	}{
		{"gRPC", "alice", alice, func(auth string) {
			// Envoy answers 200 with a status of gRPC.
			c.send(request{auth: auth, header: http.Header{"Content-Type": {"application/grpc"}}})
		}},
		{"leaving before the answer", "rita", rita, func(auth string) {
			conn, err := net.Dial("tcp", c.envoy.Addr)
			if err != nil {
				t.Fatal(err)
			}
			before, refused := c.jira.Total(), c.denied("upstream_credential_broken")
			fmt.Fprintf(conn, "GET /rest/api/2/serverInfo HTTP/1.1\r\nHost: jira.example.com\r\nX-Forwarded-For: 10.1.2.3\r\nAuthorization: %s\r\n\r\n", auth)
			c.until("the request arrives", func() bool {
				return c.jira.Total() > before || c.denied("upstream_credential_broken") > refused
			})
			conn.Close()
		}},
		{"resetting a stream", "ada", ada, func(auth string) {
			ctx, leave := context.WithCancel(t.Context())
			before, refused := c.jira.Total(), c.denied("upstream_credential_broken")
			left := make(chan struct{})
			go func() {
				defer close(left)
				_, _ = c.try(ctx, http2, request{path: "/rest/api/2/serverInfo", auth: auth})
			}()
			c.until("the request arrives", func() bool {
				return c.jira.Total() > before || c.denied("upstream_credential_broken") > refused
			})
			leave()
			<-left
		}},
	} {
		for _, pat := range c.jira.PATs(way.user) {
			c.jira.RevokePAT(pat.ID)
		}
		before := c.denied("upstream_credential_broken")
		c.until(way.name+": tokengate refuses the requests itself", func() bool {
			way.send(bearer(way.token.value))
			return c.denied("upstream_credential_broken") > before
		})
	}
}

// denied returns how many requests were denied for this reason.
func (c *connected) denied(reason string) int {
	c.t.Helper()
	_, metrics := c.probe("/metrics")
	m := regexp.MustCompile(`decisions_total\{outcome="denied",reason="` + reason + `"\} (\d+)`).FindStringSubmatch(metrics)
	if m == nil {
		c.t.Fatalf("no metric of %s", reason)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}
