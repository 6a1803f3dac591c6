package jiratest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  jiratest.Fault
		status int
		kind   string
		body   string
		err    error
	}{
		{"none", jiratest.Fault{}, 200, "application/json;charset=UTF-8", `"name":"Fred"`, nil},
		{"status", jiratest.Status(502), 502, "text/html;charset=UTF-8", "Bad Gateway", nil},
		{"login page", jiratest.LoginPage(), 200, "text/html;charset=UTF-8", "Log in", nil},
		{"nonsense", jiratest.Nonsense(), 200, "application/json;charset=UTF-8", `"active":tru`, nil},
		{"truncated", jiratest.Truncated(), 200, "application/json;charset=UTF-8", `}`, io.ErrUnexpectedEOF},
		{"slow", jiratest.Slow(time.Nanosecond), 200, "application/json;charset=UTF-8", `"name":"Fred"`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			jira, url := start(t, func(o *jiratest.Options) { o.ContextPath = "/jira" })
			fault := jira.Fail("/rest/api/2/my", tt.fault)
			req, err := http.NewRequest("GET", url+"/jira/rest/api/latest/myself", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth("fred", "p:w")
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if !errors.Is(err, tt.err) || res.StatusCode != tt.status ||
				res.Header.Get("Content-Type") != tt.kind || !strings.Contains(string(body), tt.body) {
				t.Errorf("%d %v %q %v", res.StatusCode, res.Header, body, err)
			}
			<-fault.Hit()
			if got := do(t, "GET", url+"/jira/rest/api/2/serverInfo", ""); got.status != 200 {
				t.Errorf("another path: status %d, want 200", got.status)
			}
			fault.Stop()
			fault.Stop()
			if got := do(t, "GET", url+"/jira"+myself, "", basic("fred", "p:w")); got.status != 200 || !strings.Contains(got.body, "Fred") {
				t.Errorf("after the fault: %d %s", got.status, got.body)
			}
			if n := jira.Count("GET /rest/api/2/myself"); n != 2 || len(jira.Requests()) != 3 || jira.Total() != 3 {
				t.Errorf("%d requests to myself, %d of %d kept; want 2, and 3 of 3", n, len(jira.Requests()), jira.Total())
			}
		})
	}
}

// The latest matching fault applies; stopping it restores the earlier one.
func TestFaultsOverlap(t *testing.T) {
	jira, url := start(t, nil)
	all := jira.Fail("", jiratest.Status(500))
	rest := jira.Fail("/rest/", jiratest.Status(503))
	status := func(path string, want int) {
		t.Helper()
		if got := do(t, "GET", url+path, "", "X-Forwarded-User: fred"); got.status != want {
			t.Errorf("%s: status %d, want %d", path, got.status, want)
		}
	}
	status(myself, 503)
	status("/secure/Dashboard.jspa", 500)
	rest.Stop()
	status(myself, 500)
	all.Stop()
	status(myself, 200)
}

// A wrong password that a fault answers is not counted.
func TestFaultCountsNoFailure(t *testing.T) {
	jira, url := start(t, nil)
	jira.Fail("", jiratest.Status(401))
	do(t, "GET", url+myself, "", basic("fred", "x"))
	if n := jira.Failures("fred"); n != 0 {
		t.Errorf("%d failures, want 0", n)
	}
}

// hasIssue reports whether an issue exists.
func hasIssue(jira *jiratest.Server, key string) bool {
	w := httptest.NewRecorder()
	req := httptest.NewRequest("GET", "/rest/api/2/issue/"+key, nil)
	req.Header.Set("Authorization", "Bearer native")
	jira.ServeHTTP(w, req)
	return w.Code == 200
}

// held sends a request and returns its result.
func held(ctx context.Context, t *testing.T, method, url, body string) <-chan error {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-User", "fred")
	done := make(chan error, 1)
	go func() {
		res, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			defer res.Body.Close()
			_, err = io.Copy(io.Discard, res.Body)
			if err == nil && res.StatusCode >= 300 {
				err = errors.New(res.Status)
			}
		}
		done <- err
	}()
	return done
}

// Held requests are answered, with their bodies intact, when the fault is
// stopped.
func TestHeldRequestsAreAnswered(t *testing.T) {
	for name, fault := range map[string]jiratest.Fault{"hang": jiratest.Hang(), "slow": jiratest.Slow(time.Hour)} {
		t.Run(name, func(t *testing.T) {
			jira, url := start(t, nil)
			on := jira.Fail("", fault)
			done := held(t.Context(), t, "POST", url+"/rest/api/2/issue", `{"fields":{"summary":"x"}}`)
			<-on.Hit()
			if n, total := jira.Count("POST /rest/api/2/issue"), jira.Total(); n != 1 || total != 1 {
				t.Errorf("%d requests to the route and %d in total while held; want 1 and 1", n, total)
			}
			on.Stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if seen, _ := jira.Last(); seen.User != "Fred" || !hasIssue(jira, "DEMO-2") {
				t.Errorf("the request is from %q, want Fred, and an issue", seen.User)
			}
		})
	}
}

// Cancelled requests have no effect and don't keep Close waiting.
func TestHeldRequestsCanBeCancelled(t *testing.T) {
	for name, fault := range map[string]jiratest.Fault{
		"hang": jiratest.Hang(), "slow": jiratest.Slow(time.Hour), "endless": jiratest.Endless(),
	} {
		var jira *jiratest.Server
		var on *jiratest.Failure
		t.Run(name, func(t *testing.T) { // closes the server at its end
			var url string
			jira, url = start(t, nil)
			on = jira.Fail("", fault)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := held(ctx, t, "POST", url+"/rest/api/2/issue", `{"fields":{"summary":"x"}}`)
			<-on.Hit()
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want it cancelled", err)
			}
		})
		on.Stop()
		if n := len(jira.Requests()); n != 1 || hasIssue(jira, "DEMO-2") {
			t.Errorf("%s: %d requests kept, want 1 and no issue", name, n)
		}
	}
}

func TestStopEndsEndless(t *testing.T) {
	jira, url := start(t, nil)
	on := jira.Fail("", jiratest.Endless())
	res, err := http.Get(url + myself)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.CopyN(io.Discard, res.Body, 10<<20); err != nil {
		t.Fatalf("%d bytes and %v, want more than that", n, err)
	}
	on.Stop()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Error(err)
	}
}

func TestCount(t *testing.T) {
	jira, url := start(t, nil)
	for _, path := range []string{"/rest/api/latest/issue/DEMO-1.json", "/rest/api/2/issue/DEMO-2?x=y", "/rest/x", "/..;/"} {
		do(t, "GET", url+path, "")
	}
	const route = "GET /rest/api/2/issue/{key}"
	if n := jira.Count(route); n != 2 || jira.Total() != 4 {
		t.Errorf("%d of %d, want 2 of 4", n, jira.Total())
	}
	jira.Reset()
	if n := jira.Count(route); n != 0 {
		t.Errorf("%d after Reset, want 0", n)
	}
	defer func() {
		if recover() == nil {
			t.Error("a route that is none is counted")
		}
	}()
	jira.Count("/rest/api/2/issue")
}
