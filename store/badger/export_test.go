package badger

import (
	"os"

	upstream "github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store/badger/files"
)

// WithFilesystem returns options with a fake file system of the given kind and free bytes.
func (o Options) WithFilesystem(look func() (kind string, free uint64)) Options {
	o.statfs = func(string) (filesystem, error) {
		kind, free := look()
		return filesystem{kind: kind, free: free}, nil
	}
	return o
}

// Limits for tests.
const (
	Reserve       = reserve
	ReserveToOpen = reserveToOpen
	MaxRoom       = maxReserved
	MaxValue      = maxValue
	MaxLive       = maxLive
)

// Opts returns the options of the open database.
func (s *Store) Opts() upstream.Options { return s.db.Opts() }

// DB returns the open database.
func (s *Store) DB() *upstream.DB { return s.db }

// SyncUsage syncs the file of usage.
func (s *Store) SyncUsage() error { return s.usage.Sync() }

// IsNew reports whether Open created the store.
func (s *Store) IsNew() bool { return s.isNew }

// ProbeFile returns the file that probes write to.
func (s *Store) ProbeFile() *os.File { return s.ledger.synced }

// HangProbe makes probes hang until release is called.
func (s *Store) HangProbe() (release func()) {
	s.ledger.manifestMu.Lock()
	return s.ledger.manifestMu.Unlock
}

// FailCommits makes commits fail until stop is called.
func (s *Store) FailCommits() (stop func()) {
	w := s.db.NewStreamWriter()
	_ = w.PrepareIncremental() // it blocks writes even if it fails
	return w.Cancel
}

// CompleteFrom returns the audit record from which on none may be missing.
func (s *Store) CompleteFrom() uint64 { return s.completeFrom }

// Missing returns the missing records of a window that starts at record first: x exists, d is
// deleted, o is deleted and an older version of it is found later, and . was not found.
func Missing(first uint64, records string) (missing string, unknown uint64) {
	w := newWindow(first, first+uint64(len(records))-1)
	for n, c := range records {
		if c != '.' {
			w.add(first+uint64(n), files.Record{Version: 2, Deleted: c == 'd' || c == 'o'})
		}
		if c == 'o' {
			w.add(first+uint64(n), files.Record{Version: 1})
		}
	}
	return w.missing()
}

// LedgerSlot returns a slot of the ledger with this count, which is also the acknowledged
// sequence.
func LedgerSlot(count uint64) []byte {
	data, err := state{sequence: count}.encode(count)
	if err != nil {
		panic(err)
	}
	return data
}

// ReadLedger returns the acknowledged sequence in the ledger in dir.
func ReadLedger(dir string) (sequence uint64, err error) {
	s, err := readLedger(dir)
	return s.sequence, err
}
