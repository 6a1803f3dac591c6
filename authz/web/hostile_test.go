package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/store"
)

// Without a credential nothing is done and nothing revealed.
func TestUnauthenticated(t *testing.T) {
	f := newFixture(t)
	issued := f.create(t, "fred", "ci")
	before := f.get(t, issued.ID)
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"GET", "/", nil}, {"POST", "/", `{"label":"x","user":"fred"}`}, {"GET", "/all", nil}, {"DELETE", "/all", nil}, {"DELETE", "/all?user=fred", nil},
		{"GET", "/tokens", nil}, {"GET", "/tokens?format=csv", nil}, {"GET", "/audit", nil}, {"GET", "/me", nil}, {"GET", "/settings", nil},
		{"GET", "/passwords", nil}, {"GET", "/totals", nil}, {"POST", "/explain", `{"path":"/"}`}, {"GET", "/openapi.json", nil},
		{"GET", "/" + issued.ID, nil}, {"GET", "/1", nil}, {"GET", "/000000000000", nil}, {"PATCH", "/" + issued.ID, `{"label":"x"}`},
		{"DELETE", "/" + issued.ID, nil}, {"POST", "/" + issued.ID + "/rotate", `{}`}, {"POST", "/" + issued.ID + "/approve", nil},
		{"POST", "/" + issued.ID + "/disable", nil}, {"POST", "/" + issued.ID + "/enable", nil}, {"POST", "/", `no JSON`}, {"GET", "/tokens?x=y", nil},
		{"GET", "/upstream", nil}, {"PUT", "/upstream", `{"token":"x"}`}, {"DELETE", "/upstream?user=fred", nil},
		{"POST", "/upstream/check?user=fred", nil}, {"POST", "/seal/rotate", nil},
	} {
		got := f.as("").send(t, c.method, base+c.path, c.body)
		want := f.as("").send(t, "GET", base+"/me", nil)
		if denied(t, got, 401, ""); got.body != want.body {
			t.Errorf("%s %s is answered %s", c.method, c.path, got.body)
		}
	}
	if n := f.count(t); n != 1 || f.get(t, issued.ID).State != before.State {
		t.Errorf("there are %d tokens, one of them %+v", n, f.get(t, issued.ID))
	}
	if n := f.jira.Total(); n != 0 {
		t.Errorf("Jira was asked %d times", n)
	}
}

// For users, tokens of others, revoked tokens and unknown ids are indistinguishable.
func TestOthersTokens(t *testing.T) {
	f := newFixture(t)
	wilma := f.user("wilma")
	theirs, gone := f.create(t, "fred", "ci"), f.create(t, "fred", "old")
	robots := f.management(t, "robots", "")
	f.send(t, "DELETE", base+"/"+gone.ID, nil)
	before := f.get(t, theirs.ID)
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"GET", "", nil}, {"PATCH", "", `{"label":"x"}`}, {"PATCH", "", `{"expiresIn":"unlimited"}`}, {"DELETE", "", nil},
		{"POST", "/rotate", `{}`}, {"POST", "/rotate", `{"overlap":"99d"}`},
		{"POST", "/approve", nil}, {"POST", "/disable", nil}, {"POST", "/enable", nil},
	} {
		want := wilma.send(t, c.method, base+"/000000000000"+c.path, c.body)
		if want.status != 404 && want.status != 403 {
			t.Errorf("%s %s of an unknown one: %d", c.method, c.path, want.status)
		}
		want.header.Del("Date")
		for _, id := range []string{theirs.ID, gone.ID, robots.ID, "1", "2", "3", "99", "0", "00000000000a", "x", "tokens.json", "_"} {
			got := wilma.send(t, c.method, base+"/"+id+c.path, c.body)
			got.header.Del("Date")
			if got.status != want.status || got.body != want.body || fmt.Sprint(got.header) != fmt.Sprint(want.header) {
				t.Errorf("%s /%s%s: %d %s, unknown: %d %s", c.method, id, c.path, got.status, got.body, want.status, want.body)
			}
			f.pass(10 * time.Second) // within the budget for changes
		}
	}
	after := f.get(t, theirs.ID)
	if after.State != before.State || after.Label != before.Label || after.PreviousUntil != nil {
		t.Errorf("it was %+v and is %+v", before, after)
	}
}

// A path is matched as sent, and no header or parameter replaces the method.
func TestPathsAndMethodsAreStrict(t *testing.T) {
	f := newFixture(t)
	issued := f.create(t, "fred", "ci")
	fred := f.user("fred")
	for _, path := range []string{
		";x=y/" + issued.ID, "/" + issued.ID + ";x=y", "//" + issued.ID, "/./" + issued.ID, "/x/../" + issued.ID, "/" + issued.ID + "/", "/" + issued.ID + "/.",
		"/%2e/" + issued.ID, "%2f" + issued.ID, "/" + issued.ID + "%2f", "/" + issued.ID + "%00", "/" + issued.ID + "%3bx", "/%" + fmt.Sprintf("%x", issued.ID[0]) + issued.ID[1:],
		"/" + issued.ID + "%2frotate", "/" + issued.ID + ".json", "/..%2f" + issued.ID, "/" + issued.ID + "/rotate/..", "/" + issued.ID + `\`, "/" + issued.ID + "%20",
		"/../1.0;/" + issued.ID, "/../latest/" + issued.ID,
	} {
		for _, method := range []string{"GET", "DELETE"} {
			got := raw(t, f, method, base+path, fred.header)
			if got.status != 404 {
				t.Errorf("%s %s is answered %d %s", method, path, got.status, got.body)
			}
			f.pass(time.Second)
		}
	}
	for _, path := range []string{"http://jira.example.com" + base + "/" + issued.ID, "*"} {
		if got := raw(t, f, "DELETE", path, fred.header); got.status != 404 && got.status != 400 {
			t.Errorf("%s is answered %d", path, got.status)
		}
	}
	override := fred.with("X-HTTP-Method-Override", "DELETE").with("X-Method-Override", "DELETE").with("X-HTTP-Method", "DELETE")
	var got web.Token
	override.into(t, "GET", base+"/"+issued.ID, nil, &got)
	denied(t, override.send(t, "GET", base+"/"+issued.ID+"?_method=DELETE", nil), 400, "_method")
	denied(t, override.send(t, "POST", base+"/"+issued.ID, `{"_method":"DELETE"}`), 405, "")
	for _, method := range []string{"PUT", "TRACE", "OPTIONS", "delete", "get", "PROPFIND", "HEAD2"} {
		if got := raw(t, f, method, base+"/"+issued.ID, fred.header); got.status != 405 {
			t.Errorf("%s is answered %d %s", method, got.status, got.body)
		}
	}
	if got := f.get(t, issued.ID); got.State != "active" || got.PreviousUntil != nil {
		t.Errorf("it is %+v", got)
	}
}

// raw sends a path that no client would send.
func raw(t *testing.T, f *fixture, method, path string, header http.Header) answer {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	server := &http.Server{Handler: web.New(f.options)}
	defer server.Close()
	go server.Serve(&single{conns: []net.Conn{there}})
	go func() {
		fmt.Fprintf(here, "%s %s HTTP/1.1\r\nHost: jira.example.com\r\nConnection: close\r\n", method, path)
		header.Write(here)
		io.WriteString(here, "\r\n")
	}()
	response, err := http.ReadResponse(bufio.NewReader(here), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = append(f.answers, string(body))
	return answer{response.StatusCode, response.Header, string(body)}
}

// single is a listener with existing connections.
type single struct {
	net.Listener
	conns []net.Conn
}

func (s *single) Accept() (net.Conn, error) {
	if len(s.conns) == 0 {
		return nil, net.ErrClosed
	}
	conn := s.conns[0]
	s.conns = nil
	return conn, nil
}

func (s *single) Close() error   { return nil }
func (s *single) Addr() net.Addr { return &net.UnixAddr{} }

// A client that disconnects during a creation leaves a complete token or none.
func TestClientDisconnects(t *testing.T) {
	f := newFixture(t)
	fred := f.user("fred")
	fred.send(t, "GET", base+"/me", nil) // Jira knows
	for _, when := range []string{"before it is written", "while it is written"} {
		ctx, cancel := context.WithCancel(t.Context())
		reached := make(chan struct{})
		f.faults.fail(func(ctx context.Context, method string) error {
			if method != "Create" {
				return nil
			}
			close(reached)
			if when == "before it is written" {
				<-ctx.Done() // the server has seen that the client is gone
			}
			return nil
		})
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if response, err := f.http.Do(newRequest(t, "POST", base+"/", `{"label":"`+when+`"}`, fred.header).WithContext(ctx)); err == nil {
				response.Body.Close()
			}
		}()
		<-reached
		cancel()
		<-gone
		f.faults.fail(nil)
	}
	// A later request on the same server waits for the others' end.
	f.http.CloseIdleConnections()
	fred.send(t, "DELETE", base+"/all", nil)
	page, err := f.tokens.List(t.Context(), "", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range page.Tokens {
		if k.Name == "before it is written" {
			t.Errorf("a token was written though its client had gone: %s", k.ID)
		}
		log, err := f.tokens.AuditLog(t.Context(), 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		created := 0
		for _, a := range log {
			if a.TokenID == k.ID && a.Action == "token.create" && a.Outcome == "done" {
				created++
			}
		}
		if _, known := f.tokens.Index().Lookup(k.ID); created != 1 || known != (k.State == store.Active) {
			t.Errorf("token %s has %d records of its creation, and is in the index: %v", k.ID, created, known)
		}
	}
}

// A failure of the store is reported as one. Its cause is in the log, and in the
// answer on the admin socket only.
func TestStoreFails(t *testing.T) {
	f := newFixture(t)
	admin := f.user("admin")
	f.faults.fail(func(context.Context, string) error { return fmt.Errorf("read sector 17: input/output error") })
	if text := denied(t, f.send(t, "GET", base+"/audit", nil), 503, ""); !strings.Contains(text, "could not do this: audit.list: read sector 17: input/output error.") {
		t.Errorf("the text on the admin socket hides the cause: %s", text)
	}
	if text := denied(t, admin.send(t, "GET", base+"/audit", nil), 503, ""); strings.Contains(text, "sector") {
		t.Errorf("the text reveals the cause: %s", text)
	}
	f.faults.fail(nil)
	lines := f.logs.FilterLevelExact(zapcore.ErrorLevel).FilterField(zap.Int("status", 503)).All()
	if len(lines) != 2 || !strings.Contains(fmt.Sprint(lines[0].ContextMap()), "sector 17") {
		t.Errorf("the log does not say what was wrong: %+v", lines)
	}
}

// A panic is answered and logged, and the server continues.
func TestPanic(t *testing.T) {
	f := newFixture(t)
	id := f.create(t, "fred", "ci").ID
	fill(t, f, 1, func(int) string { return "anna" })
	f.faults.fail(func(context.Context, string) error { panic("sector 17 on fire") })
	for _, path := range []string{"/" + id, "/tokens?format=csv", "/all"} {
		if text := denied(t, f.send(t, "GET", base+path, nil), 500, ""); strings.Contains(text, "sector") {
			t.Errorf("the text reveals the cause: %s", text)
		}
	}
	f.faults.fail(nil)
	lines := f.logs.FilterMessageSnippet("panic").All()
	if len(lines) != 3 || lines[0].Level != zapcore.ErrorLevel || !strings.Contains(fmt.Sprint(lines[0].ContextMap()["stack"]), "Get") {
		t.Errorf("log lines %+v", lines)
	}
	if got := f.send(t, "GET", base+"/"+id, nil); got.status != 200 {
		t.Errorf("the next request is answered with %d", got.status)
	}
}
