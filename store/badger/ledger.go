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

// ledgerName is a file beside the database's own that says what the database
// must hold. See the package's text.
const ledgerName = "tokengate.sequence"

// state is what the ledger says.
type state struct {
	identity [16]byte // of the database, as its key m/identity has it
	sequence uint64   // the audit records up to this one were acknowledged
	from     uint64   // from this audit record on there are no gaps
	manifest files.Mark
}

// The ledger is one page: two slots, of which the newer one counts, and the time
// of the last probe. Writes alternate between the slots: an even count goes into
// the first and an odd one into the second. A slot is a sector, which a disk
// writes whole, so neither a killed process nor a power cut leaves half a slot.
// A slot that cannot be read is damage: the other one may be the older, and with
// it a store that has lost its last change would look whole. The kernel writes
// the page back as one, so a synced write of the probe's time syncs the slots, too.
const (
	slotSize   = 512
	stampAt    = 2 * slotSize
	ledgerSize = 4096
)

var slotMagic = [8]byte{'t', 'g', 's', 'e', 'q', 0, 0, 1}

// slot is a state as the ledger has it, big endian, with the CRC-32C of the rest
// behind it.
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

// errLedger says that the ledger cannot be read.
var errLedger = errors.New(ledgerName + " is not whole")

// readLedger returns what the ledger in dir says. The error is fs.ErrNotExist if
// there is none.
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
		firstOK = true // nothing was written yet since makeLedger
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
	plain  *os.File // a write to it does not wait for the disk
	synced *os.File // a write to it does

	probes chan struct{} // holds one value for each probe that runs

	manifestMu sync.Mutex  // guards list
	manifestInfo    os.FileInfo // of MANIFEST as it was when state's mark was made

	mu    sync.Mutex // guards the two below
	state state
	count uint64 // of states written so far
}

// makeLedger puts a new ledger into dir.
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

// write writes the state as change makes it. It does not wait for the disk: a
// process that is killed leaves what it has written to the kernel, and the
// next probe waits for the disk.
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

// acknowledge notes that the audit records up to sequence are committed.
func (l *ledger) acknowledge(sequence, from uint64) error {
	return l.write(func(s *state) { s.sequence, s.from = sequence, from })
}

// probe returns once the disk has taken a small write, by plain system calls.
// Badger writes to memory maps, where a disk that hangs stops a thread of the
// Go runtime in a page fault, and with it, at the next garbage collection, the
// whole process: no request would be answered any more. A system call stops its
// own goroutine only, so the hang is met here first.
//
// With it the disk has everything that was acknowledged before.
//
// The context ends the wait for the probes before it, not the write itself.
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

// maxProbes is how many probes run at once. Each takes a thread while the disk
// hangs, and the Go runtime ends a process that needs too many.
const maxProbes = 64

// checkManifest notes the state of MANIFEST if it has changed. The disk has that state
// before the ledger names it, so that no power cut takes it away again.
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
			return failed // not because Badger wrote to it at the same time
		}
	}
}

func sameFile(a, b os.FileInfo) bool { return os.SameFile(a, b) && a.Size() == b.Size() }

func (l *ledger) close() error { return errors.Join(l.plain.Close(), l.synced.Close()) }

// newIdentity returns a name for a new database.
func newIdentity() (id [16]byte) {
	rand.Read(id[:]) // never fails
	return id
}

// The markerFile is a file beside the data directory, not in it. It says that the
// directory holds a store, so that a disk that is not mounted is no reason to
// begin a new one.
func markerFile(dir string) string { return filepath.Clean(dir) + ".tokengate" }

const markerText = "The directory of this name without \".tokengate\" holds the tokens of tokengate.\n" +
	"While this file is here, tokengate does not begin a new store there.\n"

// writeMarker writes the witness if there is none. Where the directory above is not
// writable, as in a container, there is none.
func writeMarker(dir string) error {
	if _, err := os.Stat(markerFile(dir)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return files.Replace(markerFile(dir), []byte(markerText))
}
