package badger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// ErrInUse says that another process has the data directory open.
var ErrInUse = errors.New("data directory is in use by another process")

// ErrSchema says that the data was written by a version of tokengate that this
// one does not understand, or by another program.
var ErrSchema = errors.New("data directory has another schema")

// ErrDamaged says that the files in the data directory are not whole.
var ErrDamaged = errors.New("data directory is damaged")

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

	// AcceptLoss opens a store of which something is damaged or missing, with
	// what is there. The log says what was found, or that nothing was lost.
	AcceptLoss bool

	statfs func(dir string) (filesystem, error) // nil: the system's
}

// Open opens the store in opts.Dir, and makes it if there is none. Its errors
// can be told apart as ErrInUse, ErrNetworkFS, ErrNoSpace, ErrDamaged, ErrLost
// and ErrSchema. A directory that is damaged, or of which something is missing,
// is left as it is.
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
			err = errors.Join(err, locked.Close())
		}
	}()
	found, err := examine(opts)
	if err != nil {
		return nil, err
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
	s.settleTimer = time.AfterFunc(time.Hour, s.settle)
	s.settleTimer.Stop()
	s.counted, s.countingAllowed = make(chan struct{}), make(chan struct{})
	s.closing, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.running.Add(1)
	go s.countRecords(s.closing, s.db.NewTransaction(false))
	return s, nil
}

// prepareDir makes the directory if it is not there, and refuses one that
// cannot hold the database.
func prepareDir(opts Options) error {
	dir := opts.Dir
	switch info, err := os.Stat(dir); {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case errors.Is(err, os.ErrNotExist) && !opts.AcceptLoss:
		if _, err := os.Stat(markerFile(dir)); err == nil {
			return fmt.Errorf("%w: %s is not there, and %s says that it held a store: is the disk mounted? %s",
				ErrLost, dir, markerFile(dir), advice)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	fs, err := opts.statfs(dir)
	if err != nil {
		return err
	}
	if fs.kind != "" {
		return fmt.Errorf("%s is on %s: %w; there a lock or a sync may not hold what it promises, "+
			"so give the store a directory on a local disk", dir, fs.kind, ErrNetworkFS)
	}
	return nil
}

// probePrefix begins the name of a file that writable makes and removes.
const probePrefix = "tokengate-probe-"

func checkWritable(dir string) error {
	probe, err := os.CreateTemp(dir, probePrefix)
	if errors.Is(err, syscall.ENOSPC) {
		return nil // makeRoom says what to do
	}
	if err != nil {
		return fmt.Errorf("%s is not writable for this user: %w", dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// lock takes the lock of dir, as Badger would: flock(2) on the directory. The
// store takes it before it looks at the files, and holds it until it is closed.
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
		err = fmt.Errorf("%w: %s: stop that process, or give this one a directory of its own", ErrInUse, dir)
	} else {
		err = fmt.Errorf("lock %s: %w", dir, err)
	}
	return nil, errors.Join(err, f.Close())
}

// examine inspects the directory, and returns an error for one with problems
// unless they are accepted.
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
		found.report(ErrLost, "there is no store in it, and %s says that there was one: is the disk mounted?", markerFile(opts.Dir))
	}
	switch err := found.err(); {
	case err == nil:
		if opts.AcceptLoss {
			logger(opts.Log).line(slog.LevelWarn, "--accept-loss is set and nothing was lost: "+
				"start without it from now on, or the next loss is accepted unasked", nil)
		}
		return found, nil
	case !opts.AcceptLoss:
		return nil, err
	}
	return found.accept(opts.Log)
}

// openDatabase opens the database. Badger panics on some files that are not
// what they should be.
func openDatabase(opts Options) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("%w: reading it ended in %q; restore it from a backup", ErrDamaged, fmt.Sprint(p))
		}
	}()
	return badger.Open(databaseOptions(opts))
}

// databaseOptions returns Badger's options for a small database beside an Envoy: some
// 25 MB of memory under load, 6 MB at rest.
func databaseOptions(opts Options) badger.Options {
	return badger.DefaultOptions(opts.Dir).
		WithLogger(logger(opts.Log)).

		// An acknowledged write survives a power cut, too.
		WithSyncWrites(true).

		// A file that a disk has damaged is an error, not another token. Open has
		// read the tables to their end; Badger would leave out a damaged one.
		WithChecksumVerificationMode(options.OnBlockRead).

		// The lock is taken before Badger comes.
		WithBypassLockGuard(true).

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

// load checks the schema, or writes it into an empty database, finds where the
// running numbers stand, and begins the ledger.
func (s *Store) load(found *inspection) error {
	var unmarked bool // the schema is still to be written
	err := s.db.View(func(txn *badger.Txn) error {
		version, err := get(txn, schemaKey)
		switch {
		case err != nil:
			return err
		case version == nil:
			it := txn.NewIterator(badger.IteratorOptions{})
			defer it.Close()
			// A table that was lost may have held the schema. The ledger says whose database it is.
			ours := found.accepted && !found.noLedger
			if it.Rewind(); it.Valid() && !ours {
				return fmt.Errorf("%w: it holds a Badger database of another program", ErrSchema)
			}
			unmarked = true
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
		given, err := lastNumber(txn, numberPrefix) // a table that was lost may have held lastNumberKey
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

// initLedger begins the ledger anew, and gives the database a schema and an
// identity if it has none. A process that is killed in between leaves a ledger
// that an identity is still to be written for.
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
			s.log.line(slog.LevelWarn, "%s begins with change %d: from now on it is known what must be there",
				[]any{ledgerName, s.sequence})
		}
	}
	s.sequence = max(s.sequence, next.sequence)
	if found.accepted {
		next.from = s.sequence + 1 // what is missing now is not asked for again
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
