package badger

import (
	"os"

	"github.com/tokengate/tokengate/store/badger/files"
)

// WithFilesystem returns options of a store that is told what file system it
// is on, and how many bytes are free there.
func (o Options) WithFilesystem(look func() (kind string, free uint64)) Options {
	o.statfs = func(string) (filesystem, error) {
		kind, free := look()
		return filesystem{kind: kind, free: free}, nil
	}
	return o
}

// Limits that tests go up to.
const (
	Reserve       = reserve
	ReserveToOpen = reserveToOpen
	MaxRoom       = maxReserved
	MaxValue      = maxValue
	MaxLive       = maxLive
)

// ProbeFile returns the file by which a hanging disk is met.
func (s *Store) ProbeFile() *os.File { return s.ledger.synced }

// HangProbe makes the probe hang until release is called.
func (s *Store) HangProbe() (release func()) {
	s.ledger.manifestMu.Lock()
	return s.ledger.manifestMu.Unlock
}

// FailCommit leaves the store as a commit of two audit records does that fails.
func (s *Store) FailCommit() { s.skipNumbers(s.number+1, s.sequence+2) }

// FailCommitWithoutAudit leaves the store as a failed commit without audit records
// does, and reports whether more audit records may be missing after it.
func (s *Store) FailCommitWithoutAudit() (more bool) {
	before := s.completeFrom
	s.skipNumbers(s.number+1, s.sequence)
	return s.completeFrom != before
}

// Missing returns what is missing in a window that begins with the record first:
// x is there, d is deleted, o was deleted and an older version of it is seen after
// that, and of . nothing was seen.
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

// LedgerSlot returns a slot of the ledger with this count. It says that as many
// audit records were acknowledged.
func LedgerSlot(count uint64) []byte {
	data, err := state{sequence: count}.encode(count)
	if err != nil {
		panic(err)
	}
	return data
}

// ReadLedger returns how many audit records were acknowledged, as the ledger in
// dir says.
func ReadLedger(dir string) (sequence uint64, err error) {
	s, err := readLedger(dir)
	return s.sequence, err
}
