package envoy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

// recording is a recorder on a real store that can be made to fail.
type recording struct {
	*Recorder
	store.Store
	t       *testing.T
	metrics *Metrics
	clock   time.Time
	fails   error
	added   int         // calls of AddTotals
	prunes  []time.Time // arguments of PrunePasswordUses
}

func newRecording(t *testing.T) *recording {
	t.Helper()
	db, err := badger.Open(t.Context(), badger.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	r := &recording{Store: db, t: t, clock: time.Date(2026, 3, 14, 23, 59, 30, 0, time.UTC)}
	r.restart()
	return r
}

// restart gives the store to a new recorder, like a new process.
func (r *recording) restart() {
	r.metrics = NewMetrics(prometheus.NewRegistry())
	r.Recorder = NewRecorder(r, r.metrics, func() time.Time { return r.clock })
	r.IsKnown = func(name string) (string, bool) {
		switch strings.ToLower(name) {
		case "fred", "wilma":
			return strings.ToLower(name), true
		}
		return "", false
	}
}

func (r *recording) AddTotals(ctx context.Context, day store.Day, counts map[string]uint64) error {
	r.added++
	if r.fails != nil {
		return r.fails
	}
	return r.Store.AddTotals(ctx, day, counts)
}

func (r *recording) AddPasswordUses(ctx context.Context, uses []store.PasswordUse) (uint64, error) {
	if r.fails != nil {
		return 0, r.fails
	}
	return r.Store.AddPasswordUses(ctx, uses)
}

func (r *recording) PrunePasswordUses(ctx context.Context, before time.Time) error {
	if r.fails != nil {
		return r.fails
	}
	r.prunes = append(r.prunes, before)
	return r.Store.PrunePasswordUses(ctx, before)
}

func (r *recording) flush() {
	r.t.Helper()
	if err := r.Flush(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// decided counts n decisions.
func (r *recording) decided(n int, d authz.Decision) {
	for range n {
		r.metrics.count(d, r.clock, time.Now)
	}
}

func (r *recording) wantTotals(what string, want map[string]map[string]uint64) {
	r.t.Helper()
	totals, err := r.Totals(r.t.Context(), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	got := make(map[string]map[string]uint64)
	for _, d := range totals {
		got[d.Day.String()] = d.Counts
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("totals %s (-want +got):\n%s", what, diff)
	}
}

// wantUses compares the uses, ignoring their order.
func (r *recording) wantUses(what string, want ...store.PasswordUse) {
	r.t.Helper()
	got, err := r.PasswordUses(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	order := cmpopts.SortSlices(func(a, b store.PasswordUse) bool {
		return a.User+a.Client+a.Address.String() < b.User+b.Client+b.Address.String()
	})
	if diff := cmp.Diff(want, got, order, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("uses of passwords %s (-want +got):\n%s", what, diff)
	}
}

// The totals count each decision once: after failures of the store, over midnight,
// and after a restart.
func TestRecorderTotals(t *testing.T) {
	r := newRecording(t)
	allowed := authz.Decision{Outcome: authz.Allowed, Reason: authz.TokenAllowed}
	r.decided(3, allowed)
	r.decided(2, authz.Decision{Reason: authz.ReadOnly})
	r.decided(1, authz.Decision{Outcome: authz.PassThrough, Reason: authz.Password})
	r.decided(1, authz.Decision{Outcome: authz.PassThrough, Reason: authz.NoCredential}) // Jira's
	r.decided(1, authz.Decision{Outcome: authz.PassThrough, Reason: authz.OtherBearer})
	r.decided(1, authz.Decision{Reason: authz.OtherBearer})
	r.flush()
	today := map[string]uint64{"allowed": 3, "read_only": 2, "password": 1, "other_bearer": 1}
	r.wantTotals("at first", map[string]map[string]uint64{"2026-03-14": today})
	r.flush()
	r.wantTotals("after a flush of nothing", map[string]map[string]uint64{"2026-03-14": today})
	if r.added != 1 {
		t.Errorf("%d writes, want 1", r.added)
	}

	r.decided(4, allowed)
	r.fails = errors.New("disk failure")
	if err := r.Flush(t.Context()); !errors.Is(err, r.fails) {
		t.Errorf("error %v", err)
	}
	r.fails = nil
	r.clock = r.clock.Add(time.Minute)
	r.decided(1, allowed)
	r.flush()
	want := map[string]map[string]uint64{"2026-03-14": today, "2026-03-15": {"allowed": 5}}
	r.wantTotals("after a failure", want)

	r.restart()
	r.decided(1, allowed)
	r.flush()
	want["2026-03-15"]["allowed"]++
	r.wantTotals("after a restart", want)
}

// asks records a request with a password.
func (r *recording) asks(name, agent, from string, d authz.Decision) {
	d.ClaimedUser = name
	r.password(&authz.Request{UserAgent: agent, Client: netip.MustParseAddr(from)}, d, r.clock)
}

var (
	passed   = authz.Decision{Outcome: authz.PassThrough, Reason: authz.Password}
	observed = authz.Decision{Outcome: authz.PassThrough, Reason: authz.Password, WouldBlock: true}
	blocked  = authz.Decision{Reason: authz.PasswordBlocked}
)

func TestRecorderPasswords(t *testing.T) {
	r := newRecording(t)
	r.clock = r.clock.Add(5e8)
	first := r.clock.Truncate(time.Second)
	r.asks("FRED", "curl/8", "10.0.0.1", passed)
	r.asks("fred", "curl/8", "10.0.0.2", passed)
	r.asks("Fred", "Java/21", "10.0.0.1", observed)
	r.clock = r.clock.Add(time.Second)
	r.asks("fred", "curl/8", "10.0.0.1", blocked)
	r.asks("fred", "curl/8", "10.0.0.1", observed)
	r.asks("Wilma", "", "2001:db8::1", blocked)
	for _, name := range []string{"", "yabba dabba", "fred ", strings.Repeat("fred", 100_000)} {
		r.asks(name, "curl/8", "10.0.0.1", passed)
	}
	r.password(&authz.Request{}, passed, r.clock)

	curl := store.PasswordUse{User: "fred", Client: "curl/8", Address: netip.MustParseAddr("10.0.0.1"), First: first, Last: first.Add(time.Second), Passed: 2, WouldBlock: 1, Blocked: 1}
	home := store.PasswordUse{User: "fred", Client: "curl/8", Address: netip.MustParseAddr("10.0.0.2"), First: first, Last: first, Passed: 1}
	java := store.PasswordUse{User: "fred", Client: "Java/21", Address: netip.MustParseAddr("10.0.0.1"), First: first, Last: first, Passed: 1, WouldBlock: 1}
	wilma := store.PasswordUse{User: "wilma", Address: netip.MustParseAddr("2001:db8::1"), First: first.Add(time.Second), Last: first.Add(time.Second), Blocked: 1}
	r.fails = errors.New("disk failure")
	if err := r.Flush(t.Context()); !errors.Is(err, r.fails) {
		t.Errorf("error %v", err)
	}
	r.wantUses("when the store fails")
	r.fails = nil
	r.flush()
	unknown := map[string]map[string]uint64{"2026-03-14": {authz.PasswordUnknownUser: 5}}
	r.wantUses("then", curl, home, java, wilma)
	r.wantTotals("then", unknown)
	r.flush()
	r.wantUses("after a flush of nothing", curl, home, java, wilma)

	r.clock = r.clock.Add(10 * time.Second)
	r.asks("fred", "curl/8", "10.0.0.1", passed)
	r.flush()
	curl.Passed, curl.Last = 3, curl.Last.Add(10*time.Second)
	r.wantUses("with one more", curl, home, java, wilma)

	r.IsKnown = nil
	r.asks("fred", "curl/8", "10.0.0.1", passed)
	r.flush()
	unknown["2026-03-14"][authz.PasswordUnknownUser]++
	r.wantUses("when no user is known", curl, home, java, wilma)
	r.wantTotals("when no user is known", unknown)
}

// The records do not share the memory of a request, which is reused.
func TestRecorderKeepsCopies(t *testing.T) {
	r := newRecording(t)
	r.IsKnown = func(name string) (string, bool) { return name, true }
	memory := []byte("fredcurl/8")
	text := unsafe.String(&memory[0], len(memory))
	for _, name := range []string{"fred", "john"} {
		copy(memory, name)
		r.asks(text[:4], text[4:], "10.0.0.1", passed)
		r.asks(text[:4], text[4:], "10.0.0.1", passed)
		r.asks(text[:4], text[4:], "10.0.0.2", passed)
	}
	copy(memory, "xxxxxxxxxx")
	for user, uses := range r.pending {
		if user != uses[0].User {
			t.Errorf("the uses of %s have the key %q", uses[0].User, user)
		}
	}
	r.flush()
	at := r.clock
	var want []store.PasswordUse
	for _, name := range []string{"fred", "john"} {
		want = append(want,
			store.PasswordUse{User: name, Client: "curl/8", Address: netip.MustParseAddr("10.0.0.1"), First: at, Last: at, Passed: 2},
			store.PasswordUse{User: name, Client: "curl/8", Address: netip.MustParseAddr("10.0.0.2"), First: at, Last: at, Passed: 1})
	}
	r.wantUses("after their requests", want...)
}

// The memory of the records is bounded, and requests beyond the bound are counted.
func TestRecorderIsBounded(t *testing.T) {
	r := newRecording(t)
	r.IsKnown = func(name string) (string, bool) { return name, true }
	const more = 5
	for n := range store.MaxPasswordClients + more {
		r.asks("fred", fmt.Sprint("client ", n), "10.0.0.1", passed)
	}
	for n := range store.MaxPasswordUsers + more - 1 {
		r.asks(fmt.Sprint("user ", n), "curl", "10.0.0.1", passed)
	}
	if n := len(r.pending); n != store.MaxPasswordUsers {
		t.Errorf("%d users in the table", n)
	}
	if n := len(r.pending["fred"]); n != store.MaxPasswordClients+1 {
		t.Errorf("%d clients of one user in the table", n)
	}
	// It does not grow while the store fails, either.
	r.fails = errors.New("disk failure")
	for n := range 2 {
		r.Flush(t.Context())
		r.asks(fmt.Sprint("another ", n), "curl", "10.0.0.1", passed)
	}
	r.Flush(t.Context())
	r.fails = nil
	if n := len(r.kept); n != store.MaxPasswordUsers {
		t.Errorf("%d users are kept", n)
	}
	r.flush()
	r.asks("one more", "curl", "10.0.0.1", blocked) // the store is full
	r.flush()
	r.wantTotals("of users beyond the bound", map[string]map[string]uint64{"2026-03-14": {authz.PasswordUnknownUser: more + 2 + 1}})
	uses, err := r.PasswordUses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	passed := uint64(0)
	for _, u := range uses {
		passed += u.Passed
	}
	if want := uint64(store.MaxPasswordClients + more + store.MaxPasswordUsers - 1); passed != want {
		t.Errorf("%d requests recorded, want %d", passed, want)
	}
}

// Old uses are removed once a day, and at the first flush of a process.
func TestRecorderPrunes(t *testing.T) {
	r := newRecording(t)
	r.asks("fred", "curl", "10.0.0.1", passed)
	began := r.clock
	for _, after := range []time.Duration{0, 10 * time.Second, time.Minute, time.Hour, 25 * time.Hour, KeepPasswords, KeepPasswords + 23*time.Hour} {
		r.clock = began.Add(after)
		r.flush()
	}
	want := []time.Time{began.Add(-KeepPasswords), began.Add(time.Minute - KeepPasswords), began.Add(25*time.Hour - KeepPasswords), began}
	want = append(want, began.Add(23*time.Hour))
	if diff := cmp.Diff(want, r.prunes); diff != "" {
		t.Errorf("prunes (-want +got):\n%s", diff)
	}
	r.wantUses("after their time")
}

// Concurrent requests and flushes lose nothing and count nothing twice.
func TestRecorderCountsAll(t *testing.T) {
	r := newRecording(t)
	const workers, each = 4, 500
	var asking, flushing sync.WaitGroup
	for w := range workers {
		asking.Go(func() {
			for n := range each {
				r.asks([]string{"fred", "wilma", "nobody"}[n%3], fmt.Sprint("client ", w), "10.0.0.1", passed)
				r.decided(1, passed)
			}
		})
	}
	done := make(chan struct{})
	for range 2 {
		flushing.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if err := r.Flush(t.Context()); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	asking.Wait()
	close(done)
	flushing.Wait()
	r.flush()
	unknown := uint64(workers * (each / 3))
	r.wantTotals("of all", map[string]map[string]uint64{"2026-03-14": {"password": workers * each, authz.PasswordUnknownUser: unknown}})
	uses, err := r.PasswordUses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	passed := uint64(0)
	for _, u := range uses {
		passed += u.Passed
	}
	if passed != workers*each-unknown || len(uses) != 2*workers {
		t.Errorf("%d uses with %d requests, want %d with %d", len(uses), passed, 2*workers, workers*each-unknown)
	}
}

// A flush that waits for another one ends with its context.
func TestRecorderFlushEndsWithItsContext(t *testing.T) {
	r := newRecording(t)
	r.writing <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestClientName(t *testing.T) {
	value := "tgate_" + strings.Repeat("0", 61)
	for sent, want := range map[string]string{
		"":                              "",
		"python-requests/2.32.3":        "python-requests/2.32.3",
		"Bérénice/1":                    "Bérénice/1",
		"a\x00b\tc\nd\u202ee\xfff":      "a?b?c?d?e?f",
		strings.Repeat("x", 300):        strings.Repeat("x", 100),
		strings.Repeat("é", 60):         strings.Repeat("é", 50),
		"x" + strings.Repeat("é", 60):   "x" + strings.Repeat("é", 49) + "?",
		"curl " + value + " x":          "curl " + value[:18] + "… x",
		strings.Repeat("x", 60) + value: strings.Repeat("x", 60) + value[:18] + "…",
	} {
		if got := clientName(sent); got != want {
			t.Errorf("%q: %q, want %q", sent, got, want)
		}
	}
}
