package badger_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	upstream "github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/badger/badgertest"
	"github.com/tokengate/tokengate/store/storetest"
)

// used is the usage of tokens in tests.
var used = store.Usage{Count: 7, Writes: 2, LastUsed: storetest.Epoch, LastAddress: netip.MustParseAddr("192.0.2.7")}

// wantUsage checks the usage of all tokens.
func wantUsage(t *testing.T, s store.Store, want map[string]store.Usage) {
	t.Helper()
	all := make(map[string]store.Usage)
	err := s.AllUsage(t.Context(), func(id string, u store.Usage) error { all[id] = u; return nil })
	if err != nil {
		t.Fatal(err)
	}
	one, err := s.Usage(t.Context(), slices.Collect(maps.Keys(want)))
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []map[string]store.Usage{all, one} {
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("usage (-want +got):\n%s", diff)
		}
	}
}

// messages are those about usage, one per line.
type messages struct {
	mu    sync.Mutex
	lines []string
}

func (m *messages) add(_ slog.Level, message string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if strings.Contains(message, "usage") {
		m.lines = append(m.lines, message)
	}
}

func (m *messages) all() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.lines, "\n")
}

// TestMoveUsage opens a store of an earlier version, which had usage in the database, also after a
// crash while it was moved.
func TestMoveUsage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	records, want := make(map[string]string), make(map[string]store.Usage)
	for n := range 3 {
		id := create(t, s, storetest.NewToken(n, "fred")).ID
		records["u/"+id], want[id] = string(store.EncodeUsage(used)), used
	}
	closeStore(t, s)
	var free atomic.Uint64
	start := func(says string) {
		t.Helper()
		var err error
		var log messages
		opts := badger.Options{Dir: dir, Log: log.add}
		s, err = badger.Open(t.Context(), opts.WithFilesystem(func() (string, uint64) { return "", free.Load() }))
		if err != nil {
			t.Fatal(err)
		}
		if all := log.all(); !strings.HasPrefix(all, says) || strings.Contains(all, "\n") || says == "" && all != "" {
			t.Errorf("the log says %q, want %q", all, says)
		}
	}
	edit(t, dir, records)
	(&site{t: t, dir: dir}).remove("tokengate.usage")
	free.Store(badger.ReserveToOpen - 1) // the rest is held back
	start("the usage of tokens in the database stays there until a start with more disk space: ")
	wantUsage(t, s, nil)
	closeStore(t, s)

	free.Store(2 * badger.Reserve)
	start("moved the usage of 3 tokens from the database to tokengate.usage; 0 records were unreadable")
	wantUsage(t, s, want)
	if err := s.AddUsage(t.Context(), map[string]store.Usage{"test00000001": used}); err != nil {
		t.Fatal(err)
	}
	want["test00000001"] = used.Add(used)
	closeStore(t, s)

	records["u/test00000002"] = "\xff"
	edit(t, dir, records) // as if they had not been deleted
	start("moved the usage of 2 tokens from the database to tokengate.usage; 1 records were unreadable")
	wantUsage(t, s, want)
	closeStore(t, s)
	raw(t, dir, func(txn *upstream.Txn) error {
		it := txn.NewIterator(upstream.DefaultIteratorOptions)
		defer it.Close()
		if it.Seek([]byte("u/")); it.ValidForPrefix([]byte("u/")) {
			t.Errorf("%s is left", it.Item().Key())
		}
		return nil
	})
	start("")
	wantUsage(t, s, want)
	closeStore(t, s)
}

// TestLostUsage checks that a store starts without its usage and says so.
func TestLostUsage(t *testing.T) {
	whole := newSite(t, false)
	s := open(t, whole.dir)
	want := map[string]store.Usage{whole.active[0]: used}
	if err := s.AddUsage(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	for name, c := range map[string]struct {
		do   func(*site)
		says string // empty: nothing was lost
	}{
		"nothing":    {func(*site) {}, ""},
		"the file":   {func(s *site) { s.remove("tokengate.usage") }, "tokengate.usage is missing: the usage of all tokens until now is lost"},
		"its header": {func(s *site) { s.change("tokengate.usage", flip(0)) }, "it was renamed to tokengate.usage.damaged, and the usage of all tokens is lost"},
		"a sector":   {func(s *site) { s.change("tokengate.usage", flipUsed) }, "tokengate.usage has damaged sectors, 1 were found: the usage of up to 9 tokens is lost"},
		"the end":    {func(s *site) { s.change("tokengate.usage", first(4096)) }, "tokengate.usage is 65536 bytes shorter than it was"},
	} {
		t.Run(name, func(t *testing.T) {
			site := whole.clone(t)
			c.do(site)
			for range 2 {
				var log messages
				s, err := badger.Open(t.Context(), badger.Options{Dir: site.dir, Log: log.add})
				if err != nil {
					t.Fatal(err)
				}
				left := want
				if c.says != "" {
					left = nil
				}
				wantUsage(t, s, left)
				if all := log.all(); !strings.Contains(all, c.says) || strings.Contains(all, "\n") || (c.says == "") != (all == "") {
					t.Errorf("the log says %q, want %q", all, c.says)
				}
				if err := s.AddUsage(t.Context(), want); err != nil {
					t.Fatal(err)
				}
				closeStore(t, s)
				if c.says == "" {
					break
				}
				c.do(site)
			}
			site.wantAll(badger.Options{Dir: site.dir})
		})
	}
}

// flipUsed changes a bit of the first sector in use.
func flipUsed(b []byte) []byte {
	for at := 4096; at < len(b); at += 512 {
		if b[at] != 0 {
			return flip(at + 100)(b)
		}
	}
	return nil
}

// TestUsageOnFullDisk checks that usage of more tokens than the file has room for is refused as a
// whole, while that of others is written.
func TestUsageOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	all := make(map[string]store.Usage)
	err := badgertest.Fill(t.Context(), dir, func(yield func(store.Token, error) bool) {
		for n := range 2000 {
			token := storetest.NewToken(n, "fred")
			token.Number = uint64(n) + 1
			all[token.ID] = used
			if !yield(token, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var free atomic.Uint64
	free.Store(badger.Reserve)
	s, err := badger.Open(t.Context(), badger.Options{Dir: dir}.WithFilesystem(func() (string, uint64) { return "", free.Load() }))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	free.Store(badger.ReserveToOpen) // the rest is held back
	few := map[string]store.Usage{"test00000001": used, "test00000002": used}
	if err := s.AddUsage(t.Context(), few); err != nil {
		t.Error(err)
	}
	if err := s.AddUsage(t.Context(), all); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("error %v", err)
	}
	wantUsage(t, s, few)
	free.Add(10 << 20)
	if err := s.AddUsage(t.Context(), all); err != nil {
		t.Error(err)
	}
	all["test00000001"], all["test00000002"] = used.Add(used), used.Add(used)
	wantUsage(t, s, all)
}

// TestUsageOnHangingDisk checks that calls end with their contexts while the disk hangs.
func TestUsageOnHangingDisk(t *testing.T) {
	s, armed, entered, hang := openHanging(t)
	defer s.Close()
	id := create(t, s, storetest.NewToken(1, "fred")).ID
	usage := map[string]store.Usage{id: used}
	armed.Store(true)
	answer := make(chan error)
	ctx, cancel := contextWithCancel(t)
	go func() { answer <- s.AddUsage(ctx, usage) }()
	<-entered
	armed.Store(false)
	for name, call := range map[string]func(context.Context) error{
		"add": func(ctx context.Context) error { return s.AddUsage(ctx, usage) },
		"one": func(ctx context.Context) error { _, err := s.Usage(ctx, []string{id}); return err },
		"all": func(ctx context.Context) error {
			return s.AllUsage(ctx, func(string, store.Usage) error { return nil })
		},
		"the call that hangs": func(waiting context.Context) error {
			<-waiting.Done()
			cancel()
			return <-answer
		},
	} {
		waiting, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := call(waiting); waiting.Err() == nil || !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: error %v", name, err)
		}
		stop()
	}
	usage[id] = store.Usage{} // after the call has returned
	close(hang)
	wantUsage(t, s, map[string]store.Usage{id: used})
}

// TestUsageInBackup checks that a copy of the directory, made after a crash, has the usage.
func TestUsageInBackup(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	want := map[string]store.Usage{create(t, s, storetest.NewToken(1, "fred")).ID: used}
	if err := s.AddUsage(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image")
	(&site{t: t, dir: dir}).copyTo(image)
	copied := open(t, image)
	defer copied.Close()
	wantUsage(t, copied, want)
}
