package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// fakeServer serves a handler on an admin socket.
func fakeServer(t *testing.T, h http.HandlerFunc) (socket string) {
	t.Helper()
	socket = filepath.Join(envoytest.Dir(t), "a")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return socket
}

// A listing goes through all pages.
func TestListPages(t *testing.T) {
	pages := map[string]string{
		"":  `{"values":[{"id":"a","label":"one"},{"id":"b","label":"two"}],"next":"7"}`,
		"7": `{"values":[],"next":"9"}`,
		"9": `{"values":[{"id":"c","label":"three"}],"next":null}`,
	}
	socket := fakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != web.Bases[0]+"/tokens" || q.Get("user") != "fred & sons" || q.Get("name") != "" {
			t.Errorf("asked for %s", r.URL)
		}
		io.WriteString(w, pages[q.Get("after")])
	})
	out, errs, code := command(t, socket, "", "token", "list", "--user", "fred & sons")
	if code != 0 || errs != "" {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var names []string
	for line := range strings.Lines(out) {
		names = append(names, strings.Fields(line)[2])
	}
	if diff := cmp.Diff([]string{"NAME", "one", "two", "three"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}

	out, errs, code = command(t, socket, "", "token", "list", "--user", "fred & sons", "--output", "json")
	if code != 0 || errs != "" {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var tokens []web.Token
	if err := json.Unmarshal([]byte(out), &tokens); err != nil || len(tokens) != 3 || tokens[2].Label != "three" {
		t.Errorf("%v in %s", err, out)
	}
}

// Control characters of an answer do not reach the terminal, and a malformed answer is a
// failure.
func TestUnexpectedAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		says   string
	}{
		{"a refusal", 403, `{"message":"Not you.\u001b[2J"}`, `Not you.\x1b[2J`},
		{"a refusal without text", 403, `{}`, "answered 403 Forbidden"},
		{"HTML", 502, "<html>\x1b[2J", "answered 502 Bad Gateway"},
		{"no JSON", 200, "ok", "read the server's answer"},
		{"nothing", 200, "", "read the server's answer"},
		{"half a page", 200, `{"values":[`, "read the server's answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			socket := fakeServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			})
			out, errs, code := command(t, socket, "", "token", "list")
			if code != 1 || out != "" || !strings.Contains(errs, c.says) || strings.Contains(errs, "\x1b") {
				t.Errorf("exit %d, output %q, error %q; want one that says %q", code, out, errs, c.says)
			}
		})
	}
}

// Names and texts that a server sends are shown in a form that does nothing to
// a terminal.
func TestTerminalIsSafe(t *testing.T) {
	evil := "x\x1b[2J\u202e\r\n"
	evilToken := web.Token{ID: evil, Label: evil, User: evil, Purpose: evil, CreatedBy: evil, State: evil, LastAddress: &evil, Networks: []string{evil}}
	var answer any
	socket := fakeServer(t, func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(answer) })
	for _, c := range []struct {
		args   []string
		answer any
	}{
		{[]string{"token", "list"}, web.TokenPage{Values: []web.Token{evilToken}}},
		{[]string{"token", "list", "--output", "json"}, web.TokenPage{Values: []web.Token{evilToken}}},
		{[]string{"token", "show", "000000000000"}, evilToken},
		{[]string{"token", "change", "000000000000", "--read-only"}, evilToken},
		{[]string{"audit"}, web.AuditPage{Values: []web.AuditRecord{{Actor: evil, From: evil, Action: evil, TokenID: evil, User: evil,
			Outcome: evil, Reason: evil, Changes: map[string]web.Change{evil: {Before: evil, After: evil}}}}}},
		{[]string{"passwords"}, web.PasswordUsers{Users: []web.PasswordUser{{User: evil, Uses: []web.PasswordUse{{Client: evil, Address: &evil}}}}}},
		{[]string{"totals"}, web.Totals{Days: []web.DayTotals{{Date: evil, Refused: map[string]uint64{evil: 1}}}}},
		{[]string{"settings"}, web.Settings{Settings: []policy.Setting{{Key: evil, Value: evil}, {Key: "x", Value: []string{evil}}}}},
		{[]string{"whoami"}, web.Me{Me: manage.Me{Name: evil, From: evil}, MaxOverlap: evil}},
		{[]string{"token", "create", "--user", "x", "--name", "x"}, web.IssuedToken{PasswordValue: "value", Token: evilToken}},
		{[]string{"token", "rotate", "000000000000"}, web.IssuedToken{PasswordValue: "value", Token: evilToken}},
		{[]string{"explain", "--path", "/", "--ip", "::1"}, web.Explanation{
			Outcome: evil, Reason: evil, Status: 403, Text: evil, User: evil, TokenID: evil, Checks: []web.CheckResult{{Check: evil, Result: evil, Reason: evil}},
		}},
	} {
		answer = c.answer
		out, errs, code := command(t, socket, "x", c.args...)
		if code == exitUsage || out+errs == "" {
			t.Fatalf("%v: exit %d, %s", c.args, code, errs)
		}
		if strings.ContainsAny(out+errs, "\x1b\r") || !json.Valid([]byte(out)) && strings.Contains(out+errs, "\u202e") {
			t.Errorf("%v prints %q, %q", c.args, out, errs)
		}
	}
}

// A value that cannot be printed is said to be lost.
func TestValueCannotBePrinted(t *testing.T) {
	socket := fakeServer(t, func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(web.IssuedToken{PasswordValue: "s3cret", Token: web.Token{ID: "0123456789AB"}})
	})
	var errs strings.Builder
	code := run(context.Background(), []string{"token", "create", "--user", "x", "--name", "x", "--admin-socket", socket},
		strings.NewReader(""), brokenPipe{}, &errs)
	if code != 1 || !strings.Contains(errs.String(), "0123456789AB, which is lost now") || strings.Contains(errs.String(), "s3cret") {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// Interrupted, a command ends.
func TestInterrupted(t *testing.T) {
	asked := make(chan struct{})
	socket := fakeServer(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	ctx, interrupt := context.WithCancel(context.Background())
	go func() {
		<-asked
		interrupt()
	}()
	var errs strings.Builder
	code := run(ctx, []string{"token", "list", "--admin-socket", socket}, strings.NewReader(""), io.Discard, &errs)
	if code != 1 || !strings.Contains(errs.String(), "canceled") {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}
