package web_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/directory/jiratest"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web"
	"github.com/tokengate/tokengate/authz/manage/web/page"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

// start is where the clock stands.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const base = "/rest/api-tokens/latest"

// settings are the configuration of the tests.
const settings = `
publicURL: https://jira.example.com
directory: {jira: {credential: /unused}}
tokens: {maxPerUser: 3}
access:
  use: [jira-users]
  admin: [jira-administrators]
  create:
    - {groups: [jira-users], maxLifetime: 90d}
    - {groups: [contractors], maxLifetime: 30d, readOnly: true, approval: true, networks: required, rate: {requests: 60, per: 1m}}
  createForOthers: [{groups: [leads], for: [robots]}]
`

// fixture is a manager over a real store and a Jira, with its admin socket, and
// the one that Envoy routes to.
type fixture struct {
	manager *manage.Manager
	tokens  *store.Cached
	faults  *faulty
	jira    *jiratest.Server
	callers *directory.Callers
	policy  *policy.Policy
	logs    *observer.ObservedLogs
	log     *zap.Logger
	handler http.Handler // of the admin socket
	client  *http.Client // for it
	options web.Options  // of the other
	http    *http.Client // for that

	mu      sync.Mutex
	now     time.Time
	answers []string // every body that came back
}

func newFixture(t testing.TB) *fixture { return configured(t, settings) }

func configured(t testing.TB, text string) *fixture {
	t.Helper()
	c, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	db, err := badger.Open(t.Context(), badger.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	faults := &faulty{Store: db}
	tokens, err := store.NewCached(t.Context(), faults)
	if err != nil {
		t.Fatal(err)
	}
	tokens.Index().UpdateOwnerStatus(func(store.Owner, store.OwnerStatus) store.OwnerStatus { return store.OwnerPermitted }, store.Forever)
	f := &fixture{tokens: tokens, faults: faults, now: start, jira: jiratest.New(jiratest.Options{ContextPath: c.Upstream.ContextPath}), policy: policy.New(c)}
	for name, groups := range map[string][]string{
		"Fred": {"jira-users"}, "wilma": {"jira-users"}, "fred & sons": {"jira-users"}, "user": {"jira-users"},
		"admin": {"jira-users", "jira-administrators"}, "barney": {"jira-users", "jira-administrators"},
		"contractor": {"contractors", "jira-users-too"}, "lead": {"jira-users", "leads"}, "robot": {"jira-users", "robots"},
		"stranger": {}, "service": {jiratest.Administrators},
	} {
		f.jira.Put(jiratest.User{Name: name, Password: "pw-" + strings.ToLower(name), DisplayName: "The " + name, Active: true, Groups: groups})
	}
	jira, err := directory.NewClient("http://jira.test"+c.Upstream.ContextPath, direct{f.jira})
	if err != nil {
		t.Fatal(err)
	}
	credential := filepath.Join(t.TempDir(), "credential")
	if err := os.WriteFile(credential, []byte("service:pw-service"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.callers = directory.NewCallers(jira, f.clock)
	rules := manage.NewSettings(c)
	people := directory.New(directory.Options{
		Source: directory.NewJira(directory.JiraOptions{Client: jira, Credential: credential, Groups: c.Groups, Now: hurried()}),
		Owners: func() []directory.Owner { return nil }, Publish: func(*directory.Snapshot) {},
		Every: time.Minute, StaleAfter: 1000 * time.Hour, Now: f.clock, Random: rand.Float64,
	})
	if err := people.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.jira.Reset()
	f.manager = &manage.Manager{
		Tokens:    tokens,
		Usage:     store.NewUsageRecorder(tokens),
		Directory: people,
		Settings:  func() manage.Settings { return rules },
		Now:       f.clock,
		Random:    token.Random,
	}
	core, logs := observer.New(zapcore.DebugLevel)
	f.logs, f.log = logs, zap.New(core)
	f.handler = web.Admin(f.manager, f.view, f.log)
	f.client = serve(t, f.handler, web.ConnContext)
	f.options = web.Options{
		Manager: f.manager, View: f.view, Identify: f.callers.Identify, Usage: f.manager.Usage,
		PublicURL: c.PublicURL, ContextPath: c.Upstream.ContextPath, Log: f.log, Now: f.clock,
	}
	f.http = serve(t, web.New(f.options), nil)
	t.Cleanup(func() { f.findSecrets(t) })
	return f
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// hurried returns a clock by which nobody has to wait for their turn.
func hurried() func() time.Time {
	var asked atomic.Int64
	return func() time.Time { return start.Add(time.Duration(asked.Add(1)) * time.Second) }
}

// pass moves the clock on.
func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fixture) view() authz.View {
	return authz.View{Policy: f.policy, Index: f.tokens.Index(), Now: f.clock()}
}

// direct hands requests to Jira without a network in between.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.Host, in.Body = r.URL.RequestURI(), r.URL.Host, http.NoBody
	in.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// serve serves a handler on a unix socket and returns a client for it.
func serve(t testing.TB, h http.Handler, connContext func(context.Context, net.Conn) context.Context) *http.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "web") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, ConnContext: connContext}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.Serve(listener)
	}()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
		<-ended
	})
	return &http.Client{Transport: transport}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request over the admin socket. A body that is no string is sent as
// JSON.
func (f *fixture) send(t testing.TB, method, path string, body any) answer {
	t.Helper()
	return f.do(t, f.client, newRequest(t, method, path, body, nil))
}

func newRequest(t testing.TB, method, path string, body any, header http.Header) *http.Request {
	t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		content = strings.NewReader(string(data))
	}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://jira.example.com"+path, content)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header = header.Clone()
	}
	if body != nil && request.Header["Content-Type"] == nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request
}

// do sends a request, and holds the answer against the description of the API.
func (f *fixture) do(t testing.TB, client *http.Client, request *http.Request) answer {
	t.Helper()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := answer{response.StatusCode, response.Header, string(data)}
	path := strings.TrimPrefix(request.URL.EscapedPath(), f.options.ContextPath)
	if strings.HasPrefix(path, page.Path) {
		// a page is no answer of the API
	} else if err := conforms(request.Method, path, got); err != nil {
		t.Errorf("%s %s: %v\n%d %s", request.Method, path, err, got.status, got.body)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = append(f.answers, got.body)
	return got
}

// sender is somebody who sends requests by way of Envoy.
type sender struct {
	f      *fixture
	header http.Header
}

// as returns a sender with an Authorization header; "" is none.
func (f *fixture) as(authorization string) sender {
	s := sender{f, http.Header{http.CanonicalHeaderKey(authz.ClientIPHeader): {"192.0.2.7"}}}
	if authorization != "" {
		s.header.Set("Authorization", authorization)
	}
	return s
}

// person returns somebody who sends their password.
func (f *fixture) person(name string) sender {
	return f.as("Basic " + base64.StdEncoding.EncodeToString([]byte(name+":pw-"+strings.ToLower(name))))
}

// with returns a sender with one more header.
func (s sender) with(name, value string) sender {
	s.header = s.header.Clone()
	s.header.Add(name, value)
	return s
}

func (s sender) send(t testing.TB, method, path string, body any) answer {
	t.Helper()
	if method == "POST" && body == nil {
		s = s.with("X-Atlassian-Token", "no-check")
	}
	return s.f.do(t, s.f.http, newRequest(t, method, path, body, s.header))
}

// into sends a request that must be answered 200, and reads the answer.
func (s sender) into(t testing.TB, method, path string, body, answer any) {
	t.Helper()
	read(t, method+" "+path, s.send(t, method, path, body), answer)
}

func read(t testing.TB, what string, got answer, into any) {
	t.Helper()
	if got.status != http.StatusOK {
		t.Fatalf("%s: %d %s", what, got.status, got.body)
	}
	decoder := json.NewDecoder(strings.NewReader(got.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%s: %v in %s", what, err, got.body)
	}
}

// into sends a request over the admin socket that must be answered 200, and reads
// the answer.
func (f *fixture) into(t testing.TB, method, path string, body, answer any) {
	t.Helper()
	read(t, method+" "+path, f.send(t, method, path, body), answer)
}

// create creates a token that must not be refused.
func (f *fixture) create(t testing.TB, user, label string) web.IssuedToken {
	t.Helper()
	var issued web.IssuedToken
	f.into(t, "POST", base+"/", web.CreateRequest{User: user, Label: label}, &issued)
	return issued
}

// denied fails the test unless the answer is a denial in Jira's shape, with this
// status, about this field, and returns its text.
func denied(t testing.TB, got answer, status int, field string) string {
	t.Helper()
	if got.status != status {
		t.Fatalf("got %d %s, want %d", got.status, token.Redact(string(got.body)), status)
	}
	if kind := got.header.Get("Content-Type"); kind != "application/json;charset=UTF-8" {
		t.Errorf("Content-Type %q", kind)
	}
	if retry := got.header.Get("Retry-After"); (retry != "") != (status == http.StatusTooManyRequests) {
		t.Errorf("Retry-After is %q", retry)
	}
	var shape struct {
		ErrorMessages []string          `json:"errorMessages"`
		Errors        map[string]string `json:"errors"`
		Message       string            `json:"message"`
	}
	decoder := json.NewDecoder(strings.NewReader(got.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&shape); err != nil {
		t.Fatalf("%v in %s", err, got.body)
	}
	text := shape.Message
	if len(shape.ErrorMessages) != 1 || shape.ErrorMessages[0] != text || text == "" || shape.Errors == nil {
		t.Errorf("the denial is %s", got.body)
	}
	switch {
	case field == "" && len(shape.Errors) != 0, field != "" && shape.Errors[field] != text:
		t.Errorf("the errors are %v, want one of %q", shape.Errors, field)
	}
	return text
}
