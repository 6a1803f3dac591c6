package manage_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

// root is an administrator, nobody is not.
var (
	root   = manage.Caller{Name: "uid:0", From: "admin socket", Administrator: true}
	nobody = manage.Caller{Name: "fred", From: "REST"}
)

// start is where the clock of each test stands at first.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const maxPerUser = 3

// fixture is a manager over a real store, with a clock that only the test moves.
type fixture struct {
	*manage.Manager
	tokens *store.Indexed

	mu  sync.Mutex
	now time.Time
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	db, err := badger.Open(t.Context(), badger.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	tokens, err := store.NewIndexed(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	tokens.Index().Judge(func(store.Owner) store.Standing { return store.Good }, store.Forever)
	f := &fixture{tokens: tokens, now: start}
	f.Manager = &manage.Manager{
		Store:      tokens,
		Usage:      store.NewUsageRecorder(tokens),
		MaxPerUser: func() int { return maxPerUser },
		Now:        f.clock,
		Random:     token.Random,
	}
	return f
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// pass moves the clock on.
func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// create adds a token that must not be refused.
func (f *fixture) create(t testing.TB, n manage.NewToken) manage.Issued {
	t.Helper()
	issued, err := f.Create(t.Context(), root, n)
	if err != nil {
		t.Fatalf("create %q for %q: %v", n.Name, n.Owner, err)
	}
	return issued
}

// reason says how a request with this value would be decided now.
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

// count returns how many records the store has.
func (f *fixture) count(t testing.TB) int {
	t.Helper()
	var n atomic.Int64
	err := f.tokens.All(t.Context(), func(store.Token) error { n.Add(1); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return int(n.Load())
}

// disable switches a token off, which no operation does yet.
func (f *fixture) disable(t testing.TB, id string) {
	t.Helper()
	_, err := f.tokens.Update(t.Context(), id, func(k *store.Token) (store.Audit, error) {
		k.State = store.Disabled
		return store.Audit{Action: "test"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// is fails the test unless err is a refusal of the given kind about the given
// field.
func is(t testing.TB, err error, kind *manage.Error, field manage.Field) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want one of code %q", err, kind.Code)
	}
	if refusal, _ := errors.AsType[*manage.Error](err); refusal.Field != field {
		t.Errorf("the refusal %q is about the field %q, want %q", err, refusal.Field, field)
	}
}

func days(n int) manage.Expiry {
	return manage.Expiry{In: config.Lifetime{Duration: time.Duration(n) * 24 * time.Hour}}
}

var unlimited = manage.Expiry{In: config.Lifetime{Unlimited: true}}

// compareAddresses lets cmp compare what has only unexported fields.
var compareAddresses = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
