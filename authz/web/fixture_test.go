package web_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
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
	"github.com/tokengate/tokengate/authz/identify"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/index"
)

// start is the initial time of the clock.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const base = "/rest/api-tokens/latest"

// settings is the configuration of the tests.
const settings = `
publicURL: https://jira.example.com
directory: {upstream: {credential: /unused}}
tokens: {maxPerUser: 3}
access:
  use: [jira-users]
  admin: [jira-administrators]
  create:
    - {groups: [jira-users], maxLifetime: 90d}
    - {groups: [contractors], maxLifetime: 30d, readOnly: true, approval: true, networks: required, rate: {requests: 60, per: 1m}}
  createForOthers: [{groups: [leads], for: [robots]}]
`

// fixture is a manager with a real store and a simulated Jira, its admin socket and
// the API behind Envoy.
type fixture struct {
	manager *manage.Manager
	tokens  *cached.Store
	faults  *faulty
	jira    *jiratest.Server
	callers *identify.Callers
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
	tokens, err := cached.New(t.Context(), faults)
	if err != nil {
		t.Fatal(err)
	}
	tokens.Index().UpdateOwnerStatus(func(store.Owner, index.OwnerStatus) index.OwnerStatus { return index.OwnerPermitted }, store.Forever)
	f := &fixture{tokens: tokens, faults: faults, now: start, jira: jiratest.New(jiratest.Options{ContextPath: c.Upstream.ContextPath}), policy: policy.New(c)}
	for name, groups := range map[string][]string{
		"Fred": {"jira-users"}, "wilma": {"jira-users"}, "fred & sons": {"jira-users"}, "user": {"jira-users"},
		"admin": {"jira-users", "jira-administrators"}, "barney": {"jira-users", "jira-administrators"},
		"contractor": {"contractors", "jira-users-too"}, "lead": {"jira-users", "leads"}, "robot": {"jira-users", "robots"},
		"stranger": {}, "service": {jiratest.Administrators},
	} {
		f.jira.Put(jiratest.User{Name: name, Password: "pw-" + strings.ToLower(name), DisplayName: "The " + name, Active: true, Groups: groups})
	}
	client, err := jira.Product.Connect("http://jira.test"+c.Upstream.ContextPath, jiratest.Transport{Handler: f.jira})
	if err != nil {
		t.Fatal(err)
	}
	credential := filepath.Join(t.TempDir(), "credential")
	if err := os.WriteFile(credential, []byte("service:pw-service"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.callers = identify.NewCallers(&jira.Product, client, tokens, f.clock)
	inForce := manage.NewSettings(c)
	users := directory.New(directory.Options{
		Source: client.Source(product.SourceOptions{Credential: credential, Groups: c.Groups, Now: hurried()}),
		Owners: func() []directory.Owner { return nil }, Publish: func(*directory.Snapshot) {},
		Every: time.Minute, StaleAfter: 1000 * time.Hour, Now: f.clock, Random: rand.Float64,
	})
	if err := users.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.jira.Reset()
	f.manager = &manage.Manager{
		Tokens:    tokens,
		Usage:     cached.NewUsageRecorder(tokens),
		Directory: users,
		Settings:  func() manage.Settings { return inForce },
		Now:       f.clock,
		Random:    token.Random,
	}
	core, logs := observer.New(zapcore.DebugLevel)
	f.logs, f.log = logs, zap.New(core)
	f.handler = web.Admin(f.manager, f.view, func() web.Status { return web.Status{} }, f.log)
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

// hurried returns a clock with which no request waits for its turn.
func hurried() func() time.Time {
	var asked atomic.Int64
	return func() time.Time { return start.Add(time.Duration(asked.Add(1)) * time.Second) }
}

// pass advances the clock.
func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fixture) view() authz.View {
	return authz.View{Policy: f.policy, Index: f.tokens.Index(), Now: f.clock()}
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

// answer is a response.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request over the admin socket. A body that is not a string is sent as
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

// do sends a request and compares the answer with the description of the API.
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
	if strings.HasPrefix(path, config.PagePath) {
		// openapi.yaml does not describe pages
	} else if err := conforms(request.Method, path, got); err != nil {
		t.Errorf("%s %s: %v\n%d %s", request.Method, path, err, got.status, got.body)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = append(f.answers, got.body)
	return got
}

// sender sends requests through Envoy.
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

// user returns a user who sends a password.
func (f *fixture) user(name string) sender {
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

// create creates a token.
func (f *fixture) create(t testing.TB, user, label string) web.IssuedToken {
	t.Helper()
	var issued web.IssuedToken
	f.into(t, "POST", base+"/", web.CreateRequest{User: user, Label: label}, &issued)
	return issued
}

// denied fails the test unless the answer is a denial in Jira's shape, with the
// status and field, and returns its text.
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

// faulty is a store that fails on request.
type faulty struct {
	store.Store
	before atomic.Pointer[func(ctx context.Context, method string) error]
	silent atomic.Bool // the feed reports no updates
}

func (s *faulty) Watch(ctx context.Context, to store.Feed) error {
	return s.Store.Watch(ctx, faultyFeed{to, s})
}

type faultyFeed struct {
	store.Feed
	of *faulty
}

func (f faultyFeed) Changed(t store.Token) {
	if !f.of.silent.Load() {
		f.Feed.Changed(t)
	}
}

// fail sets a function that is called before each of the methods below; nil removes
// it.
func (s *faulty) fail(before func(ctx context.Context, method string) error) {
	if before == nil {
		s.before.Store(nil)
		return
	}
	s.before.Store(&before)
}

func (s *faulty) ask(ctx context.Context, method string) error {
	if before := s.before.Load(); before != nil {
		return (*before)(ctx, method)
	}
	return nil
}

func (s *faulty) Create(ctx context.Context, t store.Token, admit func([]store.Token) (store.Audit, error)) (store.Token, error) {
	if err := s.ask(ctx, "Create"); err != nil {
		return store.Token{}, err
	}
	return s.Store.Create(ctx, t, admit)
}

func (s *faulty) Get(ctx context.Context, id string) (store.Token, error) {
	if err := s.ask(ctx, "Get"); err != nil {
		return store.Token{}, err
	}
	return s.Store.Get(ctx, id)
}

func (s *faulty) Usage(ctx context.Context, ids []string) (map[string]store.Usage, error) {
	if err := s.ask(ctx, "Usage"); err != nil {
		return nil, err
	}
	return s.Store.Usage(ctx, ids)
}

func (s *faulty) AuditLog(ctx context.Context, before uint64, limit int) ([]store.Audit, error) {
	if err := s.ask(ctx, "AuditLog"); err != nil {
		return nil, err
	}
	return s.Store.AuditLog(ctx, before, limit)
}

// fill makes tokens with long names by way of the store, many at once: so they
// share its writes. owner says whose the n-th is.
func fill(t *testing.T, f *fixture, many int, owner func(n int) string) {
	t.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for n := int(next.Add(1)); n <= many; n = int(next.Add(1)) {
				id, user := fmt.Sprintf("%012d", n), owner(n)
				_, err := f.tokens.Create(t.Context(), store.Token{
					ID: id, Owner: store.Owner{Name: user}, Name: fmt.Sprintf("token %090d", n), Created: start, CreatedBy: "test",
					State: store.Active, Secret: store.Secret{Salt: [16]byte{1}, Hash: [32]byte{byte(n), byte(n >> 8), 1}},
				}, func([]store.Token) (store.Audit, error) {
					return store.Audit{Time: start, Actor: "test", Action: "token.create", TokenID: id, Owner: user, Outcome: "done"}, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// findSecrets searches all answers and logs of a test. Only the answers that issued values
// may contain them. None may contain salts or hashes.
func (f *fixture) findSecrets(t testing.TB) {
	t.Helper()
	var texts []string
	for _, body := range f.answers {
		var issued struct {
			PasswordValue string `json:"passwordValue"`
		}
		if json.Unmarshal([]byte(body), &issued) == nil && issued.PasswordValue != "" {
			body = strings.Replace(body, issued.PasswordValue, "", 1)
		}
		if m := shownValue.FindStringSubmatch(body); m != nil {
			body = strings.Replace(body, m[1], "", 1)
		}
		texts = append(texts, body)
	}
	for _, entry := range f.logs.All() {
		texts = append(texts, fmt.Sprint(entry.Message, entry.ContextMap()))
	}
	log, err := f.tokens.AuditLog(context.Background(), 0, 10000)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range log {
		texts = append(texts, fmt.Sprintf("%+v", a))
	}
	all := strings.Join(texts, "\n")
	if token.Redact(all) != all {
		t.Error("a token's value stands where it must not")
	}
	err = f.tokens.All(context.Background(), func(k store.Token) error {
		for _, secret := range []store.Secret{k.Secret, k.Previous.Secret} {
			for _, part := range [][]byte{secret.Salt[:], secret.Hash[:]} {
				if secret == (store.Secret{}) {
					continue
				}
				for _, form := range []string{
					hex.EncodeToString(part), strings.ToUpper(hex.EncodeToString(part)),
					base64.RawStdEncoding.EncodeToString(part), base64.RawURLEncoding.EncodeToString(part),
					strings.Trim(fmt.Sprint(part), "[]"), strings.ReplaceAll(strings.Trim(fmt.Sprint(part), "[]"), " ", ","),
					string(part),
				} {
					if strings.Contains(all, form) {
						t.Errorf("a salt or hash of token %s was exposed", k.ID)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
