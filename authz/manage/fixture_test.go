package manage_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/cached"
)

// root is an operator, an administrator without an account.
var root = manage.Operator("uid:0")

// start is the initial time of each test's clock.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const maxPerUser = 3

// fixture is a manager with a real store and a real directory, and a clock that only
// the test advances.
type fixture struct {
	*manage.Manager
	dir       string // of the store
	tokens    *cached.Store
	directory *directory.Directory
	settings  config.Config
	between   func() // called after the owners' status is updated, before tokens are

	mu  sync.Mutex
	now time.Time
}

// newFixture returns a manager without a directory: every user exists.
func newFixture(t testing.TB) *fixture {
	return newFixtureOf(t, "", directory.None{}, func(s store.Store) store.Store { return s })
}

// newFixtureOf returns a manager with a configuration, which lacks publicURL.
func newFixtureOf(t testing.TB, yaml string, source directory.Source, wrap func(store.Store) store.Store) *fixture {
	t.Helper()
	settings, err := config.Parse("test.yaml", []byte("publicURL: https://jira.example.com\n"+yaml))
	if err != nil {
		t.Fatal(err)
	}
	if yaml == "" {
		settings.Tokens.MaxPerUser = maxPerUser
	}
	dir := t.TempDir()
	db, err := badger.Open(t.Context(), badger.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	tokens, err := cached.New(t.Context(), wrap(db))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{dir: dir, tokens: tokens, settings: settings, now: start}
	f.directory = directory.New(directory.Options{
		Source: source, Owners: func() []directory.Owner { return nil },
		Every: time.Minute, StaleAfter: staleAfter, Now: f.clock, Random: rand.Float64,
		Publish: func(*directory.Snapshot) {},
	})
	f.Manager = &manage.Manager{
		Tokens:    tokens,
		Usage:     cached.NewUsageRecorder(tokens),
		Directory: f.directory,
		Settings:  func() manage.Settings { return manage.NewSettings(f.settings) },
		Now:       f.clock,
		Random:    token.Random,
	}
	f.refresh(t)
	return f
}

const staleAfter = 15 * time.Minute

// refresh reloads the directory and applies it, like the server.
func (f *fixture) refresh(t testing.TB) {
	t.Helper()
	if err := f.directory.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.UpdateOwnerStatus(f.directory.Snapshot)
	if f.between != nil {
		f.between()
	}
	if err := f.DisableExposedTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.SyncOwners(t.Context(), f.directory.Snapshot()); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// pass advances the clock.
func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// create creates a token.
func (f *fixture) create(t testing.TB, n manage.NewToken) manage.Issued {
	t.Helper()
	issued, err := f.Create(t.Context(), root, n)
	if err != nil {
		t.Fatalf("create %q for %q: %v", n.Name, n.Owner, err)
	}
	return issued
}

// reason returns the reason of a decision now about a request with the value.
func (f *fixture) reason(v token.Value) authz.Reason {
	request := authz.Request{
		Method:        "GET",
		Path:          "/rest/api/2/myself",
		Client:        netip.MustParseAddr("192.0.2.7"),
		Authorization: "Bearer " + v.Reveal(),
	}
	decision := authz.Decide(&request, authz.View{Policy: policy.New(config.Default()), Index: f.tokens.Index(), Now: f.clock()})
	return decision.Reason
}

// audit returns the whole audit log, oldest first, without sequence numbers.
func (f *fixture) audit(t testing.TB) []store.Audit {
	t.Helper()
	log, err := f.tokens.AuditLog(context.Background(), 0, 10000)
	if err != nil {
		t.Fatal(err)
	}
	oldest := make([]store.Audit, len(log))
	for i, a := range log {
		a.Sequence = 0
		oldest[len(log)-1-i] = a
	}
	return oldest
}

// lastAudit returns the newest record.
func (f *fixture) lastAudit(t testing.TB) store.Audit {
	t.Helper()
	log := f.audit(t)
	if len(log) == 0 {
		t.Fatal("the audit log is empty")
	}
	return log[len(log)-1]
}

// count returns the number of records in the store.
func (f *fixture) count(t testing.TB) int {
	t.Helper()
	var n atomic.Int64
	err := f.tokens.All(t.Context(), func(store.Token) error { n.Add(1); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return int(n.Load())
}

// disable disables a token.
func (f *fixture) disable(t testing.TB, id string) {
	t.Helper()
	if err := f.Disable(t.Context(), root, id); err != nil {
		t.Fatal(err)
	}
}

// is fails the test unless err is a refusal of the given code and, if given, about
// the field.
func is(t testing.TB, err error, kind *manage.Error, field ...manage.Field) *manage.Error {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want one of code %q", err, kind.Code)
	}
	refusal, _ := errors.AsType[*manage.Error](err)
	if len(field) > 0 && refusal.Field != field[0] {
		t.Errorf("the refusal %q is about the field %q, want %q", err, refusal.Field, field[0])
	}
	return refusal
}

// equal fails the test unless got equals want.
func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, compareAddresses); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func days(n int) manage.Expiry {
	return manage.Expiry{In: config.Lifetime{Duration: time.Duration(n) * 24 * time.Hour}}
}

var unlimited = manage.Expiry{In: config.Lifetime{Unlimited: true}}

// compareAddresses lets cmp compare types with unexported fields.
var compareAddresses = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// client is the address of requests.
var client = netip.MustParseAddr("192.0.2.7")

// mustFind returns a user of the current snapshot.
func mustFind(t testing.TB, c *company, name string) directory.User {
	t.Helper()
	u, ok := c.directory.Snapshot().ByName(name)
	if !ok {
		t.Fatalf("there is no user %s", name)
	}
	return u
}
