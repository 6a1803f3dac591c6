package cached_test

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/storetest"
)

var (
	home = netip.MustParseAddr("192.0.2.7")
	away = netip.MustParseAddr("2001:db8::7")
)

func second(n int) time.Time { return storetest.Epoch.Add(time.Duration(n) * time.Second) }

func wantUsage(t *testing.T, what string, r *cached.UsageRecorder, want map[string]store.Usage) {
	t.Helper()
	got, err := r.Usage(t.Context(), []string{"test00000001", "test00000002", "test00000003"})
	if err != nil {
		t.Errorf("usage %s: %v", what, err)
	}
	if diff := cmp.Diff(want, got, comparer); diff != "" {
		t.Errorf("usage %s (-want +got):\n%s", what, diff)
	}
}

func TestUsageRecorder(t *testing.T) {
	s := openFaulty(t)
	create(t, s, storetest.NewToken(1, "fred"))
	create(t, s, storetest.NewToken(2, "fred"))
	r := cached.NewUsageRecorder(newIndexed(t, s))
	wantUsage(t, "at first", r, map[string]store.Usage{})

	r.Record("test00000001", false, second(1), home)
	r.Record("test00000001", true, second(3).Add(5e8).In(time.FixedZone("", 60)), away)
	r.Record("test00000001", false, second(2), home) // overtaken on its way
	r.Record("test00000002", true, second(4), netip.MustParseAddr("::ffff:192.0.2.7"))
	r.Record("test00000002", false, second(5), netip.MustParseAddr("fe80::1%eth0"))
	r.Record("test00000003", false, second(5), home) // of no token
	want := map[string]store.Usage{
		"test00000001": {Count: 3, Writes: 1, LastUsed: second(3), LastAddress: away},
		"test00000002": {Count: 2, Writes: 1, LastUsed: second(5), LastAddress: netip.MustParseAddr("fe80::1")},
	}
	wantUsage(t, "before a flush", r, want)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantUsage(t, "after a flush", r, want)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantUsage(t, "after a flush of nothing", r, want)

	r.Record("test00000001", false, second(10), home)
	want["test00000001"] = store.Usage{Count: 4, Writes: 1, LastUsed: second(10), LastAddress: home}
	wantUsage(t, "of both kinds", r, want)
}

func TestUsageFlushFails(t *testing.T) {
	s := openFaulty(t)
	create(t, s, storetest.NewToken(1, "fred"))
	create(t, s, storetest.NewToken(2, "fred"))
	r := cached.NewUsageRecorder(newIndexed(t, s))
	r.Record("test00000001", true, second(5), home)
	s.beforeWrite = func() error {
		// Requests during a flush.
		r.Record("test00000001", false, second(4), away)
		r.Record("test00000002", false, second(6), away)
		return errDisk
	}
	if err := r.Flush(t.Context()); !errors.Is(err, errDisk) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.beforeWrite = nil
	if err := r.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	want := map[string]store.Usage{
		"test00000001": {Count: 2, Writes: 1, LastUsed: second(5), LastAddress: home},
		"test00000002": {Count: 1, LastUsed: second(6), LastAddress: away},
	}
	wantUsage(t, "kept", r, want)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantUsage(t, "flushed", r, want)
	stored, err := s.Usage(t.Context(), []string{"test00000001", "test00000002"})
	if diff := cmp.Diff(want, stored, comparer); err != nil || diff != "" {
		t.Errorf("stored usage: error %v (-want +got):\n%s", err, diff)
	}
}

// TestUsageFlushFailsHalfWay checks that batches written before an error are not counted twice.
func TestUsageFlushFailsHalfWay(t *testing.T) {
	s := openFaulty(t)
	var ids []string
	x := newIndexed(t, s)
	r := cached.NewUsageRecorder(x)
	for n := range 3*store.MaxUsageBatch - 10 {
		token := storetest.NewToken(n, "fred")
		ids = append(ids, token.ID)
		if n%50 == 0 {
			create(t, x, token)
		} else {
			x.Index().Put(token) // the store has lost it
		}
		r.Record(token.ID, false, second(n), home)
	}
	batches := 0
	s.beforeWrite = func() error {
		if batches++; batches == 2 {
			return errDisk
		}
		return nil
	}
	if err := r.Flush(t.Context()); !errors.Is(err, errDisk) {
		t.Fatalf("error %v", err)
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if batches != 4 {
		t.Errorf("%d batches, want one, a failed one, and two more", batches)
	}
	stored, err := s.Usage(t.Context(), ids)
	if err != nil || len(stored) != 30 {
		t.Errorf("%d tokens have usage (error %v), want 30", len(stored), err)
	}
	for id, u := range stored {
		if u.Count != 1 {
			t.Errorf("%s was counted %d times", id, u.Count)
		}
	}
}

// TestUsageDuringFlush checks that usage is visible while it is being flushed.
func TestUsageDuringFlush(t *testing.T) {
	s := openFaulty(t)
	create(t, s, storetest.NewToken(1, "fred"))
	r := cached.NewUsageRecorder(newIndexed(t, s))
	r.Record("test00000001", false, second(1), home)
	taken, goOn := make(chan struct{}), make(chan struct{})
	s.beforeWrite = func() error { close(taken); <-goOn; return nil }
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	})
	<-taken

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Usage(ctx, []string{"test00000001"}); !errors.Is(err, context.Canceled) {
		t.Errorf("usage with an ended context: error %v", err)
	}
	if err := r.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("flush with an ended context: error %v", err)
	}
	read := make(chan struct{})
	wg.Go(func() {
		defer close(read)
		wantUsage(t, "during a flush", r, map[string]store.Usage{"test00000001": {Count: 1, LastUsed: second(1), LastAddress: home}})
	})
	// Gives a reader that wrongly does not wait for the flush time to finish.
	for range 100 {
		if err := s.Health(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-read:
			t.Error("usage was read in the middle of a flush")
		default:
			continue
		}
		break
	}
	close(goOn)
	wg.Wait()
}

func TestUsageRecorderRaces(t *testing.T) {
	s := openFaulty(t)
	create(t, s, storetest.NewToken(1, "fred"))
	create(t, s, storetest.NewToken(2, "fred"))
	r := cached.NewUsageRecorder(newIndexed(t, s.Store))
	const recorders, each = 8, 1000
	var wg sync.WaitGroup
	for range recorders {
		wg.Go(func() {
			for n := range each {
				r.Record(storetest.NewToken(1+n%2, "").ID, n%4 == 0, second(n), home)
			}
		})
	}
	wg.Go(func() {
		for range 10 {
			if err := r.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for range 10 {
			if _, err := r.Usage(t.Context(), []string{"test00000001"}); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	wantUsage(t, "at the end", r, map[string]store.Usage{
		"test00000001": {Count: recorders * each / 2, Writes: recorders * each / 4, LastUsed: second(each - 2), LastAddress: home},
		"test00000002": {Count: recorders * each / 2, LastUsed: second(each - 1), LastAddress: home},
	})
}

// TestUsageSurvivesChanges checks that each use is counted once while tokens change and usage is
// flushed.
func TestUsageSurvivesChanges(t *testing.T) {
	s := openFaulty(t)
	const tokens, versions = 40, 400
	for n := range tokens {
		create(t, s, storetest.NewToken(n, "fred"))
	}
	x := newIndexed(t, s)
	r := cached.NewUsageRecorder(x)
	var used [tokens]atomic.Uint64
	var running sync.WaitGroup
	var done atomic.Bool
	for range 2 {
		running.Go(func() {
			for n := 0; !done.Load(); n = (n + 1) % tokens {
				r.Record(storetest.NewToken(n, "").ID, n%2 == 0, second(n), home)
				used[n].Add(1)
			}
		})
	}
	running.Go(func() {
		for !done.Load() {
			if err := r.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	for v := range versions {
		for n := range tokens {
			token := storetest.NewToken(n, "user "+string(rune('a'+v%7)))
			token.Revision = 1000 + uint64(v)
			if v%3 == 0 {
				token.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			}
			x.Index().Put(token)
		}
	}
	done.Store(true)
	running.Wait()
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n := range tokens {
		id := storetest.NewToken(n, "").ID
		stored, err := s.Usage(t.Context(), []string{id})
		if err != nil {
			t.Fatal(err)
		}
		want := store.Usage{Count: used[n].Load(), LastUsed: second(n), LastAddress: home}
		if n%2 == 0 {
			want.Writes = want.Count
		}
		if stored[id] != want {
			t.Errorf("token %d was used %+v, want %+v", n, stored[id], want)
		}
	}
}

// TestUsageIsNotTorn checks that time and address belong to the same request.
func TestUsageIsNotTorn(t *testing.T) {
	x := newIndexed(t, nothing{})
	x.Index().Put(storetest.NewToken(1, "fred"))
	r := cached.NewUsageRecorder(x)
	address := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }
	var recorders sync.WaitGroup
	for w := range 4 {
		recorders.Go(func() {
			for n := w; n < 4000; n += 4 {
				r.Record("test00000001", false, second(n), address(n))
				u, err := r.Usage(t.Context(), []string{"test00000001"})
				if err != nil {
					t.Error(err)
					return
				}
				got := u["test00000001"]
				if want := address(int(got.LastUsed.Sub(storetest.Epoch) / time.Second)); got.LastAddress != want {
					t.Errorf("used at %v from %v, want %v", got.LastUsed, got.LastAddress, want)
					return
				}
			}
		})
	}
	recorders.Wait()
}

func BenchmarkRecord(b *testing.B) {
	x, err := cached.New(b.Context(), nothing{})
	if err != nil {
		b.Fatal(err)
	}
	var ids []string
	for n := range 1000 {
		token := storetest.NewToken(n, "fred")
		x.Index().Put(token)
		ids = append(ids, token.ID)
	}
	r := cached.NewUsageRecorder(x)
	for name, ids := range map[string][]string{"one token": ids[:1], "many tokens": ids} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for n := 0; pb.Next(); n++ {
					r.Record(ids[n%len(ids)], false, storetest.Epoch, home)
				}
			})
		})
	}
}

// nothing is a store without tokens and usage.
type nothing struct{ store.Store }

func (nothing) Usage(context.Context, []string) (map[string]store.Usage, error) { return nil, nil }

func (nothing) Watch(ctx context.Context, to store.Feed) error {
	to.Complete(0)
	<-ctx.Done()
	return ctx.Err()
}

func (nothing) AllUsage(context.Context, func(string, store.Usage) error) error { return nil }

// TestUsageFlushOver checks that batches are spread over the span, and that usage can be read
// between them.
func TestUsageFlushOver(t *testing.T) {
	const tokens = 3*store.MaxUsageBatch + 1
	synctest.Test(t, func(t *testing.T) {
		s := &timed{began: time.Now()}
		x, err := cached.New(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		r := cached.NewUsageRecorder(x)
		for n := range tokens {
			token := storetest.NewToken(n, "fred")
			x.Index().Put(token)
			r.Record(token.ID, false, second(n), home)
		}
		flushed := make(chan error)
		go func() { flushed <- r.FlushOver(t.Context(), 4*time.Second) }()
		<-time.After(1500 * time.Millisecond) // by the clock of synctest
		if _, err := r.Usage(t.Context(), []string{"test00000001"}); err != nil {
			t.Error(err)
		}
		if since := time.Since(s.began); since != 1500*time.Millisecond {
			t.Errorf("usage was read after %v", since)
		}
		if err := <-flushed; err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second}
		if !slices.Equal(s.written, want) {
			t.Errorf("batches were written after %v, want %v", s.written, want)
		}

		// The time that writes take counts.
		s.takes, s.written, s.began = 300*time.Millisecond, nil, time.Now()
		for n := range tokens {
			r.Record(storetest.NewToken(n, "").ID, false, second(n), home)
		}
		if err := r.FlushOver(t.Context(), 4*time.Second); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.written, want) {
			t.Errorf("slow batches were started after %v, want %v", s.written, want)
		}

		// It ends with the context.
		for n := range tokens {
			r.Record(storetest.NewToken(n, "").ID, false, second(n), home)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { flushed <- r.FlushOver(ctx, time.Hour) }()
		<-time.After(time.Second)
		cancel()
		if err := <-flushed; !errors.Is(err, context.Canceled) || time.Since(s.began) > time.Minute {
			t.Errorf("error %v after %v", err, time.Since(s.began))
		}
	})
}

// timed is a store without tokens that records when usage was written.
type timed struct {
	nothing
	began   time.Time
	written []time.Duration
	takes   time.Duration // by the clock of synctest
}

func (s *timed) AddUsage(_ context.Context, usage map[string]store.Usage) error {
	s.written = append(s.written, time.Since(s.began))
	<-time.After(s.takes)
	return nil
}

// TestUsageFlushOverAll checks that the usage of more tokens than one call writes is written in
// turn.
func TestUsageFlushOverAll(t *testing.T) {
	const tokens = 3 * cached.MaxFlush
	s := &counting{written: map[string]uint64{}}
	x, err := cached.New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	r := cached.NewUsageRecorder(x)
	for n := range tokens {
		token := storetest.NewToken(n, "fred")
		x.Index().Put(token)
		r.Record(token.ID, false, second(n), home)
	}
	for flushes := 1; len(s.written) < tokens; flushes++ {
		before := len(s.written)
		for n := range tokens / 10 { // some are used all the time
			r.Record(storetest.NewToken(n, "").ID, false, second(n), home)
		}
		s.highest = 0
		if err := r.FlushOver(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if s.mixed {
			t.Fatal("the batches are not in store.UsageOrder")
		}
		if wrote := len(s.written) - before; wrote > cached.MaxFlush+tokens/100 || flushes > 4 {
			t.Fatalf("flush %d wrote %d more tokens, %d in total", flushes, wrote, len(s.written))
		}
	}
}

// counting is a store without tokens that counts the uses written.
type counting struct {
	nothing
	written map[string]uint64
	highest uint32 // store.UsageOrder in earlier batches
	mixed   bool   // a batch had a lower one
}

func (s *counting) AddUsage(_ context.Context, usage map[string]store.Usage) error {
	ids := store.InUsageOrder(maps.Keys(usage))
	s.mixed = s.mixed || store.UsageOrder(ids[0]) < s.highest
	s.highest = store.UsageOrder(ids[len(ids)-1])
	for id, u := range usage {
		s.written[id] += u.Count
	}
	return nil
}
