package web_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/authz/web"
)

// fredsPAT and wilmasPAT are personal access tokens in the Jira of a connected fixture.
const (
	fredsPAT  = "OTg3NjU0MzIxMDk4Onf6FredAAAA"
	wilmasPAT = "OTg3NjU0MzIxMDk4Onf6WilmaBBB"
)

// newConnected returns a fixture with upstream credentials, in which nobody is connected. Its
// answers, logs and audit records must not have a personal access token.
func newConnected(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	for name, pat := range map[string]string{"Fred": fredsPAT, "wilma": wilmasPAT} {
		f.jira.Put(jiratest.User{Name: name, Password: "pw-" + strings.ToLower(name), Active: true, Groups: []string{"jira-users"}, PATs: []string{pat}})
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, bytes.Repeat([]byte("key!5678"), 4), 0o400); err != nil {
		t.Fatal(err)
	}
	keys, err := seal.ReadKeys([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	client, err := jira.Product.Connect("http://jira.test", jiratest.Transport{Handler: f.jira})
	if err != nil {
		t.Fatal(err)
	}
	f.manager.Upstream = &upstream.Credentials{
		Store: f.tokens, Index: f.tokens.Index(), Keys: keys, Site: "https://jira.example.com", Product: &jira.Product, Client: client, RenewAt: 67,
		Answer: func(value string) string { return value }, Log: f.log, Now: f.clock, Random: token.Random,
	}
	t.Cleanup(func() {
		texts := f.answers
		for _, entry := range f.logs.All() {
			texts = append(texts, fmt.Sprint(entry.Message, entry.ContextMap()))
		}
		records, err := f.tokens.AuditLog(t.Context(), 0, 1000)
		if all := strings.Join(texts, "\n") + fmt.Sprint(records, err); strings.Contains(all, fredsPAT[:12]) {
			t.Error("a personal access token is in an answer, the log or the audit log")
		}
	})
	return f
}

func TestUpstream(t *testing.T) {
	f := newConnected(t)
	admin := f.user("barney")
	var all web.UpstreamConnections
	admin.into(t, "GET", base+"/upstream", nil, &all)
	if all.Connections == nil || len(all.Connections) != 0 {
		t.Errorf("at first: %+v", all)
	}
	var who web.UpstreamUser
	admin.into(t, "PUT", base+"/upstream", web.SetUpstreamRequest{User: "wilma", Token: wilmasPAT}, &who)
	f.into(t, "PUT", base+"/upstream", web.SetUpstreamRequest{Token: fredsPAT}, &who)
	if who.User != "Fred" {
		t.Errorf("the token is %q's", who.User)
	}
	f.into(t, "GET", base+"/upstream", nil, &all)
	at := start.UnixMilli()
	want := []web.UpstreamConnection{
		{User: "Fred", UserKey: f.key(t, "fred"), State: "active", CreatedAt: &at, CheckedAt: &at, SetBy: me},
		{User: "wilma", UserKey: f.key(t, "wilma"), State: "active", CreatedAt: &at, CheckedAt: &at, SetBy: "barney"},
	}
	if diff := cmp.Diff(want, all.Connections); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	for _, pat := range f.jira.PATs(f.key(t, "fred")) {
		f.jira.RevokePAT(pat.ID)
	}
	for user, want := range map[string]string{"user=FRED": "broken", "userKey=" + f.key(t, "wilma"): "active"} {
		var got web.UpstreamState
		admin.into(t, "POST", base+"/upstream/check?"+user, nil, &got)
		if got.State != want {
			t.Errorf("%s is %s, want %s", user, got.State, want)
		}
	}
	var sealed web.Resealed
	admin.into(t, "POST", base+"/seal/rotate", nil, &sealed)
	keys := f.manager.Upstream.Keys
	if diff := cmp.Diff(web.Resealed{Key: keys.Current().String(), File: keys.Files()[0], Others: []string{}}, sealed); diff != "" {
		t.Errorf("sealed again (-want +got):\n%s", diff)
	}
	if got := admin.send(t, "DELETE", base+"/upstream?user=fred", nil); got.status != http.StatusNoContent {
		t.Errorf("disconnected: %d %s", got.status, got.body)
	}
	if f.into(t, "GET", base+"/upstream", nil, &all); len(all.Connections) != 1 || all.Connections[0].User != "wilma" {
		t.Errorf("after that: %+v", all)
	}
}

// key returns the key of a user in Jira.
func (f *fixture) key(t *testing.T, name string) string {
	t.Helper()
	u, err := f.manager.Directory.Lookup(t.Context(), name)
	if err != nil || u.Key == "" {
		t.Fatalf("the key of %s: %v", name, err)
	}
	return u.Key
}

// What is refused. The answers do not repeat a personal access token.
func TestUpstreamRefused(t *testing.T) {
	f := newConnected(t)
	long := `{"token":"` + strings.Repeat(fredsPAT, 3000) + `"}`
	for name, c := range map[string]struct {
		method, path string
		body         any
		status       int
		field        string
	}{
		"another's token":   {"PUT", "", web.SetUpstreamRequest{User: "wilma", Token: fredsPAT}, 400, "token"},
		"no such token":     {"PUT", "", web.SetUpstreamRequest{Token: fredsPAT + "x"}, 400, "token"},
		"no token":          {"PUT", "", `{}`, 400, "token"},
		"an unknown user":   {"PUT", "", web.SetUpstreamRequest{User: "who", Token: fredsPAT}, 400, "user"},
		"a number":          {"PUT", "", `{"token":` + strings.Repeat("9", 12) + `}`, 400, "token"},
		"too long":          {"PUT", "", long, 413, ""},
		"another field":     {"PUT", "", `{"token":"` + fredsPAT + `","key":"JIRAUSER1"}`, 400, "key"},
		"no JSON":           {"PUT", "", fredsPAT, 400, ""},
		"in the query":      {"PUT", "?token=" + fredsPAT, `{}`, 400, "token"},
		"check of nobody":   {"POST", "/check", `{}`, 400, "user"},
		"check of another":  {"POST", "/check?user=wilma", `{}`, 404, ""},
		"delete of nobody":  {"DELETE", "", nil, 400, "user"},
		"delete of another": {"DELETE", "?user=wilma", nil, 404, ""},
		"another method":    {"PATCH", "", `{}`, 405, ""},
	} {
		t.Run(name, func(t *testing.T) {
			denied(t, f.send(t, c.method, base+"/upstream"+c.path, c.body), c.status, c.field)
		})
	}
	if text := denied(t, f.send(t, "POST", base+"/upstream/check", nil), 400, "user"); !strings.Contains(text, "in the parameter user, or the user's key in userKey") {
		t.Errorf("without parameters: %s", text)
	}
	for _, c := range []struct{ method, path string }{
		{"GET", "/upstream"}, {"PUT", "/upstream"}, {"DELETE", "/upstream?user=fred"}, {"POST", "/upstream/check?user=fred"}, {"POST", "/seal/rotate"}, {"POST", "/upstream/purge"},
	} {
		var body any
		if c.method == "PUT" {
			body = web.SetUpstreamRequest{Token: fredsPAT}
		}
		denied(t, f.user("fred").send(t, c.method, base+c.path, body), 403, "")
		f.manager.Upstream = nil // as with upstream.identity.header
		if text := denied(t, f.send(t, c.method, base+c.path, body), 409, ""); !strings.Contains(text, "upstream.identity.header") {
			t.Errorf("%s %s says %q", c.method, c.path, text)
		}
	}
}
