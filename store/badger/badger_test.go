package badger_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	upstream "github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Suite{
		Open: func(t *testing.T, dir string) store.Store { return open(t, dir) },
		OpenErr: func(t *testing.T, dir string, o store.OpenOptions) (store.Store, error) {
			opened, err := (&badger.Config{Dir: dir}).Open(t.Context(), o)
			return opened.Store, err
		},
		Nested: true,
	})
}

func TestCachedStore(t *testing.T) {
	storetest.Run(t, storetest.Suite{
		Open: func(t *testing.T, dir string) store.Store {
			s, err := cached.New(t.Context(), open(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	})
}

func open(t testing.TB, dir string) *badger.Store {
	t.Helper()
	s, err := badger.Open(t.Context(), badger.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t testing.TB, s store.Store, token store.Token) store.Token {
	t.Helper()
	token, err := s.Create(t.Context(), token, func([]store.Token) (store.Audit, error) {
		return store.Audit{Action: "token.create", TokenID: token.ID}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func revoke(ctx context.Context, s store.Store, id string) error {
	_, err := s.Update(ctx, id, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
		t.State, t.Revoked = store.Revoked, storetest.Epoch
		return store.Audit{Action: "token.revoke", TokenID: id}, nil
	})
	return err
}

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// edit changes a closed store's database directly.
func edit(t *testing.T, dir string, set map[string]string) {
	t.Helper()
	raw(t, dir, func(txn *upstream.Txn) error {
		for k, v := range set {
			if err := txn.Set([]byte(k), []byte(v)); err != nil {
				return err
			}
		}
		return nil
	})
}

func raw(t *testing.T, dir string, run func(*upstream.Txn) error) {
	t.Helper()
	db, err := upstream.Open(upstream.DefaultOptions(dir).WithLogger(nil).WithMemTableSize(8 << 20))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(run); err != nil {
		t.Fatal(err)
	}
}

// TestRevokeWipes searches every value of the database for the secret.
func TestRevokeWipes(t *testing.T) {
	dir := t.TempDir()
	token := storetest.NewToken(1, "fred")
	holds := func() bool {
		found := false
		raw(t, dir, func(txn *upstream.Txn) error {
			it := txn.NewIterator(upstream.DefaultIteratorOptions)
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				value, err := it.Item().ValueCopy(nil)
				if err != nil {
					return err
				}
				for _, part := range [][]byte{token.Secret.Salt[:], token.Secret.Hash[:]} {
					found = found || bytes.Contains(value, part) ||
						strings.Contains(string(value), base64.StdEncoding.EncodeToString(part))
				}
			}
			return nil
		})
		return found
	}
	s := open(t, dir)
	create(t, s, token)
	s.Close()
	if !holds() {
		t.Error("the secret of a live token is not found: the test is wrong")
	}
	s = open(t, dir)
	if err := revoke(t.Context(), s, token.ID); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if holds() {
		t.Error("the database holds the secret of a revoked token")
	}
}

// TestFullDisk checks that a full disk stops writes and nothing else.
func TestFullDisk(t *testing.T) {
	var free atomic.Uint64
	look := func() (string, uint64) { return "", free.Load() }
	opts := badger.Options{Dir: t.TempDir()}.WithFilesystem(look)
	free.Store(badger.ReserveToOpen - 1)
	wantOpenError(t, opts, store.ErrNoSpace, opts.Dir, "32 MiB must stay free")

	free.Store(badger.Reserve)
	s, err := badger.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	free.Store(badger.ReserveToOpen) // the rest is held back
	token := create(t, s, storetest.NewToken(1, "fred"))
	others := []store.Token{create(t, s, storetest.NewToken(3, "fred")), create(t, s, storetest.NewToken(4, "fred"))}

	free.Store(badger.ReserveToOpen - 1)
	for name, write := range map[string]func() error{
		"create": func() error {
			_, err := s.Create(t.Context(), storetest.NewToken(2, "fred"), func([]store.Token) (store.Audit, error) { return store.Audit{}, nil })
			return err
		},
		"usage": func() error {
			return s.AddUsage(t.Context(), map[string]store.Usage{token.ID: {Count: 1}})
		},
		"audit":  func() error { return s.AppendAudit(t.Context(), store.Audit{}) },
		"health": func() error { return s.Health(t.Context()) },
	} {
		if err := write(); !errors.Is(err, store.ErrNoSpace) {
			t.Errorf("%s on a full disk: error %v", name, err)
		}
	}
	if got, err := s.Get(t.Context(), token.ID); err != nil || got.State != store.Active {
		t.Errorf("get: state %v, error %v", got.State, err)
	}

	// Tokens can still be ended, in the reserved space, when other programs have filled the disk.
	free.Store(0)
	disable := func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
		t.State = store.Disabled
		return store.Audit{}, nil
	}
	if _, err := s.Update(t.Context(), others[0].ID, disable); err != nil {
		t.Errorf("disable on a disk that is full to the last byte: %v", err)
	}
	if err := revoke(t.Context(), s, others[1].ID); err != nil {
		t.Errorf("revoke on a disk that is full to the last byte: %v", err)
	}
	if err := revoke(t.Context(), s, token.ID); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("revoke with no space at all: %v", err)
	}
	free.Store(badger.ReserveToOpen)
	if err := revoke(t.Context(), s, token.ID); err != nil {
		t.Errorf("revoke with the last space: %v", err)
	}
}

// TestStartOnFullDisk checks that the reserved space suffices for a restart and for ending a
// token after it, and that a store closes without any space.
func TestStartOnFullDisk(t *testing.T) {
	var free atomic.Uint64
	look := func() (string, uint64) { return "", free.Load() }
	opts := badger.Options{Dir: t.TempDir()}.WithFilesystem(look)
	held := func() int64 {
		info, err := os.Stat(filepath.Join(opts.Dir, "tokengate.reserve"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	start := func() *badger.Store {
		t.Helper()
		s, err := badger.Open(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	free.Store(badger.Reserve)
	s := start()
	ids := []string{create(t, s, storetest.NewToken(1, "fred")).ID, create(t, s, storetest.NewToken(2, "fred")).ID}
	free.Store(0)
	closeStore(t, s)
	// The reserve was freed for Badger, and other programs have taken it.
	if got := held(); got != badger.MaxRoom-badger.ReserveToOpen {
		t.Errorf("%d bytes are reserved after a stop", got)
	}
	s = start()
	if err := revoke(t.Context(), s, ids[0]); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("revoke with no space at all: %v", err)
	}
	free.Store(badger.ReserveToOpen) // what was given back
	if err := revoke(t.Context(), s, ids[0]); err != nil {
		t.Error(err)
	}
	free.Store(0)
	closeStore(t, s)
	// The lock is held until the process ends, because Badger still has files open.
	wantOpenError(t, opts, badger.ErrInUse, opts.Dir)
	image := filepath.Join(t.TempDir(), "image")
	(&site{t: t, dir: opts.Dir}).copyTo(image)
	opts.Dir = image
	wantOpenError(t, opts, store.ErrNoSpace, opts.Dir)
	free.Store(badger.Reserve)
	s = start()
	defer s.Close()
	if got, err := s.Get(t.Context(), ids[0]); err != nil || got.State != store.Revoked {
		t.Errorf("state %v, error %v", got.State, err)
	}
}

// TestDamage checks that damaged files prevent the store from opening, or make reads fail.
func TestDamage(t *testing.T) {
	filled := func(t *testing.T) string {
		dir := t.TempDir()
		s := open(t, dir)
		create(t, s, storetest.NewToken(1, "fred"))
		if err := s.Close(); err != nil { // writes the tables
			t.Fatal(err)
		}
		return dir
	}
	t.Run("no manifest", func(t *testing.T) {
		dir := filled(t)
		if err := os.Remove(filepath.Join(dir, "MANIFEST")); err != nil {
			t.Fatal(err)
		}
		wantOpenError(t, badger.Options{Dir: dir}, badger.ErrDamaged, dir, "MANIFEST")
		if tables, _ := filepath.Glob(filepath.Join(dir, "*.sst")); len(tables) == 0 {
			t.Error("the tables are gone")
		}
	})
	t.Run("changed bytes", func(t *testing.T) {
		dir := filled(t)
		tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
		if err != nil || len(tables) == 0 {
			t.Fatalf("no tables: %v", err)
		}
		for _, table := range tables {
			data, err := os.ReadFile(table)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(table, bytes.ReplaceAll(data, []byte("fred"), []byte("root")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := badger.Open(t.Context(), badger.Options{Dir: dir})
		if err != nil {
			return
		}
		defer s.Close()
		if _, err := cached.New(t.Context(), s); err == nil {
			t.Error("a damaged record was read as a token")
		}
	})
}

// openHanging opens a store. While armed, looking for free space reports to entered and then hangs until
// hang is closed.
func openHanging(t *testing.T) (s *badger.Store, armed *atomic.Bool, entered, hang chan struct{}) {
	t.Helper()
	armed, entered, hang = new(atomic.Bool), make(chan struct{}, 10), make(chan struct{})
	s, err := badger.Open(t.Context(), badger.Options{Dir: t.TempDir()}.WithFilesystem(func() (string, uint64) {
		if armed.Load() {
			entered <- struct{}{}
			<-hang
		}
		return "", badger.Reserve
	}))
	if err != nil {
		t.Fatal(err)
	}
	return s, armed, entered, hang
}

// TestHealthOnHangingDisk checks that Health returns when the context ends while the disk hangs,
// and that one check runs at a time.
func TestHealthOnHangingDisk(t *testing.T) {
	s, armed, entered, hang := openHanging(t)
	defer s.Close()
	armed.Store(true)
	answer := make(chan error)
	for check := range 2 {
		ctx, cancel := contextWithCancel(t)
		go func() { answer <- s.Health(ctx) }()
		if check == 0 {
			<-entered // and there it stays, so that the second check waits for it
		}
		cancel()
		if err := <-answer; !errors.Is(err, context.Canceled) {
			t.Errorf("check %d on a disk that hangs: error %v", check, err)
		}
	}
	if len(entered) != 0 {
		t.Error("two checks ran at once")
	}
	armed.Store(false)
	close(hang)
	if err := s.Health(t.Context()); err != nil {
		t.Errorf("health after the disk has recovered: %v", err)
	}
}

// TestWriteOnHangingDisk checks that a write ends with its context while the disk hangs, without
// effect.
func TestWriteOnHangingDisk(t *testing.T) {
	var hang atomic.Pointer[chan struct{}]
	var end context.CancelFunc
	s, err := badger.Open(t.Context(), badger.Options{Dir: t.TempDir()}.WithFilesystem(func() (string, uint64) {
		if h := hang.Load(); h != nil {
			end()
			<-*h
		}
		return "", badger.Reserve
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	old := create(t, s, storetest.NewToken(1, "fred"))
	added := storetest.NewToken(2, "fred")
	writes := map[string]func(ctx context.Context, last func()) error{
		"create": func(ctx context.Context, last func()) error {
			_, err := s.Create(ctx, added, func([]store.Token) (store.Audit, error) { last(); return store.Audit{}, nil })
			return err
		},
		"update": func(ctx context.Context, last func()) error {
			_, err := s.Update(ctx, old.ID, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
				last()
				t.State, t.Revoked = store.Revoked, later
				return store.Audit{}, nil
			})
			return err
		},
		"a refused update": func(ctx context.Context, last func()) error {
			_, err := s.Update(ctx, old.ID, func(*store.Token, store.LiveFunc) (store.Audit, error) { last(); return store.Audit{}, ctx.Err() })
			return err
		},
	}
	for name, write := range writes {
		for _, where := range []string{"probe", "free space"} {
			if where == "free space" && name == "a refused update" {
				continue // it does not ask
			}
			t.Run(name+", "+where, func(t *testing.T) {
				ctx, cancel := contextWithCancel(t)
				end = cancel
				last := func() {}
				var release func()
				if where == "probe" {
					release, last = s.HangProbe(), cancel
				} else {
					h := make(chan struct{})
					hang.Store(&h)
					release = func() { hang.Store(nil); close(h) }
				}
				done := make(chan error, 1)
				go func() { done <- write(ctx, last) }()
				select {
				case err := <-done:
					if !errors.Is(err, context.Canceled) {
						t.Errorf("error %v", err)
					}
				case <-time.After(30 * time.Second):
					t.Error("the write did not end with its context")
				}
				release()
			})
		}
	}
	if err := s.Health(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := s.Get(t.Context(), old.ID); err != nil || got.State != store.Active {
		t.Errorf("an aborted change was made: state %v, error %v", got.State, err)
	}
	if got := create(t, s, added); got.Number != old.Number+1 {
		t.Errorf("the next token has the number %d, want %d", got.Number, old.Number+1)
	}
}

func TestSize(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	const records = 100
	for range records {
		if err := s.AppendAudit(t.Context(), largeAudit()); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = open(t, dir)
	defer s.Close()
	if got, least := s.Size(), int64(records*len(store.EncodeAudit(largeAudit(), 0))); got < least || got > least+(16<<20) {
		t.Errorf("size %d, want slightly more than %d", got, least)
	}
}

// largeAudit returns an audit record of about the maximum size.
func largeAudit() store.Audit {
	a := store.Audit{Changes: make(map[string]store.Change)}
	for n := range 4 {
		a.Changes[strconv.Itoa(n)] = store.Change{Before: strings.Repeat("x", 1000), After: strings.Repeat("y", 1000)}
	}
	return a
}

// TestTooLarge checks that too large values are refused without a gap in the audit log, and that
// audit records are truncated instead.
func TestTooLarge(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	token := create(t, s, storetest.NewToken(1, "fred"))
	words := make(map[string]uint64)
	for n := range badger.MaxValue / 8 {
		words[strconv.Itoa(n)] = 1 << 40
	}
	if err := s.AddTotals(t.Context(), 1, words); err == nil {
		t.Error("a value that is too large was written")
	}
	if totals, err := s.Totals(t.Context(), 0); err != nil || len(totals) != 0 {
		t.Errorf("%d totals after the refused write (error %v)", len(totals), err)
	}
	large := store.Audit{Reason: strings.Repeat("x", badger.MaxValue)}
	_, err := s.Update(t.Context(), token.ID, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
		t.Name = "changed"
		return large, nil
	})
	if err != nil {
		t.Errorf("an update with a large audit record: %v", err)
	}
	log, err := s.AuditLog(t.Context(), 0, 10)
	if err != nil || len(log) != 2 || log[0].Sequence != 2 {
		t.Errorf("the audit log has %d records (error %v), want 1 and 2", len(log), err)
	}
}

// TestSequencesHaveNoGaps checks that audit records are numbered from 1 without gaps, because a start finds
// missing records by that: with parallel writes, refused ones and ones whose context ends.
func TestSequencesHaveNoGaps(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	const writers, each = 8, 10
	refused := errors.New("refused")
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range each {
				ctx, cancel := contextWithCancel(t)
				_, err := s.Create(ctx, storetest.NewToken(w*each+n, "fred"), func([]store.Token) (store.Audit, error) {
					switch n % 3 {
					case 1:
						return store.Audit{}, refused
					case 2:
						cancel()
					}
					return store.Audit{Action: "token.create"}, nil
				})
				if cancel(); err != nil && !errors.Is(err, refused) && !errors.Is(err, context.Canceled) {
					t.Errorf("create: %v", err)
				}
			}
		})
	}
	all.Wait()
	log, err := s.AuditLog(t.Context(), 0, 1000)
	if err != nil || len(log) != writers*(each+2)/3 {
		t.Fatalf("%d audit records, error %v", len(log), err)
	}
	for i, a := range log {
		if want := uint64(len(log) - i); a.Sequence != want {
			t.Fatalf("audit record %d has sequence %d, want %d", i, a.Sequence, want)
		}
	}
}

// TestConflictWithoutEnd checks that a write with endless conflicts ends with its context.
func TestConflictWithoutEnd(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	id := create(t, s, storetest.NewToken(1, "fred")).ID
	ctx, cancel := contextWithCancel(t)
	defer cancel()
	calls := 0
	_, err := s.Update(ctx, id, func(token *store.Token, _ store.LiveFunc) (store.Audit, error) {
		if calls++; calls == 20 {
			cancel()
		}
		_, err := s.Update(t.Context(), id, func(*store.Token, store.LiveFunc) (store.Audit, error) { return store.Audit{}, nil })
		if err != nil {
			t.Error(err)
		}
		token.Name = "ours"
		return store.Audit{}, nil
	})
	if !errors.Is(err, context.Canceled) || calls != 20 {
		t.Errorf("after %d calls: error %v", calls, err)
	}
	if got, err := s.Get(t.Context(), id); err != nil || got.Name == "ours" {
		t.Errorf("the token is named %q (error %v)", got.Name, err)
	}
}

// TestCloseWaits checks that Close waits for a running operation, which still succeeds.
func TestCloseWaits(t *testing.T) {
	s := open(t, t.TempDir())
	id := create(t, s, storetest.NewToken(1, "fred")).ID
	closed := make(chan error, 1)
	_, err := s.Update(t.Context(), id, func(token *store.Token, _ store.LiveFunc) (store.Audit, error) {
		go func() { closed <- s.Close() }()
		for { // until Close has begun
			if _, err := s.Get(t.Context(), id); errors.Is(err, store.ErrClosed) {
				break
			}
		}
		select {
		case err := <-closed:
			t.Errorf("Close returned %v before the update", err)
		default:
		}
		return store.Audit{}, nil
	})
	if err != nil {
		t.Errorf("update: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
}

func BenchmarkCreate(b *testing.B) {
	s := open(b, b.TempDir())
	defer s.Close()
	for n := 0; b.Loop(); n++ {
		create(b, s, storetest.NewToken(n, "fred "+storetest.NewToken(n/50, "x").ID))
	}
}

func BenchmarkRevoke(b *testing.B) {
	s := open(b, b.TempDir())
	defer s.Close()
	for n := range b.N {
		create(b, s, storetest.NewToken(n, "fred "+storetest.NewToken(n/50, "x").ID))
	}
	b.ResetTimer()
	for n := range b.N {
		if err := revoke(b.Context(), s, storetest.NewToken(n, "").ID); err != nil {
			b.Fatal(err)
		}
	}
}
