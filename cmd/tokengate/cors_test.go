package main

import (
	"net/http"
	"strings"
	"testing"
)

// Through a real Envoy: the script of a listed origin reads why it was refused, and
// a preflight request goes to Jira.
func TestOtherOriginsThroughEnvoy(t *testing.T) {
	t.Parallel()
	const app = "https://app.example.com"
	r := newRig(t, options{settings: func(yaml string) string { return yaml + "\ncors: {allowedOrigins: [" + app + "]}\n" }})
	value := r.mint("app")
	for i, c := range []struct {
		name    string
		q       request
		origin  string
		status  int
		allowed string // Access-Control-Allow-Origin
	}{
		{"refused", request{auth: "Bearer tgate_x"}, app, 401, app},
		{"refused, proved", request{auth: bearer(value), path: "/rest/pat/latest/tokens"}, app, 403, app},
		{"refused, of another origin", request{auth: "Bearer tgate_x"}, "https://evil.example", 401, ""},
		{"refused, of no origin", request{auth: "Bearer tgate_x"}, "", 401, ""},
		{"allowed", request{auth: bearer(value)}, app, 200, ""},
		{"preflight", request{method: "OPTIONS", path: "/rest/api/2/issue"}, app, 404, ""}, // as Jira answers it,
	} {
		t.Run(c.name, func(t *testing.T) {
			r.jira.Reset()
			c.q.header = http.Header{}
			if c.origin != "" {
				c.q.header.Set("Origin", c.origin)
			}
			if c.q.method == "OPTIONS" {
				c.q.header.Set("Access-Control-Request-Method", "POST")
			}
			got := r.send(c.q)
			if got.status != c.status {
				t.Fatalf("status %d, want %d: %s", got.status, c.status, got.body)
			}
			refused := c.status == 401 || c.status == 403
			if refused {
				checkDenial(t, c.q.auth, got)
			}
			if got := got.header.Values("Access-Control-Allow-Origin"); strings.Join(got, " ") != c.allowed {
				t.Errorf("Access-Control-Allow-Origin %v, want %q", got, c.allowed)
			}
			if vary := got.header.Get("Vary"); (vary == "Origin") != (c.allowed != "") {
				t.Errorf("Vary %q", vary)
			}
			if n := r.jira.Total(); n != map[bool]int{true: 1}[!refused] {
				t.Errorf("Jira heard %d requests", n)
			}
			if entry := r.logged(i); refused && entry["reason"] == nil {
				t.Errorf("Envoy logged %v", entry)
			}
		})
	}
}

// Attachments and avatars are open for reading without any setting, and the search
// of an app once it is listed.
func TestOpenPathsThroughEnvoy(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{settings: func(yaml string) string {
		return withoutKey(t, yaml, "tokens") + "\ntokens: {readingPosts: [/rest/assets/1.0/object/navlist/aql]}\n"
	}})
	reader := r.mint("reader", "--read-only")
	for _, c := range []struct {
		method, path, reason string
	}{
		{"GET", "/secure/attachment/10000/a%20b.txt", "allowed"},
		{"HEAD", "/secure/thumbnail/10000/_thumb_10000.png", "allowed"},
		{"GET", "/secure/useravatar?ownerId=fred", "allowed"},
		{"GET", "/secure/projectavatar?pid=1", "allowed"},
		{"GET", "/secure/viewavatar?avatarId=1", "allowed"},
		{"POST", "/secure/attachment/10000/a", "path_not_allowed"},
		{"GET", "/secure/attachment/10000/a.jspa", "path_not_allowed"},
		{"POST", "/rest/assets/1.0/object/navlist/aql", "allowed"},
		{"POST", "/rest/assets/1/object/navlist/aql.json", "allowed"},
		{"PUT", "/rest/assets/1.0/object/navlist/aql", "read_only"},
	} {
		r.jira.Reset()
		got := r.send(request{method: c.method, path: c.path, auth: bearer(reader)})
		if c.reason == "allowed" {
			if seen := r.seen(); seen.User != "Fred" {
				t.Errorf("%s %s: %d, Jira saw %q", c.method, c.path, got.status, seen.User)
			}
		} else if n := r.jira.Total(); got.status != 403 || n != 0 {
			t.Errorf("%s %s: %d, Jira heard %d requests", c.method, c.path, got.status, n)
		}
	}
}
