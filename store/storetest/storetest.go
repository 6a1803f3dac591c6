// Package storetest is the test suite that every store.Store must pass. A store's tests call Run.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/store"
)

// Suite describes the store under test.
type Suite struct {
	// Open opens the store under dir, a temporary directory. It is called again with the same dir
	// after the store was closed.
	Open func(t *testing.T, dir string) store.Store

	// OpenErr is Open with options, and may fail. Nil leaves out the tests of Importer and OpenOptions that need it.
	OpenErr func(t *testing.T, dir string, o store.OpenOptions) (store.Store, error)

	// Nested says that other writes may run during a callback, and that the callback is called
	// again if they change its input. The suite then calls the store from within callbacks, which
	// makes races deterministic. A store that holds a lock during callbacks would deadlock.
	Nested bool
}

type test struct {
	name string
	run  func(*testing.T, Suite)
}

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	tests := []test{
		{"create", testCreate},
		{"create refused", testCreateRefused},
		{"create admits by the owner's live tokens", testAdmit},
		{"get unknown", testGetUnknown},
		{"update", testUpdate},
		{"update refused", testUpdateRefused},
		{"update sees the owner's live tokens", testUpdateLive},
		{"update of the owner's name and key", testUpdateOwner},
		{"management token", testManagementToken},
		{"revoke", testRevoke},
		{"list", testList},
		{"list pages", testListPages},
		{"live", testLive},
		{"live and expired", testLiveExpired},
		{"live under another name", testLiveRenamed},
		{"live and pruned", testLivePruned},
		{"live with many ended", testLiveAmongMany},
		{"all", testAll},
		{"watch", testWatch},
		{"watch during writes", testWatchWrites},
		{"watch slowly", testWatchSlow},
		{"end of a watch", testWatchEnds},
		{"prune", testPrune},
		{"prune many", testPruneMany},
		{"prune ended tokens of an owner", testPruneEnded},
		{"numbers after a prune", testNumbersAfterPrune},
		{"usage", testUsage},
		{"usage of many", testUsageOfMany},
		{"all usage", testAllUsage},
		{"audit log", testAuditLog},
		{"audit with writes", testAuditWithWrites},
		{"audit records are bounded", testAuditBounded},
		{"prune audit log", testPruneAudit},
		{"prune long audit log", testPruneAuditMany},
		{"totals", testTotals},
		{"totals of many days", testTotalsOfManyDays},
		{"password uses", testPasswordUses},
		{"password uses of many clients", testPasswordClients},
		{"password uses of many users", testPasswordUsers},
		{"large password uses", testPasswordBatch},
		{"prune password uses", testPrunePasswordUses},
		{"upstream credentials", testUpstream},
		{"invalid upstream credentials", testUpstreamInvalid},
		{"parallel upstream credentials", testParallelUpstream},
		{"watch of upstream credentials", testWatchUpstream},
		{"shared records", testShared},
		{"parallel shared records", testParallelShared},
		{"roles", testRoles},
		{"export", testExport},
		{"import", testImport},
		{"failed import", testImportFailed},
		{"open an existing store", testExisting},
		{"context ended", testContextEnded},
		{"health", testHealth},
		{"closed", testClosed},
		{"reopened", testReopened},
		{"parallel creates at a limit", testParallelLimit},
		{"parallel creates", testParallelCreates},
		{"parallel updates", testParallelUpdates},
		{"parallel renames to one name", testParallelRenames},
		{"parallel usage", testParallelUsage},
		{"parallel totals", testParallelTotals},
		{"parallel password uses", testParallelPasswordUses},
		{"update races revoke", testUpdateRacesRevoke},
		{"update races prune", testUpdateRacesPrune},
		{"create races updates of one owner", testCreateRacesUpdates},
	}
	if s.Nested {
		tests = append(tests, nested...)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, s)
		})
	}
}

// Epoch is the creation time of NewToken's tokens.
var Epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// NewToken returns a valid token for Create: active, without expiry, with an id and a fake secret
// made from n.
func NewToken(n int, owner string) store.Token {
	t := store.Token{
		ID:        fmt.Sprintf("test%08d", n),
		Owner:     store.Owner{Name: owner},
		Name:      fmt.Sprintf("token %d", n),
		Created:   Epoch,
		CreatedBy: "uid:0",
		State:     store.Active,
	}
	copy(t.Secret.Salt[:], "salt "+t.ID)
	copy(t.Secret.Hash[:], "hash "+t.ID)
	return t
}

// fullToken returns an active token with every field set.
func fullToken(n int, owner string) store.Token {
	t := NewToken(n, owner)
	t.Owner.Key = "JIRAUSER10100"
	t.Name = "Bérénice's ключ 鍵"
	t.Purpose = "nightly export\nask the data team"
	t.Expires = Epoch.AddDate(0, 3, 0)
	t.CreatedByKey = "JIRAUSER10101"
	t.IssuedBy, t.IssuedByKey = "wilma", "JIRAUSER10102"
	t.PreviousIssuedBy, t.PreviousIssuedByKey = "barney", "JIRAUSER10103"
	t.ReadOnly = true
	t.Rate = store.Rate{Requests: 600, Per: time.Minute, Burst: 100}
	t.Networks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
	t.Previous.Until = Epoch.Add(time.Hour)
	copy(t.Previous.Secret.Salt[:], "old salt")
	copy(t.Previous.Secret.Hash[:], "old hash")
	return t
}

var errNo = errors.New("refused by the callback")

func audit(action, id string) store.Audit {
	return store.Audit{
		Time: Epoch, Actor: "uid:0", From: "admin socket",
		Action: action, TokenID: id, Outcome: "done",
	}
}

func admitted(id string) func([]store.Token) (store.Audit, error) {
	return func([]store.Token) (store.Audit, error) { return audit("token.create", id), nil }
}

func revoked(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
	t.State, t.Revoked = store.Revoked, Epoch.Add(time.Minute)
	return audit("token.revoke", t.ID), nil
}

// fixture is a store under test.
type fixture struct {
	store.Store
	t     *testing.T
	suite Suite
	dir   string
}

func open(t *testing.T, s Suite) *fixture {
	t.Helper()
	f := &fixture{t: t, suite: s, dir: t.TempDir()}
	f.Store = s.Open(t, f.dir)
	t.Cleanup(func() {
		if err := f.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

func (f *fixture) reopen() {
	f.t.Helper()
	if err := f.Close(); err != nil {
		f.t.Fatalf("close: %v", err)
	}
	f.Store = f.suite.Open(f.t, f.dir)
}

// create creates a token without a limit.
func (f *fixture) create(token store.Token) store.Token {
	f.t.Helper()
	created, err := f.Create(f.t.Context(), token, admitted(token.ID))
	if err != nil {
		f.t.Fatalf("create %s: %v", token.ID, err)
	}
	return created
}

func (f *fixture) get(id string) store.Token {
	f.t.Helper()
	got, err := f.Get(f.t.Context(), id)
	if err != nil {
		f.t.Fatalf("get %s: %v", id, err)
	}
	return got
}

func (f *fixture) update(id string, change func(*store.Token)) store.Token {
	f.t.Helper()
	got, err := f.Update(f.t.Context(), id, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
		change(t)
		return audit("token.update", id), nil
	})
	if err != nil {
		f.t.Fatalf("update %s: %v", id, err)
	}
	return got
}

func (f *fixture) revoke(id string) store.Token {
	f.t.Helper()
	got, err := f.Update(f.t.Context(), id, revoked)
	if err != nil {
		f.t.Fatalf("revoke %s: %v", id, err)
	}
	return got
}

func (f *fixture) prune(before time.Time) []string {
	f.t.Helper()
	ids, err := f.Prune(f.t.Context(), before, func(t store.Token) store.Audit { return audit("token.prune", t.ID) })
	if err != nil {
		f.t.Fatalf("prune: %v", err)
	}
	return ids
}

func (f *fixture) list(owner string, after uint64, limit int) store.Page {
	f.t.Helper()
	page, err := f.List(f.t.Context(), owner, after, limit)
	if err != nil {
		f.t.Fatalf("list %+v: %v", owner, err)
	}
	return page
}

// live returns the ids of the owner's live tokens, without those that have expired at an instant.
func (f *fixture) live(owner string, at time.Time) []string {
	f.t.Helper()
	tokens, err := f.Live(f.t.Context(), owner)
	if err != nil {
		f.t.Fatalf("live tokens of %q: %v", owner, err)
	}
	for _, token := range tokens {
		same(f.t, "live token", token, f.get(token.ID))
	}
	return ids(unexpired(tokens, at))
}

func unexpired(tokens []store.Token, at time.Time) []store.Token {
	return slices.DeleteFunc(tokens, func(t store.Token) bool { return t.Expired(at) })
}

func (f *fixture) usage(ids ...string) map[string]store.Usage {
	f.t.Helper()
	usage, err := f.Usage(f.t.Context(), ids)
	if err != nil {
		f.t.Fatalf("usage of %v: %v", ids, err)
	}
	return usage
}

func (f *fixture) addUsage(usage map[string]store.Usage) {
	f.t.Helper()
	if err := f.AddUsage(f.t.Context(), usage); err != nil {
		f.t.Fatalf("add usage: %v", err)
	}
}

// allUsage returns the usage of every token by id.
func (f *fixture) allUsage() map[string]store.Usage {
	f.t.Helper()
	all := make(map[string]store.Usage)
	err := f.AllUsage(f.t.Context(), func(id string, u store.Usage) error {
		if _, twice := all[id]; twice {
			f.t.Errorf("AllUsage gave %s twice", id)
		}
		all[id] = u
		return nil
	})
	if err != nil {
		f.t.Fatalf("all usage: %v", err)
	}
	return all
}

// auditLog returns the whole log, newest first.
func (f *fixture) auditLog() []store.Audit {
	f.t.Helper()
	log, err := f.AuditLog(f.t.Context(), 0, 1_000_000)
	if err != nil {
		f.t.Fatalf("audit log: %v", err)
	}
	return log
}

// unnumbered checks that the sequences of a log, newest first, fall, and returns the log without them.
func unnumbered(t *testing.T, log []store.Audit) []store.Audit {
	t.Helper()
	log = slices.Clone(log)
	last := uint64(1 << 53) // the first integer that JSON's readers may round
	for i := range log {
		if s := log[i].Sequence; s == 0 || s >= last {
			t.Errorf("record %d has sequence %d, and the one before it %d", i, s, last)
		}
		last, log[i].Sequence = log[i].Sequence, 0
	}
	return log
}

// all returns every token by id.
func (f *fixture) all() map[string]store.Token {
	f.t.Helper()
	var mu sync.Mutex
	all := make(map[string]store.Token)
	err := f.All(f.t.Context(), func(t store.Token) error {
		mu.Lock()
		defer mu.Unlock()
		if _, twice := all[t.ID]; twice {
			f.t.Errorf("All gave %s twice", t.ID)
		}
		all[t.ID] = t
		return nil
	})
	if err != nil {
		f.t.Fatalf("all: %v", err)
	}
	return all
}

// unchanged checks that run changes nothing.
func (f *fixture) unchanged(what string, run func()) {
	f.t.Helper()
	tokens, log := f.all(), f.auditLog()
	run()
	same(f.t, "tokens after "+what, f.all(), tokens)
	same(f.t, "audit log after "+what, f.auditLog(), log)
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	opts := cmp.Options{cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %v", what, got, want)
	}
}

func ids(tokens []store.Token) []string {
	var ids []string
	for _, t := range tokens {
		ids = append(ids, t.ID)
	}
	return ids
}

func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
