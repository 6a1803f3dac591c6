package badger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/tokengate/tokengate/store"
)

// ErrInUse says that another process has the data directory open.
var ErrInUse = errors.New("data directory is in use by another process")

// ErrSchema says that the data was written by a version of tokengate that this
// one does not understand, or by another program.
var ErrSchema = errors.New("data directory has another schema")

// schema is the version of the key layout and of what a record's fields mean.
// Version 1, which was never released, kept records as JSON.
const schema = 2

// Options says where the store is and where it logs.
type Options struct {
	// Dir is the data directory, on a local disk. It is made with mode 0700
	// if it is not there; the mode of one that is there is left alone.
	Dir string

	// Log receives Badger's own messages, one line each, without a line
	// break. They name files and keys, never a record. Nil drops them.
	Log func(level slog.Level, message string)

	statfs func(dir string) (filesystem, error) // nil: the system's
}

// Store is a store.Store in a directory.
type Store struct {
	db     *badger.DB
	dir    string
	log    logger
	statfs func(dir string) (filesystem, error)
	probe  *os.File // see probeDisk

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // operations that Close waits for

	commit   sync.Mutex // one commit at a time, guards the two below
	number   uint64     // the highest token number given out
	sequence uint64     // the highest sequence in the audit log

	probing chan struct{} // holds one value while a Health round trip runs

	sizes     counters
	measured  chan struct{}   // closed once sizes holds what was there at the start
	begun     chan struct{}   // closed when that may be counted
	beginning sync.Once       // guards the closing of begun
	closing   context.Context // ends with Close
	end       func()
}

var _ store.Store = (*Store)(nil)

// Open opens the store in opts.Dir, and makes it if there is none. Its errors
// can be told apart as ErrInUse, ErrNetworkFS, ErrNoSpace, ErrDamaged and
// ErrSchema.
func Open(ctx context.Context, opts Options) (*Store, error) {
	s, err := open(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, opts Options) (s *Store, err error) {
	// Badger panics on some files that are not what they should be.
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("%w: %s: reading it ended in %q; restore it from a backup", ErrDamaged, opts.Dir, fmt.Sprint(p))
		}
	}()
	if opts.Dir == "" {
		return nil, errors.New("no data directory given")
	}
	if opts.statfs == nil {
		opts.statfs = statfs
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := prepareDir(opts.Dir, opts.statfs); err != nil {
		return nil, err
	}
	db, err := badger.Open(sidecar(opts))
	if err != nil {
		// Badger's error has the cause only as text.
		if strings.Contains(err.Error(), syscall.EWOULDBLOCK.Error()) {
			return nil, fmt.Errorf("%w: %s: stop that process, or give this one a directory of its own",
				ErrInUse, opts.Dir)
		}
		return nil, fmt.Errorf("open database in %s: %w", opts.Dir, err)
	}
	s = &Store{db: db, dir: opts.Dir, log: opts.Log, statfs: opts.statfs, probing: make(chan struct{}, 1)}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("read database in %s: %w", opts.Dir, err), db.Close())
	}
	if s.probe, err = openProbe(opts.Dir); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.measured, s.begun = make(chan struct{}), make(chan struct{})
	s.closing, s.end = context.WithCancel(context.WithoutCancel(ctx))
	s.running.Add(1)
	go s.measure(s.closing, db.NewTransaction(false))
	return s, nil
}

// sidecar returns Badger's options for a small database beside an Envoy: some
// 25 MB of memory under load, 6 MB at rest.
func sidecar(opts Options) badger.Options {
	return badger.DefaultOptions(opts.Dir).
		WithLogger(logger(opts.Log)).

		// An acknowledged write survives a power cut, too.
		WithSyncWrites(true).

		// A file that a disk has damaged is an error, not another token.
		WithChecksumVerificationMode(options.OnTableAndBlockRead).

		// A wiped hash goes with the next compaction; old versions have no use.
		WithNumVersionsToKeep(1).

		// Each memtable takes its size in memory from the start, and twice its
		// size in a log that a start reads again. Badger takes a transaction of
		// up to 15 % of it: 600 kB, far above what is written here in one.
		WithMemTableSize(4 << 20).
		WithNumMemtables(2).

		// Records stay in the tree, where deleting one frees its space in a
		// compaction. So the value log stays empty and needs no collection.
		// set refuses a value above the threshold. The value log's smallest
		// size is 1 MiB; each sync covers the whole file.
		WithValueThreshold(maxValue).
		WithValueLogFileSize(1 << 20).

		// Records are small and read once, into the index. Without compression
		// Badger reads tables through the page cache and wants no cache of its
		// own, and salts and hashes do not compress anyway.
		WithCompression(options.None).
		WithBlockCacheSize(0).

		// Two is the least that Badger takes.
		WithNumCompactors(2).

		// Badger's metrics are global variables of the process.
		WithMetricsEnabled(false)
}

// maxValue is the size of the largest value in bytes. The largest token's
// record takes some 6.5 kB, its audit record a few times that.
const maxValue = 128 << 10

// Opts returns the options of the open database.
func (s *Store) Opts() badger.Options { return s.db.Opts() }

// load checks the schema, or writes it into an empty database, and finds where
// the running numbers stand.
func (s *Store) load() error {
	var empty bool
	err := s.db.View(func(txn *badger.Txn) error {
		version, err := get(txn, schemaKey)
		switch {
		case err != nil:
			return err
		case version == nil:
			it := txn.NewIterator(badger.IteratorOptions{})
			defer it.Close()
			if it.Rewind(); it.Valid() {
				return fmt.Errorf("%w: it holds a Badger database of another program", ErrSchema)
			}
			empty = true
			return nil
		case string(version) != strconv.Itoa(schema):
			return fmt.Errorf("%w: it has schema %q and this version of tokengate knows %d: "+
				"open it with the version that wrote it", ErrSchema, version, schema)
		}
		last, err := get(txn, lastNumberKey)
		if err != nil {
			return err
		}
		if last != nil {
			if s.number, err = number(last); err != nil {
				return err
			}
		}
		s.sequence, err = lastAudit(txn)
		return err
	})
	if err != nil || !empty {
		return err
	}
	return s.db.Update(func(txn *badger.Txn) error {
		return txn.Set(schemaKey, []byte(strconv.Itoa(schema)))
	})
}

// Close waits for running operations, then flushes and closes.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return store.ErrClosed
	}
	s.closed = true
	s.mu.Unlock()

	s.end()
	s.running.Wait()
	if err := errors.Join(s.probeDisk(), s.db.Close(), s.probe.Close()); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// begin lets an operation run unless the store is closed or the context has
// ended. The operation calls s.running.Done at its end.
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

// logger passes Badger's lines on.
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
