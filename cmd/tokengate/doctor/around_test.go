package doctor

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// answer returns a server that gives one answer.
func answer(t *testing.T, status int, location string) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(s.Close)
	return s
}

// around runs the check with --jira for each URL.
func around(t *testing.T, ctx context.Context, urls ...string) Finding {
	t.Helper()
	found := Run(ctx, Options{Jira: urls, Now: time.Now})
	if len(found) != 1 || found[0].ID != aroundCheck {
		t.Fatalf("%+v", found)
	}
	return found[0]
}

// Whoever can connect reaches the application, whatever it answers. Envoy's addresses are not the
// application's, and the worst of several is reported, in any order.
func TestAround(t *testing.T) {
	jira := httptest.NewServer(jiratest.New(jiratest.Options{}))
	t.Cleanup(jira.Close)
	secure := httptest.NewTLSServer(jiratest.New(jiratest.Options{}))
	t.Cleanup(secure.Close)
	envoy, redirect := answer(t, http.StatusOK, "").URL, answer(t, http.StatusPermanentRedirect, "https://jira.example.com/x").URL
	closed := "http://127.0.0.1:1"
	for _, m := range []struct {
		name    string
		urls    []string
		verdict Verdict
		found   []string
	}{
		{"open", []string{jira.URL}, Error, []string{"answers without Envoy: " + jira.URL}},
		{"https with an unknown certificate", []string{secure.URL}, Error, []string{"answers without Envoy: " + secure.URL}},
		{"https at a port of http", []string{"https" + strings.TrimPrefix(jira.URL, "http")}, Error, []string{"is open", "HTTP response to HTTPS client"}},
		{"another redirect", []string{answer(t, http.StatusFound, "https://jira.example.com/x").URL}, Error, []string{"answers without Envoy"}},
		{"closed", []string{closed}, OK, []string{closed + " does not answer"}},
		{"Envoy", []string{envoy}, Error, []string{envoy + " is Envoy's address"}},
		{"Envoy's redirect", []string{redirect}, Error, []string{redirect + " only redirects to https://jira.example.com", "https address"}},
		{"Envoy and closed", []string{envoy, closed}, Error, []string{"Envoy's address"}},
		{"Envoy and open", []string{envoy, jira.URL}, Error, []string{"Envoy's address", "answers without Envoy: " + jira.URL}},
		{"unknown and open", []string{"http://jira.invalid", jira.URL}, Error, []string{"jira.invalid", "answers without Envoy: " + jira.URL}},
	} {
		t.Run(m.name, func(t *testing.T) {
			for range 2 {
				f := around(t, t.Context(), m.urls...)
				for _, text := range m.found {
					if f.Verdict != m.verdict || !strings.Contains(f.Found, text) {
						t.Errorf("%v: %+v, want %s", m.urls, f, m.verdict)
					}
				}
				slices.Reverse(m.urls)
			}
		})
	}
}

// A server that takes a request and does not answer in time is open.
func TestAroundSilent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context()) // the end of the time
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer silent.Close()
	if f := around(t, ctx, silent.URL); f.Verdict != Error || !strings.Contains(f.Found, "is open") {
		t.Errorf("%+v", f)
	}
	if f := around(t, ctx, silent.URL); f.Verdict != Error || !strings.Contains(f.Found, "not tried") {
		t.Errorf("without time: %+v", f)
	}
}

// Without --jira, the application's port at other addresses of this machine is a warning, whatever
// certificate it has. In a pod nothing can be said about it.
func TestAroundLocal(t *testing.T) {
	everywhere := httptest.NewUnstartedServer(jiratest.New(jiratest.Options{}))
	_ = everywhere.Listener.Close()
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	everywhere.Listener = listener
	everywhere.StartTLS()
	defer everywhere.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	if len(localURLs("https", port)) == 0 {
		t.Skip("this machine has no other address")
	}
	for inPod, want := range map[bool]Verdict{false: Warning, true: Skipped} {
		s := &site{Options: Options{InPod: inPod}}
		s.config.Upstream.URL = "https://127.0.0.1:" + port
		if r := checkAround(t.Context(), s); r.verdict != want || !strings.Contains(r.found, "answers without Envoy: https://") {
			t.Errorf("in a pod %v: %+v", inPod, r)
		}
	}
}
