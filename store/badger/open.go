package badger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/tokengate/tokengate/store"
)

// ErrInUse means that another process has the data directory open.
var ErrInUse = errors.New("data directory is in use by another process")

// ErrSchema means that the data was written by an incompatible version of tokengate, or by
// another program.
var ErrSchema = errors.New("data directory has another schema")

// ErrDamaged means that files in the data directory are damaged.
var ErrDamaged = errors.New("data directory is damaged")

// schema is the version of the key layout and of the records' meaning. Version 1, which was never
// released, stored records as JSON.
const schema = 2

// incompleteSchema is the schema during an Import.
const incompleteSchema = "incomplete"

// Config is the configuration of the store.
type Config struct {
	Dir string `yaml:"dir"` // see Options
}

// DefaultConfig returns the default configuration.
func DefaultConfig() *Config { return &Config{Dir: "/var/lib/tokengate"} }

// Check reports an invalid directory: see store.Config.
func (c *Config) Check(report func(key, format string, args ...any)) {
	switch {
	case !filepath.IsAbs(c.Dir) || filepath.Clean(c.Dir) != c.Dir || c.Dir == "/":
		report("dir", "%.80q: must be the absolute path of a directory, without dot or empty segments or a slash at the end, "+
			"such as %s", c.Dir, DefaultConfig().Dir)
	case strings.ContainsFunc(c.Dir, unicode.IsControl):
		report("dir", "%.80q: must have no control characters", c.Dir)
	}
}

// Open opens the store: see store.Config.
func (c *Config) Open(ctx context.Context, o store.OpenOptions) (store.Opened, error) {
	s, err := Open(ctx, Options{Dir: c.Dir, Log: o.Log, AcceptLoss: o.AcceptLoss, Existing: o.Existing})
	if err != nil {
		return store.Opened{}, err
	}
	return store.Opened{Store: s, New: s.isNew, Dir: c.Dir}, nil
}

// Options configures Open.
type Options struct {
	// Dir is the data directory, on a local disk. It is created with mode 0700 if it does not
	// exist; the mode of an existing one is not changed.
	Dir string

	Log        func(level slog.Level, message string) // see store.OpenOptions; with file names and keys
	AcceptLoss bool                                   // see store.OpenOptions
	Existing   bool                                   // see store.OpenOptions

	statfs func(dir string) (filesystem, error) // nil: the system call
}

// Open opens the store in opts.Dir, and creates it if there is none. Its errors wrap ErrInUse,
// ErrNetworkFS, store.ErrNoSpace, store.ErrIncomplete, store.ErrNoStore, ErrDamaged, ErrLost or ErrSchema. A directory with damaged or missing
// data is not changed.
func Open(ctx context.Context, opts Options) (*Store, error) {
	s, err := open(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, opts Options) (s *Store, err error) {
	if opts.Dir == "" {
		return nil, errors.New("no data directory given")
	}
	if opts.statfs == nil {
		opts.statfs = statfs
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := prepareDir(opts); err != nil {
		return nil, err
	}
	locked, err := lock(opts.Dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unlock(locked))
		}
	}()
	found, err := examine(opts)
	if err != nil {
		return nil, err
	}
	if opts.Existing && found.isNew() {
		return nil, fmt.Errorf("%w in %s", store.ErrNoStore, opts.Dir)
	}
	s = &Store{
		dir: opts.Dir, log: opts.Log, statfs: opts.statfs, lock: locked, reserved: newReservedFile(opts.Dir),
		isNew: found.isNew(), probing: make(chan struct{}, 1),
	}
	if err := checkWritable(opts.Dir); err != nil {
		return nil, err
	}
	if err := s.ensureSpace(); err != nil {
		return nil, err
	}
	if err := found.removeLeftovers(); err != nil {
		return nil, err
	}
	if s.db, err = openDatabase(opts); err != nil {
		return nil, fmt.Errorf("open database in %s: %w", opts.Dir, err)
	}
	if err := s.load(found); err != nil {
		return nil, errors.Join(fmt.Errorf("read database in %s: %w", opts.Dir, err), s.db.Close())
	}
	if err := s.openUsage(ctx); err != nil {
		return nil, errors.Join(err, s.ledger.close(), s.db.Close())
	}
	s.settleTimer = time.AfterFunc(time.Hour, s.settle)
	s.settleTimer.Stop()
	s.counted, s.countingAllowed = make(chan struct{}), make(chan struct{})
	s.closing, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.running.Add(1)
	go s.countRecords(s.closing, s.db.NewTransaction(false))
	return s, nil
}

// prepareDir creates the directory if it does not exist, and refuses one that cannot hold the
// database.
func prepareDir(opts Options) error {
	dir := opts.Dir
	switch info, err := os.Stat(dir); {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case errors.Is(err, os.ErrNotExist) && !opts.AcceptLoss:
		if _, err := os.Stat(markerFile(dir)); err == nil {
			return fmt.Errorf("%w: %s does not exist, but %s says that it held a store: is the disk mounted? %s",
				ErrLost, dir, markerFile(dir), advice)
		}
	}
	if _, err := os.Stat(dir); opts.Existing && errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s does not exist", store.ErrNoStore, dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	fs, err := opts.statfs(dir)
	if err != nil {
		return err
	}
	if fs.kind != "" {
		return fmt.Errorf("%s is on %s: %w; locks and syncs are unreliable there, "+
			"so use a directory on a local disk", dir, fs.kind, ErrNetworkFS)
	}
	return nil
}

// probePrefix starts the name of the temporary file of checkWritable.
const probePrefix = "tokengate-probe-"

func checkWritable(dir string) error {
	probe, err := os.CreateTemp(dir, probePrefix)
	if errors.Is(err, syscall.ENOSPC) {
		return nil // ensureSpace reports it
	}
	if err != nil {
		return fmt.Errorf("%s is not writable by this user: %w", dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// lock locks dir as Badger would, with flock(2) on the directory. The store holds the lock from
// before it reads the files until it is closed.
func lock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s: stop that process, or use another directory", ErrInUse, dir)
	} else {
		err = fmt.Errorf("lock %s: %w", dir, err)
	}
	return nil, errors.Join(err, f.Close())
}

// unlock releases the lock and closes f. A child process that is just being started may share the
// lock until it has closed its descriptors, so closing f would not release it.
func unlock(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

// examine inspects the directory. Problems are an error unless they are accepted.
func examine(opts Options) (*inspection, error) {
	odd, err := inspectFileTypes(opts.Dir)
	if err != nil {
		return nil, err
	}
	if err := odd.err(); err != nil {
		if !opts.AcceptLoss {
			return nil, err
		}
		if err := odd.setAside(opts.Log); err != nil {
			return nil, err
		}
	}
	found, err := inspect(opts.Dir, false)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(markerFile(opts.Dir)); err == nil && found.isNew() {
		found.report(ErrLost, "it contains no store, but %s says that it did: is the disk mounted?", markerFile(opts.Dir))
	}
	switch err := found.err(); {
	case err == nil:
		if opts.AcceptLoss {
			logger(opts.Log).line(slog.LevelWarn, "--accept-loss is set and nothing was lost: "+
				"remove the flag, or the next loss is accepted silently", nil)
		}
		return found, nil
	case !opts.AcceptLoss:
		return nil, err
	}
	return found.accept(opts.Log)
}

// openDatabase opens the database. Badger panics on some damaged files.
func openDatabase(opts Options) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("%w: reading it failed with %q; restore it from a backup", ErrDamaged, fmt.Sprint(p))
		}
	}()
	return badger.Open(databaseOptions(opts))
}

// databaseOptions returns Badger's options for a small database in a sidecar: about 25 MB of
// memory under load, 6 MB idle.
func databaseOptions(opts Options) badger.Options {
	return badger.DefaultOptions(opts.Dir).
		WithLogger(logger(opts.Log)).

		// Acknowledged writes survive a power failure.
		WithSyncWrites(true).

		// Disk corruption is an error. Open has checked whole tables; Badger would skip a
		// damaged one.
		WithChecksumVerificationMode(options.OnBlockRead).

		// The store holds the lock already.
		WithBypassLockGuard(true).

		// Old versions are not needed, and a compaction must remove wiped hashes.
		WithNumVersionsToKeep(1).

		// Each memtable takes its full size in memory, and twice its size in a log that a start
		// reads. The maximum transaction is 15 % of it, 600 kB, far more than any written here.
		WithMemTableSize(4 << 20).
		WithNumMemtables(2).

		// All values stay in the tree, where compactions free the space of deleted ones, and
		// the value log stays empty and needs no garbage collection. set refuses larger values.
		// The minimum size of the value log is 1 MiB; each sync covers the whole file.
		WithValueThreshold(maxValue).
		WithValueLogFileSize(1 << 20).

		// Records are small and read once, into the index. Without compression Badger reads
		// tables through the page cache and needs no block cache. Hashes do not compress.
		WithCompression(options.None).
		WithBlockCacheSize(0).

		// Badger's minimum.
		WithNumCompactors(2).

		// Badger's metrics are global variables.
		WithMetricsEnabled(false)
}

// maxValue is the maximum size of a value in bytes. The largest token record is about 6.5 kB, its
// audit record a few times that.
const maxValue = 128 << 10

// load checks the schema, or notes that an empty database needs one, reads the running numbers,
// and starts the ledger.
func (s *Store) load(found *inspection) error {
	var unmarked bool // the schema has to be written
	err := s.db.View(func(txn *badger.Txn) error {
		version, err := get(txn, schemaKey)
		switch {
		case err != nil:
			return err
		case version == nil:
			it := txn.NewIterator(badger.IteratorOptions{})
			defer it.Close()
			// The schema may have been in a lost table. The ledger identifies the database.
			own := found.accepted && !found.noLedger
			if it.Rewind(); it.Valid() && !own {
				return fmt.Errorf("%w: it contains another program's Badger database", ErrSchema)
			}
			unmarked = true
		case string(version) == incompleteSchema:
			return fmt.Errorf("%w; remove the directory %s and begin again", store.ErrIncomplete, s.dir)
		case string(version) != strconv.Itoa(schema):
			return fmt.Errorf("%w: it has schema %q and this version of tokengate knows %d: "+
				"open it with the version that wrote it", ErrSchema, version, schema)
		}
		value, err := get(txn, lastNumberKey)
		if err != nil {
			return err
		}
		if value != nil {
			if s.number, err = trailingNumber(value); err != nil {
				return err
			}
		}
		given, err := lastNumber(txn, numberPrefix) // lastNumberKey may have been in a lost table
		if err != nil {
			return err
		}
		s.number = max(s.number, given)
		s.sequence, err = lastNumber(txn, auditPrefix)
		return err
	})
	if err != nil {
		return err
	}
	return s.initLedger(found, unmarked)
}

// initLedger writes a new ledger, and gives the database a schema and an identity if it has none.
// If the process is killed in between, the next start writes the ledger's identity to the
// database.
func (s *Store) initLedger(found *inspection, unmarked bool) (err error) {
	next := found.ledger
	switch {
	case found.identity != nil:
		next.identity = [16]byte(found.identity)
	case found.noLedger:
		next.identity = newIdentity()
	}
	if found.noLedger && next.from == 0 {
		next.from = max(s.sequence, 1)
		if s.sequence > 0 {
			s.log.line(slog.LevelWarn, "%s starts at change %d: losses before it cannot be detected",
				[]any{ledgerName, s.sequence})
		}
	}
	s.sequence = max(s.sequence, next.sequence)
	if found.accepted {
		next.from = s.sequence + 1 // what is missing now is no longer required
	}
	next.sequence, s.completeFrom = s.sequence, next.from
	if s.ledger, err = makeLedger(s.dir, next); err != nil {
		return err
	}
	if err := s.ledger.probe(context.Background()); err != nil {
		return errors.Join(err, s.ledger.close())
	}
	if s.sequence > 0 {
		s.writeMarker()
	}
	if found.identity != nil && !unmarked {
		return nil
	}
	err = s.db.Update(func(txn *badger.Txn) error {
		return errors.Join(
			txn.Set(schemaKey, []byte(strconv.Itoa(schema))),
			txn.Set(identityKey, next.identity[:]),
		)
	})
	if err != nil {
		return errors.Join(err, s.ledger.close())
	}
	return nil
}
