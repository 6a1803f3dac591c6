package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tokengate/tokengate/authz/directory"
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
	db   *badger.Store
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
	var err error
	if r.db, err = badger.Open(t.Context(), badger.Options{Dir: filepath.Join(r.dir, "store")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.db.Close() })
	for n := range byte(3) {
		key := bytes.Repeat([]byte{n + 1, 7}, 16)
		if err := os.WriteFile(r.key(int(n)), key, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	r.start(0)
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

func (r *rig) set(expected string, value product.Secret) (directory.User, error) {
	return r.Set(r.t.Context(), expected, value, by)
}

func TestSet(t *testing.T) {
	r := newRig(t)
	r.want("at first", "none", "none")
	fred := r.mint("fred", "yabba")
	if _, err := r.set(wilmaKey, fred.Value); !errors.Is(err, upstream.ErrOtherUser) {
		t.Errorf("fred's token for wilma: error %v", err)
	}
	for name, value := range map[string]string{"unknown": "NDIxMjM0NTY3ODkwOtq2N8", "empty": ""} {
		if _, err := r.set("", product.NewSecret(value)); !errors.Is(err, upstream.ErrRefused) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	// Jira's answers to this user look like those for nobody.
	if _, err := r.set("", r.mint("anonymous", "doo").Value); !errors.Is(err, upstream.ErrRefused) {
		t.Errorf("a user called anonymous: error %v", err)
	}
	r.want("after refusals", "none", "none")
	user, err := r.set(fredKey, fred.Value)
	if err != nil || user.Name != "fred" {
		t.Fatalf("user %q, error %v", user.Name, err)
	}
	answer := "answer for " + fred.Value.Reveal()
	r.want("set", answer, "none")
	second := r.mint("fred", "yabba")
	if _, err := r.set("", second.Value); err != nil {
		t.Fatal(err)
	}
	answer = "answer for " + second.Value.Reveal()
	r.want("replaced", answer, "none")
	r.start(0)
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want("after a start", answer, "none")
	audits, err := r.db.AuditLog(t.Context(), 0, 10)
	if err != nil || len(audits) != 2 || audits[0].Owner != "fred" || audits[0].Actor != "uid:0" {
		t.Errorf("audit log %+v, error %v", audits, err)
	}
	if err := r.Disconnect(t.Context(), fredKey, nil, by); err != nil {
		t.Fatal(err)
	}
	r.want("disconnected", "none", "none")
	if err := r.Disconnect(t.Context(), fredKey, nil, by); !errors.Is(err, upstream.ErrNotConnected) {
		t.Errorf("disconnected twice: error %v", err)
	}
	r.searchSecrets(fred.Value, second.Value)
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

func TestCheck(t *testing.T) {
	r := newRig(t)
	check := func(when string, want store.UpstreamState, wantErr error) {
		t.Helper()
		audit := by
		audit.Action = "upstream.check"
		state, err := r.Check(t.Context(), fredKey, audit)
		if state != want || !errors.Is(err, wantErr) {
			t.Errorf("%s: state %v, error %v; want %v, %v", when, state, err, want, wantErr)
		}
	}
	check("not connected", 0, upstream.ErrNotConnected)
	made := r.mint("fred", "yabba")
	if _, err := r.set("", made.Value); err != nil {
		t.Fatal(err)
	}
	answer := "answer for " + made.Value.Reveal()
	check("fine", store.UpstreamActive, nil)
	r.web.CloseClientConnections()
	r.want("fine", answer, "none")

	working := r.Client
	down, err := jira.Product.Connect("http://127.0.0.1:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Client = down
	check("Jira is down", store.UpstreamActive, directory.ErrUnavailable)
	r.want("Jira is down", answer, "none")
	r.Client = working

	for _, pat := range r.jira.PATs(fredKey) {
		r.jira.RevokePAT(pat.ID)
	}
	check("revoked in Jira", store.UpstreamBroken, nil)
	r.want("revoked", "broken", "none")
	check("still revoked", store.UpstreamBroken, nil)
	r.start(0)
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want("revoked, after a start", "broken", "none")
	audits, err := r.db.AuditLog(t.Context(), 0, 10)
	if err != nil || len(audits) != 2 || audits[0].Action != "upstream.check" || audits[0].Changes["state"].After != "broken" {
		t.Errorf("audit log %+v, error %v", audits, err)
	}
}

func TestReseal(t *testing.T) {
	r := newRig(t)
	fred, wilma := r.mint("fred", "yabba"), r.mint("wilma", "dabba")
	for _, made := range []product.UpstreamCredential{fred, wilma} {
		if _, err := r.set("", made.Value); err != nil {
			t.Fatal(err)
		}
	}
	r.start(1)
	first, err := seal.ReadKeys([]string{r.key(0)})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Load(t.Context()); !errors.Is(err, seal.ErrNoKey) || !strings.Contains(err.Error(), first.Current().String()) || !strings.Contains(err.Error(), "2 users") {
		t.Errorf("without the key: error %v", err)
	}
	r.want("without the key", "none", "none")
	r.start(1, 0)
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	answers := [2]string{"answer for " + fred.Value.Reveal(), "answer for " + wilma.Value.Reveal()}
	r.want("with both keys", answers[0], answers[1])
	for _, want := range []int{2, 0} {
		if n, err := r.Reseal(t.Context()); n != want || err != nil {
			t.Errorf("%d credentials sealed again, error %v; want %d", n, err, want)
		}
	}
	r.start(1)
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want("with the new key alone", answers[0], answers[1])
}

// TestMovedRecord moves fred's sealed credential to wilma's record: it opens nothing there, and
// all others work.
func TestMovedRecord(t *testing.T) {
	r := newRig(t)
	fred := r.mint("fred", "yabba")
	if _, err := r.set("", fred.Value); err != nil {
		t.Fatal(err)
	}
	all, err := r.db.Upstream(t.Context(), fredKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.UpdateUpstream(t.Context(), wilmaKey, func([]store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		return all, nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	r.start(0)
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want("moved", "answer for "+fred.Value.Reveal(), "broken")
	if n := r.logs.FilterField(zap.String("user_key", wilmaKey)).Len(); n != 1 {
		t.Errorf("%d log lines about wilma, want 1", n)
	}
	r.start(1, 0)
	if n, err := r.Reseal(t.Context()); n != 1 || !errors.Is(err, seal.ErrDamaged) || !strings.Contains(err.Error(), "opens 1 of") {
		t.Errorf("%d sealed again, error %v", n, err)
	}
	if state, err := r.Check(t.Context(), wilmaKey, by); state != store.UpstreamBroken || err != nil {
		t.Errorf("checked: state %v, error %v", state, err)
	}
}

// TestRace sets, checks and disconnects at once; index and store agree at the end.
func TestRace(t *testing.T) {
	r := newRig(t)
	values := []product.UpstreamCredential{r.mint("fred", "yabba"), r.mint("fred", "yabba"), r.mint("fred", "yabba")}
	var all sync.WaitGroup
	for _, v := range values {
		all.Go(func() {
			for range 5 {
				if _, err := r.set("", v.Value); err != nil {
					t.Errorf("set: %v", err)
				}
				if _, err := r.Check(t.Context(), fredKey, by); err != nil && !errors.Is(err, upstream.ErrNotConnected) {
					t.Errorf("check: %v", err)
				}
				if err := r.Disconnect(t.Context(), fredKey, nil, by); err != nil && !errors.Is(err, upstream.ErrNotConnected) {
					t.Errorf("disconnect: %v", err)
				}
				r.answer(0)
			}
		})
	}
	all.Wait()
	before := r.answer(0)
	r.start(0)
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := r.answer(0); after != before {
		t.Error("the index and the store differ")
	}
}

// TestRun checks that a credential that the application has revoked is found, by the round and at
// once after a suspicion.
func TestRun(t *testing.T) {
	for name, interval := range map[string]time.Duration{"round": time.Millisecond, "suspicion": time.Hour} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for _, made := range []product.UpstreamCredential{r.mint("fred", "yabba"), r.mint("wilma", "dabba")} {
				if _, err := r.set("", made.Value); err != nil {
					t.Fatal(err)
				}
			}
			working := r.answer(1)
			for _, pat := range r.jira.PATs(fredKey) {
				r.jira.RevokePAT(pat.ID)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var running sync.WaitGroup
			running.Go(func() { r.Run(ctx, interval) })
			if interval == time.Hour {
				r.Suspect("nobody")
				r.Suspect(fredKey)
			}
			checked := func() bool {
				audits, err := r.db.AuditLog(t.Context(), 0, 1)
				return err == nil && audits[0].Action == upstream.CheckAction
			}
			for ctx.Err() == nil && (r.answer(0) != "broken" || !checked()) {
				runtime.Gosched()
			}
			cancel()
			running.Wait()
			r.want("checked", "broken", working)
			audits, err := r.db.AuditLog(t.Context(), 0, 1)
			if err != nil || audits[0].Action != upstream.CheckAction || audits[0].Actor != upstream.Actor || audits[0].Owner != "fred" {
				t.Errorf("audit log %+v, error %v", audits, err)
			}
		})
	}
}

// failing is a store that fails, before or after the write.
type failing struct {
	upstream.Store
	before, after error
}

func (f *failing) UpdateUpstream(ctx context.Context, user string, change store.UpstreamFunc) ([]store.UpstreamCredential, error) {
	if f.before != nil {
		return nil, f.before
	}
	all, err := f.Store.UpdateUpstream(ctx, user, change)
	return all, errors.Join(err, f.after)
}

// TestStoreFails checks that a user's tokens are denied while it is unknown what is stored, and that the next
// check finds out.
func TestStoreFails(t *testing.T) {
	for name, fails := range map[string]failing{"before the write": {before: store.ErrNoSpace}, "after the write": {after: store.ErrNoSpace}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			made := r.mint("fred", "yabba")
			if _, err := r.set("", made.Value); err != nil {
				t.Fatal(err)
			}
			working := r.Store
			fails.Store = working
			r.Store = &fails
			if _, err := r.set("", made.Value); !errors.Is(err, store.ErrNoSpace) {
				t.Errorf("set: error %v", err)
			}
			r.want("failed", "broken", "none")
			r.Store = working
			if state, err := r.Check(t.Context(), fredKey, by); state != store.UpstreamActive || err != nil {
				t.Errorf("checked: state %v, error %v", state, err)
			}
			r.want("checked", "answer for "+made.Value.Reveal(), "none")

			for _, pat := range r.jira.PATs(fredKey) {
				r.jira.RevokePAT(pat.ID)
			}
			r.Store = &fails
			if _, err := r.Check(t.Context(), fredKey, by); !errors.Is(err, store.ErrNoSpace) {
				t.Errorf("check of a revoked one: error %v", err)
			}
			r.want("revoked", "broken", "none")
		})
	}
}
