package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/identify"
	"github.com/tokengate/tokengate/authz/web"
)

// Each caller has its own budget of requests.
func TestRequestsPerCaller(t *testing.T) {
	f := newFixture(t)
	fred, wilma := f.user("fred"), f.user("wilma")
	count := func(s sender, method, path string, body any) (answered int, last answer) {
		for {
			if last = s.send(t, method, path, body); last.status == 429 || answered > 200 {
				return answered, last
			}
			answered++
		}
	}
	n, last := count(fred, "GET", base+"/me", nil)
	if denied(t, last, 429, ""); n != 50 || last.header.Get("Retry-After") != "1" {
		t.Errorf("%d at once, then wait %s", n, last.header.Get("Retry-After"))
	}
	if got := wilma.send(t, "GET", base+"/me", nil); got.status != 200 {
		t.Errorf("another caller: %d", got.status)
	}
	// Another credential of the user shares the budget.
	if got := f.session(t, "fred").send(t, "GET", base+"/me", nil); got.status != 429 {
		t.Errorf("by the session: %d", got.status)
	}
	f.pass(time.Second)
	if n, _ := count(fred, "GET", base+"/me", nil); n != 10 {
		t.Errorf("%d in a second", n)
	}

	// Costly requests have a smaller budget.
	f.pass(time.Minute)
	n, last = count(wilma, "POST", base+"/", `{}`) // refused, after it was counted
	if denied(t, last, 429, ""); n != 20 {
		t.Errorf("%d creations at once", n)
	}
	f.pass(2 * time.Second)
	if n, _ := count(wilma, "POST", base+"/000000000000/rotate", `{}`); n != 2 {
		t.Errorf("%d rotations in two seconds", n)
	}
	if got := wilma.send(t, "GET", base+"/me", nil); got.status != 200 {
		t.Errorf("something else: %d", got.status)
	}
	f.pass(time.Minute)
	for _, path := range []string{"/all", "/tokens?format=csv", "/audit?format=csv", "/passwords"} {
		f.pass(time.Minute)
		if n, _ := count(f.user("barney"), "GET", base+path, nil); n != 20 {
			t.Errorf("%d of %s at once", n, path)
		}
	}

	// The admin socket has no limits.
	for range 100 {
		if got := f.send(t, "GET", base+"/me", nil); got.status != 200 {
			t.Fatalf("%d on the admin socket", got.status)
		}
	}
}

// Refused attempts are recorded in the audit log, and are limited.
func TestRefusedRequests(t *testing.T) {
	f := newFixture(t)
	fred, wilma := f.user("fred"), f.user("wilma")
	theirs := f.create(t, "wilma", "theirs")
	own := f.create(t, "fred", "mine")
	attempts := []struct {
		method, path, body string
		status             int
	}{
		{"DELETE", "/" + theirs.ID, "", 404},
		{"PATCH", "/" + own.ID, `{"label":""}`, 400},
		{"DELETE", "/all?user=wilma", "", 403},
		{"POST", "/", `{"label":"mine"}`, 409},
	}
	records := func() int {
		var page web.AuditPage
		f.into(t, "GET", base+"/audit?outcome=refused&limit=1000", nil, &page)
		return len(page.Values)
	}
	for n := range 20 {
		c := attempts[n%len(attempts)]
		if got := fred.send(t, c.method, base+c.path, c.body); got.status != c.status {
			t.Fatalf("%s %s: %d %s, want %d", c.method, c.path, got.status, got.body, c.status)
		}
	}
	// The next change is refused, of any kind.
	for _, c := range []int{1, 3} {
		c := attempts[c]
		if got := fred.send(t, c.method, base+c.path, c.body); denied(t, got, 429, "") == "" || got.header.Get("Retry-After") != "1" {
			t.Errorf("%s %s: Retry-After is %q", c.method, c.path, got.header.Get("Retry-After"))
		}
	}
	if n := records(); n != 20 {
		t.Errorf("%d records of what was refused", n)
	}
	if got := fred.send(t, "GET", base+"/", nil); got.status != 200 {
		t.Errorf("reading: %d", got.status)
	}
	if got := wilma.send(t, "PATCH", base+"/"+theirs.ID, `{"purpose":"x"}`); got.status != 200 {
		t.Errorf("another caller: %d", got.status)
	}
	f.pass(time.Second)
	denied(t, fred.send(t, "PATCH", base+"/"+theirs.ID, `{}`), 404, "")
	denied(t, fred.send(t, "PATCH", base+"/"+theirs.ID, `{}`), 429, "")

	// Forbidden reads likewise; unknown ids leave no record.
	f.pass(time.Minute)
	for range 25 {
		denied(t, wilma.send(t, "GET", base+"/000000000000", nil), 404, "")
	}
	f.pass(time.Minute)
	for range 20 {
		denied(t, wilma.send(t, "GET", base+"/settings", nil), 403, "")
	}
	denied(t, wilma.send(t, "GET", base+"/settings", nil), 429, "")
	if n := records(); n != 41 {
		t.Errorf("%d records of what was refused", n)
	}

	// Successful changes do not count.
	f.pass(time.Minute)
	for range 30 {
		if got := wilma.send(t, "PATCH", base+"/"+theirs.ID, `{"purpose":"x"}`); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
}

// Owners can revoke, over REST and on the page, whatever else is requested in their
// name, but not without a limit.
func TestRevocationsHaveTheirOwnBudget(t *testing.T) {
	for name, spend := range map[string]func(*testing.T, sender){
		"requests":        func(t *testing.T, s sender) { s.send(t, "GET", base+"/me", nil) },
		"refused changes": func(t *testing.T, s sender) { s.send(t, "PATCH", base+"/000000000000", `{"purpose":"x"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			fred := f.user("fred")
			first, second := f.create(t, "fred", "first"), f.create(t, "fred", "second")
			for range 60 {
				spend(t, fred)
			}
			denied(t, fred.send(t, "PATCH", base+"/"+first.ID, `{"purpose":"x"}`), 429, "")
			if got := fred.send(t, "DELETE", base+"/"+first.ID, nil); got.status != 204 {
				t.Errorf("revoke: %d %s", got.status, got.body)
			}
			if got := fred.send(t, "DELETE", base+"/all", nil); got.status != 204 && got.status != 200 {
				t.Errorf("revoke all: %d %s", got.status, got.body)
			}
			for range 18 {
				denied(t, fred.send(t, "DELETE", base+"/"+second.ID+"0", nil), 404, "")
			}
			denied(t, fred.send(t, "DELETE", base+"/"+second.ID, nil), 429, "")
		})
	}
}

// shown returns how many lines with a message the log shows.
func (f *fixture) shown(message string) (n int) {
	for _, line := range f.logs.FilterMessage(message).All() {
		if line.Level >= zapcore.InfoLevel {
			n++
		}
	}
	return n
}

// The log shows a limited number of lines of unauthenticated clients, per address
// and in total.
func TestLogOfUnauthenticatedClients(t *testing.T) {
	f := newFixture(t)
	for n := range 300 {
		f.from(fmt.Sprint("192.0.2.", n/30), "Bearer tgadm_"+strings.Repeat("0", 61)).send(t, "GET", base+"/me", nil)
		if shown := f.shown("management request refused"); n == 29 && shown != 20 {
			t.Errorf("%d lines of one address are shown", shown)
		}
	}
	if shown := f.shown("management request refused"); shown != 50 {
		t.Errorf("%d lines are shown", shown)
	}
	if n := f.logs.FilterMessage("management request refused").Len(); n != 300 {
		t.Errorf("%d lines are there", n)
	}
}

// Requests beyond the limits do not fill the log; all others are shown.
func TestLogPerCaller(t *testing.T) {
	f := newFixture(t)
	fred := f.user("fred")
	for range 150 {
		fred.send(t, "GET", base+"/me", nil)
	}
	if shown := f.shown("management request"); shown != 50 {
		t.Errorf("%d lines of what was answered", shown)
	}
	if shown := f.shown("management request refused"); shown != 20 {
		t.Errorf("%d lines of what was too much", shown)
	}
	f.pass(5 * time.Second)
	for range 30 {
		denied(t, fred.send(t, "GET", base+"/000000000000", nil), 404, "")
	}
	if shown := f.shown("management request refused"); shown != 50 {
		t.Errorf("%d lines of what was refused", shown)
	}
}

// Nor do requests that the client cancels.
func TestLogOfCanceledRequests(t *testing.T) {
	f := newFixture(t)
	api := web.New(f.options)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone := func(s sender, times int) {
		for range times {
			request := newRequest(t, "GET", base+"/tokens", nil, s.header)
			request.RequestURI = request.URL.RequestURI()
			api.ServeHTTP(httptest.NewRecorder(), request.WithContext(ctx))
		}
	}
	gone(f.from("192.0.2.1", ""), 30)
	if shown := f.shown("management request canceled by its client"); shown != 20 {
		t.Errorf("%d lines of one address are shown", shown)
	}
	o := f.options
	o.Identify = func(context.Context, identify.Credential) (directory.User, http.Header, error) {
		return directory.User{Name: "fred", Active: true}, nil, nil
	}
	api = web.New(o)
	gone(f.user("fred"), 30)
	if shown := f.shown("management request canceled by its client"); shown != 40 {
		t.Errorf("%d lines of that and of one caller are shown", shown)
	}
}

// The number of remembered callers is bounded.
func TestCallersAreBounded(t *testing.T) {
	f := newFixture(t)
	o := f.options
	var next atomic.Int64
	o.Identify = func(context.Context, identify.Credential) (directory.User, http.Header, error) {
		name := fmt.Sprintf("user%d", next.Add(1))
		return directory.User{Name: name, Active: true, Groups: directory.Groups{Known: true}}, nil, nil
	}
	api := web.New(o)
	f.http = serve(t, api, nil)
	for range 1000 {
		f.user("x").send(t, "GET", base+"/", nil)
	}
	if n := web.Remembered(api); n != 1000 {
		t.Errorf("%d callers are remembered", n)
	}
	web.Remember(api, 20_000)
	if n := web.Remembered(api); n <= 9_000 || n > 10_000 {
		t.Errorf("of very many %d callers are remembered", n)
	}
	f.pass(time.Minute)
	web.Remember(api, 1)
	if n := web.Remembered(api); n != 1 {
		t.Errorf("%d callers are remembered who have asked for nothing in a minute", n)
	}
}
