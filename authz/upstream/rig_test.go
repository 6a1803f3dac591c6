package upstream_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/index"
)

// rig is a real store and a fake Jira.
type rig struct {
	*upstream.Credentials
	t    *testing.T
	jira *jiratest.Server
	web  *httptest.Server
	db   store.Store
	dir  string // of the store
	keys string // of the key files
	logs *observer.ObservedLogs
	now  time.Time

	unused bool // no user has a token
}

const (
	fredKey  = "JIRAUSER10100"
	wilmaKey = "JIRAUSER10101"
)

func newRig(t *testing.T) *rig {
	t.Helper()
	r := newJira(t)
	db, err := badger.Open(t.Context(), badger.Options{Dir: filepath.Join(r.dir, "store")})
	if err != nil {
		t.Fatal(err)
	}
	r.db = db
	t.Cleanup(func() { db.Close() })
	r.start(0)
	return r
}

// newJira returns a rig without a store.
func newJira(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), keys: t.TempDir(), now: time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)}
	r.jira = jiratest.New(jiratest.Options{
		Now: func() time.Time { return r.now },
		Users: []jiratest.User{
			{Name: "fred", Key: fredKey, Password: "yabba", Active: true},
			{Name: "wilma", Key: wilmaKey, Password: "dabba", Active: true},
			{Name: "Anonymous", Key: "JIRAUSER10102", Password: "doo", Active: true},
		},
	})
	r.web = httptest.NewServer(r.jira)
	t.Cleanup(r.web.Close)
	for n := range byte(3) {
		key := bytes.Repeat([]byte{n + 1, 7}, 16)
		if err := os.WriteFile(r.key(int(n)), key, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *rig) key(n int) string { return filepath.Join(r.keys, fmt.Sprint("key", n)) }

// start makes new Credentials with the keys of these numbers, and an empty index with a token of each user.
func (r *rig) start(keys ...int) {
	r.t.Helper()
	var files []string
	for _, n := range keys {
		files = append(files, r.key(n))
	}
	opened, err := seal.ReadKeys(files)
	if err != nil {
		r.t.Fatal(err)
	}
	client, err := jira.Product.Connect(r.web.URL, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	core, logs := observer.New(zap.DebugLevel)
	r.logs = logs
	r.Credentials = &upstream.Credentials{
		Store: r.db, Index: &index.Index{}, Keys: opened, Site: "https://jira.example.com", Product: &jira.Product, Client: client, RenewAt: 67,
		Unused: func(context.Context, store.Owner) (bool, error) { return r.unused, nil },
		Answer: func(value string) string { return "answer for " + value },
		Log:    zap.New(core), Now: func() time.Time { return r.now }, Random: token.Random,
	}
	for n, key := range []string{fredKey, wilmaKey} {
		r.Index.Put(store.Token{ID: fmt.Sprintf("test%08d", n), Owner: store.Owner{Name: key, Key: key}, State: store.Active, Revision: 1})
	}
}

// answer returns what the index has for fred (0) or wilma (1).
func (r *rig) answer(n int) string {
	e, _ := r.Index.Lookup(fmt.Sprintf("test%08d", n))
	switch e.Upstream {
	case nil:
		return "none"
	case index.BrokenUpstream:
		return "broken"
	}
	return e.Upstream.Answer()
}

func (r *rig) want(when string, fred, wilma string) {
	r.t.Helper()
	if got := [2]string{r.answer(0), r.answer(1)}; got != [2]string{fred, wilma} {
		r.t.Errorf("%s: the credentials in the index are not as expected: %.9s…, %.9s…", when, got[0], got[1])
	}
}

// mint lets a user create a personal access token in Jira.
func (r *rig) mint(name, password string) product.UpstreamCredential {
	r.t.Helper()
	login := http.Header{}
	request := &http.Request{Header: login}
	request.SetBasicAuth(name, password)
	made, err := jira.Product.Credentials(r.Client).Mint(r.t.Context(), login, "tokengate", 90*24*time.Hour)
	if err != nil {
		r.t.Fatal(err)
	}
	return made
}

var by = store.Audit{Actor: "uid:0", From: "admin socket", Action: "upstream.set", Outcome: "done"}

func (r *rig) set(expected string, value product.Secret) (upstream.Connection, error) {
	return r.Set(r.t.Context(), expected, value, by)
}

// searchSecrets fails if a value is in the logs or in a file of the store, as it is or in base64.
func (r *rig) searchSecrets(values ...product.Secret) {
	r.t.Helper()
	if err := r.db.Close(); err != nil {
		r.t.Fatal(err)
	}
	var places bytes.Buffer
	for _, entry := range r.logs.All() {
		fmt.Fprintln(&places, entry.Message, entry.ContextMap())
	}
	err := filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		places.Write(data)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, v := range values {
		if v.Reveal() == "" || bytes.Contains(places.Bytes(), []byte(v.Reveal()[:20])) {
			r.t.Error("a value is in the logs or in the store")
		}
	}
}
