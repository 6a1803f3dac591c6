package badger

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store/badger/files"
)

// ledgerName is a file next to the database's files that says what the database must contain. See
// the package documentation.
const ledgerName = "tokengate.sequence"

// state is the content of the ledger.
type state struct {
	identity [16]byte // the database's m/identity
	sequence uint64   // audit records up to this one were acknowledged
	from     uint64   // no gaps from this audit record on
	manifest files.Mark
}

// The ledger is one page: two slots, of which the newer one is valid, and the time of the last
// probe. Writes alternate between the slots: even counts go to the first, odd ones to the second.
// A slot is one sector, which disks write atomically, so that neither a killed process nor a
// power failure leaves a partial slot. An unreadable slot is damage: the other one may be older,
// which would hide the loss of the last change. The kernel writes the page as a whole, so the
// synchronous write of the probe's time also syncs the slots.
const (
	slotSize   = 512
	stampAt    = 2 * slotSize
	ledgerSize = 4096
)

var slotMagic = [8]byte{'t', 'g', 's', 'e', 'q', 0, 0, 1}

// slot is a state as stored in the ledger, big endian and followed by a CRC-32C.
type slot struct {
	Magic        [8]byte
	Count        uint64 // of states written so far
	Identity     [16]byte
	Sequence     uint64
	From         uint64
	ManifestSize uint64
	ManifestSum  uint32
	ManifestMax  uint64
}

func (s state) encode(count uint64) ([]byte, error) {
	data, err := binary.Append(nil, binary.BigEndian, slot{
		Magic: slotMagic, Count: count, Identity: s.identity, Sequence: s.sequence, From: s.from,
		ManifestSize: s.manifest.Size, ManifestSum: s.manifest.Sum, ManifestMax: s.manifest.MaxID,
	})
	if err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint32(data, crc32.Checksum(data, castagnoli)), nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func decodeSlot(data []byte) (s state, count uint64, ok bool) {
	var d slot
	size := binary.Size(d)
	if _, err := binary.Decode(data, binary.BigEndian, &d); err != nil || d.Magic != slotMagic ||
		crc32.Checksum(data[:size], castagnoli) != binary.BigEndian.Uint32(data[size:]) {
		return state{}, 0, false
	}
	return state{
		identity: d.Identity, sequence: d.Sequence, from: d.From,
		manifest: files.Mark{Size: d.ManifestSize, Sum: d.ManifestSum, MaxID: d.ManifestMax},
	}, d.Count, true
}

// errLedger means that the ledger is damaged.
var errLedger = errors.New(ledgerName + " is damaged")

// readLedger returns the state in the ledger. The error is fs.ErrNotExist if there is none.
func readLedger(dir string) (state, error) {
	f, err := os.Open(filepath.Join(dir, ledgerName))
	if err != nil {
		return state{}, err
	}
	defer f.Close()
	data := make([]byte, 2*slotSize)
	if n, err := f.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) || n < len(data) {
		return state{}, errors.Join(errLedger, err)
	}
	first, firstCount, firstOK := decodeSlot(data[:slotSize])
	second, secondCount, secondOK := decodeSlot(data[slotSize:])
	if !firstOK && secondCount == 1 && bytes.Equal(data[:slotSize], make([]byte, slotSize)) {
		firstOK = true // not written since makeLedger
	}
	switch {
	case !firstOK || !secondOK || firstCount%2 != 0 || secondCount%2 != 1:
		return state{}, errLedger
	case firstCount == secondCount+1:
		return first, nil
	case secondCount == firstCount+1:
		return second, nil
	}
	return state{}, errLedger
}

// ledger is the open ledger.
type ledger struct {
	dir    string
	plain  *os.File // writes do not wait for the disk
	synced *os.File // writes wait for the disk

	probes chan struct{} // holds one value for each running probe

	manifestMu   sync.Mutex  // guards manifestInfo
	manifestInfo os.FileInfo // of MANIFEST at state's mark

	mu    sync.Mutex // guards the fields below
	state state
	count uint64 // of states written so far
}

// makeLedger writes and opens a new ledger in dir.
func makeLedger(dir string, s state) (*ledger, error) {
	content := make([]byte, ledgerSize)
	data, err := s.encode(1)
	if err != nil {
		return nil, err
	}
	copy(content[slotSize:], data)
	if err := files.Replace(filepath.Join(dir, ledgerName), content); err != nil {
		return nil, err
	}
	l := &ledger{dir: dir, state: s, count: 1, probes: make(chan struct{}, maxProbes)}
	path := filepath.Join(dir, ledgerName)
	if l.plain, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	if l.synced, err = os.OpenFile(path, os.O_RDWR|syncData, 0); err != nil {
		return nil, errors.Join(err, l.plain.Close())
	}
	return l, nil
}

// write writes the changed state without waiting for the disk: the kernel keeps it if the process
// is killed, and the next probe syncs it.
func (l *ledger) write(change func(*state)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.state
	change(&next)
	data, err := next.encode(l.count + 1)
	if err == nil {
		_, err = l.plain.WriteAt(data, int64((l.count+1)%2)*slotSize)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", ledgerName, err)
	}
	l.state, l.count = next, l.count+1
	return nil
}

// acknowledge records that the audit records up to sequence are committed.
func (l *ledger) acknowledge(sequence, from uint64) error {
	return l.write(func(s *state) { s.sequence, s.from = sequence, from })
}

// probe returns once the disk has completed a small synchronous write. Badger writes to memory
// maps. If the disk hangs, that blocks a thread of the Go runtime in a page fault, and at the
// next garbage collection the whole process, which would then answer no request. A system call
// only blocks its own goroutine, so the probe meets the hang first.
//
// It also syncs everything that was acknowledged before.
//
// The context ends the wait for earlier probes, not the write.
func (l *ledger) probe(ctx context.Context) error {
	select {
	case l.probes <- struct{}{}:
		defer func() { <-l.probes }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := l.checkManifest(); err != nil {
		return err
	}
	now, err := time.Now().MarshalBinary()
	if err != nil {
		return err
	}
	if _, err := l.synced.WriteAt(now, stampAt); err != nil {
		return fmt.Errorf("write %s: %w", ledgerName, err)
	}
	return nil
}

// maxProbes is the maximum number of concurrent probes. Each takes a thread while the disk hangs,
// and the Go runtime limits the number of threads.
const maxProbes = 64

// checkManifest records the state of MANIFEST if it has changed. MANIFEST is synced first, so
// that a power failure cannot undo a state that the ledger names.
func (l *ledger) checkManifest() error {
	l.manifestMu.Lock()
	defer l.manifestMu.Unlock()
	path := filepath.Join(l.dir, badger.ManifestFilename)
	info, err := os.Stat(path)
	for {
		if err != nil {
			return err
		}
		if l.manifestInfo != nil && sameFile(l.manifestInfo, info) {
			return nil
		}
		m, failed := files.ReadManifest(l.dir, true)
		if failed == nil {
			if err := l.write(func(s *state) { s.manifest = m.Mark() }); err != nil {
				return err
			}
			l.manifestInfo = info
			return nil
		}
		before := info
		if info, err = os.Stat(path); err == nil && sameFile(before, info) {
			return failed // not because of a concurrent write of Badger
		}
	}
}

func sameFile(a, b os.FileInfo) bool { return os.SameFile(a, b) && a.Size() == b.Size() }

func (l *ledger) close() error { return errors.Join(l.plain.Close(), l.synced.Close()) }

// newIdentity returns a random name for a new database.
func newIdentity() (id [16]byte) {
	rand.Read(id[:]) // never fails
	return id
}

// markerFile is a file next to the data directory, which says that the directory holds a store.
// It prevents a new store from being created if the disk is not mounted.
func markerFile(dir string) string { return filepath.Clean(dir) + ".tokengate" }

const markerText = "The directory of this name without \".tokengate\" holds the tokens of tokengate.\n" +
	"While this file is here, tokengate does not begin a new store there.\n"

// writeMarker writes the marker file if there is none. There is none if the parent directory is
// not writable, as in a container.
func writeMarker(dir string) error {
	if _, err := os.Stat(markerFile(dir)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return files.Replace(markerFile(dir), []byte(markerText))
}
