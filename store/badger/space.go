package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
)

// ErrNetworkFS means that the data directory is on a network or FUSE file system.
var ErrNetworkFS = errors.New("not on a local file system")

// reserve is the space in bytes, free or reserved, below which only the end of a token is
// written. Badger writes through memory maps of sparse files: if the disk is full, the kernel
// kills the process (SIGBUS), which would also stop requests that need no write. The reserve
// covers the rest of the log (8 MiB), the tables of the waiting memtables (3 times 4 MiB) and a
// compaction that rewrites its levels (about 30 MiB). The rest is for ending tokens after other
// programs have filled the disk.
const reserve = reserveToOpen + maxReserved

// reserveToOpen is the space in bytes that is needed to open, to end a token and to close: two
// logs of 8 MiB, a value log of 2 MiB, and the tables of a log that is read again. Below reserve
// the store still opens, so that a restart on a full disk keeps tokens working.
const reserveToOpen = 32 << 20

// filesystem is what the store needs to know about its file system.
type filesystem struct {
	kind string // such as "NFS"; empty if it is suitable
	free uint64 // bytes available to this process
}

// ensureSpace makes reserveToOpen bytes available, from the reserved space if necessary, and
// reserves free space above that.
func (s *Store) ensureSpace() error {
	fs, err := s.statfs(s.dir)
	if err != nil {
		return err
	}
	if err := checkFree(s.dir, s.reserved.available(fs), reserveToOpen); err != nil {
		return err
	}
	return s.reserved.resize(fs, reserveToOpen)
}

func checkFree(dir string, available, least uint64) error {
	if available < least {
		return fmt.Errorf("%w: %s has %d MiB left, and %d MiB must stay free",
			store.ErrNoSpace, dir, available>>20, least>>20)
	}
	return nil
}

// reserveName is a file that reserves disk blocks. They are freed for the database when the disk
// is full.
const reserveName = "tokengate.reserve"

// maxReserved is the maximum size of that file in bytes.
const maxReserved = 64 << 20

// reservedFile is the reserved space.
type reservedFile struct {
	path string

	mu     sync.Mutex
	held   uint64
	cannot bool // the file system cannot reserve space
}

func newReservedFile(dir string) *reservedFile {
	r := &reservedFile{path: filepath.Join(dir, reserveName)}
	var st syscall.Stat_t
	if syscall.Stat(r.path, &st) == nil && st.Blocks > 0 {
		r.held = min(uint64(st.Blocks)*512, uint64(st.Size))
	}
	return r
}

// available returns the bytes that the database may use, free or reserved.
func (r *reservedFile) available(fs filesystem) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fs.free + r.held
}

// resize reserves the free space above left bytes, up to maxReserved. On a full disk it shrinks
// the file to make left bytes free.
func (r *reservedFile) resize(fs filesystem, left uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	want := uint64(0)
	if total := fs.free + r.held; total > left {
		want = min(total-left, maxReserved)
	}
	want &^= 1<<20 - 1 // whole MiB, to avoid frequent small changes
	if want == r.held || want > r.held && r.cannot {
		return nil
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("reserve disk space: %w", err)
	}
	if want < r.held {
		err = f.Truncate(int64(want))
	} else if err = allocate(f, int64(want)); err != nil && !errors.Is(err, syscall.ENOSPC) {
		r.cannot = true
	}
	if err == nil {
		r.held = want
	}
	if want > r.held {
		err = nil // not needed now
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("reserve disk space: %w", err)
	}
	return nil
}

// Size returns the total length of the files in bytes, without the reserved space, or 0 if the
// directory cannot be read. The log has its full length of 8 MiB from the start, of which the
// disk holds the written part.
//
// Badger's own figure needs its metrics and is up to a minute old.
func (s *Store) Size() int64 {
	var size int64
	err := filepath.WalkDir(s.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == reserveName {
			return err
		}
		// A compaction may have removed the file meanwhile.
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return size
}

// recordKinds are the kinds of record in the database that are counted, by key prefix.
var recordKinds = [...]struct {
	name   string
	prefix []byte
}{
	{"tokens", tokenPrefix},
	{"audit", auditPrefix},
	{"totals", dayPrefix},
	{"passwords", passwordPrefix},
	{"upstream", upstreamPrefix},
}

// auditKind is the index of the audit log in recordKinds.
const auditKind = 1

// kindOf returns the index of a key's kind in recordKinds, or -1.
func kindOf(key []byte) int {
	for i, k := range recordKinds {
		if bytes.HasPrefix(key, k.prefix) {
			return i
		}
	}
	return -1
}

// size is a number of records, and the bytes of their keys and values.
type size struct{ records, bytes int64 }

func (s *size) add(sign int64, key []byte, value int64) {
	s.records += sign
	s.bytes += sign * (int64(len(key)) + value)
}

// sizes are the sizes of all kinds of record.
type sizes [len(recordKinds)]size

// counters are sizes for concurrent use.
type counters [len(recordKinds)]struct{ records, bytes atomic.Int64 }

func (c *counters) add(more sizes) {
	for i, m := range more {
		c[i].records.Add(m.records)
		c[i].bytes.Add(m.bytes)
	}
}

// countRecords counts the records in txn, which were present when the store was opened. Later
// writes are counted with their transactions. It starts once All has read the tokens, which a
// start waits for, or when PruneAudit needs the sizes.
func (s *Store) countRecords(ctx context.Context, txn *badger.Txn) {
	defer s.running.Done()
	defer txn.Discard()
	select {
	case <-s.countingAllowed:
	case <-ctx.Done():
		return
	}
	var found sizes
	for i, k := range recordKinds {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: k.prefix})
		for it.Rewind(); it.Valid(); it.Next() {
			if ctx.Err() != nil {
				it.Close()
				return
			}
			found[i].add(1, it.Item().Key(), it.Item().ValueSize())
			runtime.Gosched() // requests come first
		}
		it.Close()
	}
	s.sizes.add(found)
	s.release()
	if _, ok := s.usage.Size(); !ok {
		if err := s.eachUsage(ctx, func(string, store.Usage) error { return nil }); err != nil && ctx.Err() == nil {
			s.log.line(slog.LevelWarn, "cannot count the usage of tokens: %v", []any{err})
		}
	}
	close(s.counted)
}

// allowCounting lets countRecords start.
func (s *Store) allowCounting() { s.allowOnce.Do(func() { close(s.countingAllowed) }) }

// Sizes returns the number and the bytes of the records of each kind, without the overhead of
// database and files. ok is false until the records present at the start are counted.
func (s *Store) Sizes() (all map[string]store.Size, ok bool) {
	select {
	case <-s.counted:
	default:
		return nil, false
	}
	all = make(map[string]store.Size, len(recordKinds)+1)
	for i, k := range recordKinds {
		all[k.name] = store.Size{Records: s.sizes[i].records.Load(), Bytes: s.sizes[i].bytes.Load()}
	}
	all["usage"], _ = s.usage.Size()
	return all, true
}

// set writes a value of at most maxValue bytes, and counts it. The caller has read the key in
// this transaction, or knows that it is new.
func (t *tx) set(key, value []byte) error {
	if len(value) > maxValue {
		return fmt.Errorf("record has %d bytes, more than the maximum of %d", len(value), maxValue)
	}
	if err := t.uncount(key); err != nil {
		return err
	}
	if k := kindOf(key); k >= 0 {
		t.sizes[k].add(1, key, int64(len(value)))
	}
	return t.Set(key, value)
}

// deleteKey deletes a key, whose value it reads, and counts it.
func (t *tx) deleteKey(key []byte) error {
	if err := t.uncount(key); err != nil {
		return err
	}
	return t.Delete(key)
}

// uncount subtracts a key's current record from the sizes.
func (t *tx) uncount(key []byte) error {
	k := kindOf(key)
	if k < 0 {
		return nil
	}
	item, err := t.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %q: %w", key, err)
	}
	t.sizes[k].add(-1, key, item.ValueSize())
	return nil
}
