package web_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

// start is where the clock stands.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const base = "/rest/api-tokens/latest"

// fixture is the admin socket of a manager over a real store.
type fixture struct {
	manager *manage.Manager
	tokens  *store.Indexed
	handler http.Handler
	logs    *observer.ObservedLogs
	client  *http.Client

	mu      sync.Mutex
	answers []string // every body that came back
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	db, err := badger.Open(t.Context(), badger.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	tokens, err := store.NewIndexed(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	tokens.Index().Judge(func(store.Owner) store.Standing { return store.Good }, store.Forever)
	f := &fixture{tokens: tokens}
	f.manager = &manage.Manager{
		Store:      tokens,
		Usage:      store.NewUsageRecorder(tokens),
		MaxPerUser: func() int { return 3 },
		Now:        func() time.Time { return start },
		Random:     token.Random,
	}
	core, logs := observer.New(zapcore.DebugLevel)
	f.logs = logs
	f.handler = web.Admin(f.manager, f.view, zap.New(core))
	f.client = serve(t, f.handler, web.ConnContext)
	t.Cleanup(func() { f.findSecrets(t) })
	return f
}

func (f *fixture) view() authz.View {
	return authz.View{Policy: policy.New(config.Default()), Index: f.tokens.Index(), Now: start}
}

// serve serves a handler on a unix socket and returns a client for it.
func serve(t *testing.T, h http.Handler, connContext func(context.Context, net.Conn) context.Context) *http.Client {
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

// send sends a request. A body that is no string is sent as JSON.
func (f *fixture) send(t testing.TB, method, path string, body any) answer {
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
	request, err := http.NewRequestWithContext(t.Context(), method, "http://tokengate"+path, content)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return f.do(t, request)
}

func (f *fixture) do(t testing.TB, request *http.Request) answer {
	t.Helper()
	response, err := f.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = append(f.answers, string(data))
	return answer{response.StatusCode, response.Header, string(data)}
}

// into sends a request that must be answered 200, and reads the answer.
func (f *fixture) into(t testing.TB, method, path string, body, answer any) {
	t.Helper()
	got := f.send(t, method, path, body)
	if got.status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, got.status, got.body)
	}
	decoder := json.NewDecoder(strings.NewReader(got.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(answer); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, got.body)
	}
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
		t.Fatalf("got %d %s, want %d", got.status, got.body, status)
	}
	if kind := got.header.Get("Content-Type"); kind != "application/json;charset=UTF-8" {
		t.Errorf("Content-Type %q", kind)
	}
	if got.header.Get("Retry-After") != "" {
		t.Error("it has Retry-After")
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
