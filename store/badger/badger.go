package badger

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger/usagefile"
)

// Store is a store.Store in a directory.
type Store struct {
	db          *badger.DB
	dir         string
	log         logger
	statfs      func(dir string) (filesystem, error)
	lock        *os.File
	ledger      *ledger
	reserved    *reservedFile
	settleTimer *time.Timer // runs settle after the last of several writes
	isNew       bool

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // operations that Close waits for; Add with mu held

	commitMu     sync.Mutex // serializes commits and guards the fields below
	number       uint64     // the highest token number assigned
	sequence     uint64     // the highest sequence of the audit log
	completeFrom uint64     // the audit log has no gaps from this sequence on
	watches      []*watch   // running

	usage     *usagefile.File // used while holding usageBusy
	usageBusy chan struct{}   // holds one value while a call with usage runs

	probing chan struct{} // holds one value while a Health check runs

	shared store.MemoryRecords

	sizes           counters
	counted         chan struct{}   // closed once sizes includes the records present at the start
	countingAllowed chan struct{}   // closed when these may be counted
	allowOnce       sync.Once       // closes countingAllowed
	closing         context.Context // cancelled by Close
	cancel          func()
}

var _ store.Store = (*Store)(nil)

// writeMarker writes the marker file if it can.
func (s *Store) writeMarker() {
	if err := writeMarker(s.dir); err != nil {
		s.log.line(slog.LevelInfo, "an empty data directory will not be recognized as lost: %v", []any{err})
	}
}

// settle syncs the latest acknowledged writes to disk.
func (s *Store) settle() {
	if s.begin(context.Background()) != nil {
		return
	}
	defer s.running.Done()
	if err := s.ledger.probe(context.Background()); err != nil {
		s.log.line(slog.LevelWarn, "%v", []any{err})
	}
}

// Close waits for running operations, then flushes and closes the store.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return store.ErrClosed
	}
	s.closed = true
	s.mu.Unlock()

	s.cancel()
	s.running.Wait()
	s.settleTimer.Stop()
	if err := s.close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

func (s *Store) close() error {
	err := errors.Join(s.ledger.probe(context.Background()), s.usage.Close())
	if full := s.ensureSpace(); errors.Is(full, store.ErrNoSpace) {
		// On close Badger writes its log to a table, and the process would be killed. The log is
		// on disk, and the next start reads it.
		s.log.line(slog.LevelWarn, "the database is not closed cleanly: %v", []any{full})
		return err
	}
	err = errors.Join(err, s.db.Close(), s.ledger.probe(context.Background()), s.ledger.close())
	if fs, look := s.statfs(s.dir); look == nil {
		err = errors.Join(err, s.reserved.resize(fs, 0)) // for the next start
	}
	return errors.Join(err, unlock(s.lock))
}

// begin registers an operation, unless the store is closed or the context has ended. The
// operation calls s.running.Done at its end.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	s.running.Add(1)
	return nil
}

// logger forwards Badger's log lines.
type logger func(level slog.Level, message string)

func (l logger) Errorf(format string, args ...any)   { l.line(slog.LevelError, format, args) }
func (l logger) Warningf(format string, args ...any) { l.line(slog.LevelWarn, format, args) }
func (l logger) Infof(format string, args ...any)    { l.line(slog.LevelInfo, format, args) }
func (l logger) Debugf(format string, args ...any)   { l.line(slog.LevelDebug, format, args) }

func (l logger) line(level slog.Level, format string, args []any) {
	if l != nil {
		message := strings.TrimSpace(fmt.Sprintf(format, args...))
		l(level, strings.ReplaceAll(message, "\n", "; "))
	}
}

// Health writes, reads and removes a record: see store.Store. If the disk hangs, one check waits
// for it and later calls wait for that one until their contexts end.
func (s *Store) Health(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	select {
	case s.probing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("check store: an earlier check still runs: %w", ctx.Err())
	}
	done := make(chan error, 1)
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		defer func() { <-s.probing }()
		done <- s.roundTrip(context.WithoutCancel(ctx)) // not cancelled: the next check waits until the disk answers
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("check store: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("check store: no answer from the disk: %w", ctx.Err())
	}
}

func (s *Store) roundTrip(ctx context.Context) error {
	want := []byte(rand.Text())
	err := s.attempt(ctx, func(tx *tx) error { return tx.Set(healthKey, want) })
	if err != nil {
		return err
	}
	var got []byte
	err = s.db.View(func(txn *badger.Txn) (err error) {
		got, err = get(txn, healthKey)
		return err
	})
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("the record read differs from the record written")
	}
	return s.attempt(ctx, func(tx *tx) error { return tx.Delete(healthKey) })
}
