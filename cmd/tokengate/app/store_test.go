package app

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/open"
)

// memoryConfig selects a second kind of store.
type memoryConfig struct {
	Most int `yaml:"most"`
}

func (c *memoryConfig) Check(report func(key, format string, args ...any)) {
	if c.Most < 1 {
		report("most", "%d: must be at least 1", c.Most)
	}
}

func (c *memoryConfig) Open(context.Context, store.OpenOptions) (store.Opened, error) {
	return store.Opened{Store: &memoryStore{most: c.Most, tokens: make(map[string]store.Token), closed: make(chan struct{})}, New: true}, nil
}

// memoryStore has only what the test needs: other methods panic.
type memoryStore struct {
	store.Store
	most   int
	closed chan struct{}

	mu       sync.Mutex
	tokens   map[string]store.Token
	revision uint64
	feed     store.Feed
}

func (s *memoryStore) put(t store.Token) store.Token {
	s.revision++
	t.Revision = s.revision
	s.tokens[t.ID] = t
	s.feed.Changed(t)
	return t
}

func (s *memoryStore) Create(_ context.Context, t store.Token, admit store.AdmitFunc) (store.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tokens) >= s.most {
		return t, fmt.Errorf("%w: it holds %d tokens", store.ErrNoSpace, s.most)
	}
	if _, err := admit(nil); err != nil {
		return t, err
	}
	return s.put(store.Normalize(t)), nil
}

func (s *memoryStore) Update(_ context.Context, id string, change store.ChangeFunc) (store.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[id]
	if _, err := change(&t, nil); err != nil {
		return t, err
	}
	return s.put(store.Normalize(t)), nil
}

func (s *memoryStore) Get(_ context.Context, id string) (store.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.tokens[id]; ok {
		return t, nil
	}
	return store.Token{}, store.ErrNotFound
}

func (s *memoryStore) Watch(ctx context.Context, to store.Feed) error {
	s.mu.Lock()
	s.feed = to
	to.Complete(0)
	to.Fresh(store.Forever)
	s.mu.Unlock()
	select {
	case <-s.closed:
		return store.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (*memoryStore) AllUsage(context.Context, func(string, store.Usage) error) error { return nil }

func (*memoryStore) Usage(context.Context, []string) (map[string]store.Usage, error) { return nil, nil }

func (*memoryStore) AddUsage(context.Context, map[string]store.Usage) error { return nil }

func (*memoryStore) AddTotals(context.Context, store.Day, map[string]uint64) error { return nil }

func (*memoryStore) Prune(context.Context, time.Time, func(store.Token) store.Audit) ([]string, error) {
	return nil, nil
}

func (*memoryStore) PruneEnded(context.Context, time.Time, int, func(store.Token) store.Audit) ([]string, error) {
	return nil, nil
}

func (*memoryStore) PruneAudit(context.Context, time.Time, int64) (store.AuditPruned, error) {
	return store.AuditPruned{}, nil
}

func (*memoryStore) PrunePasswordUses(context.Context, time.Time) error { return nil }

func (*memoryStore) Size() int64 { return 4711 }

func (*memoryStore) Sizes() (map[string]store.Size, bool) { return nil, false }

func (*memoryStore) Health(context.Context) error { return nil }

func (s *memoryStore) Close() error {
	close(s.closed)
	return nil
}

// A second store is registered, and the configuration selects it: the server needs no other change.
func TestSecondStore(t *testing.T) {
	open.Kinds["memory"] = func() store.Config { return &memoryConfig{Most: 2} }
	t.Cleanup(func() { delete(open.Kinds, "memory") })

	_, err := config.Parse("x.yaml", []byte("publicURL: https://jira.example.com\nstore: {memory: {most: 0}}\n"))
	if err == nil || err.Error() != "x.yaml:2:24: store.memory.most: 0: must be at least 1" {
		t.Errorf("a bad value: %v", err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "tokengate.yaml")
	err = os.WriteFile(file, fmt.Appendf(nil, `publicURL: https://jira.example.com
listen: {grpc: "unix://%[1]s/g", http: "unix://%[1]s/h", admin: "unix://%[1]s/a", metrics: "unix://%[1]s/m"}
store: {memory: {}}
`, dir), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s, err := New(t.Context(), file, Options{Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	root := manage.Operator("uid:0")
	issued, err := s.manager.Create(t.Context(), root, manage.NewToken{Owner: "fred", Name: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	request := &authz.Request{
		Method: "GET", Path: "/rest/api/2/myself", Client: netip.MustParseAddr("10.1.2.3"), Authorization: "Bearer " + issued.Value.Reveal(),
	}
	if d := authz.Decide(request, s.view()); d.Reason != authz.TokenAllowed {
		t.Errorf("a token of the second store: %v", d.Reason)
	}
	if err := s.manager.Revoke(t.Context(), root, issued.Token.ID); err != nil {
		t.Error(err)
	}
	if d := authz.Decide(request, s.view()); d.Reason != authz.UnknownToken {
		t.Errorf("a revoked token of the second store: %v", d.Reason)
	}
	probe := func(path, want string) {
		t.Helper()
		w := httptest.NewRecorder()
		s.probes().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s lacks %q: %s", path, want, w.Body)
		}
	}
	probe("/readyz?for=tokens", "ok\n")
	probe("/metrics", "\ntokengate_store_bytes 4711\n")
	probe("/metrics", "\ntokengate_index_fresh 1\n")
	s.tokens.Index().SetTokensFresh(time.Now())
	probe("/readyz?for=tokens", "has not reported its changes")
	probe("/metrics", "\ntokengate_index_fresh 0\n")
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 5 {
		t.Errorf("the server left the files %v, %v", entries, err)
	}
	if !strings.Contains(log.String(), "a new store was made") {
		t.Errorf("the log: %s", &log)
	}
}
