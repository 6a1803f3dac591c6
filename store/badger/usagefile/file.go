// Package usagefile keeps the usage of tokens in a hash table on disk, which is updated in place: an
// update reads a page and writes a sector, and no token takes memory. Start reading at File.
package usagefile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger/files"
)

// File is an open file of usage: a page with a header, and 2^k pages that are the buckets of a hash
// table. A full bucket doubles the file. A file never becomes smaller.
//
// Only one call may run at a time, unless a method says otherwise. Writes do not wait for the disk.
type File struct {
	path string
	opts Options
	file *os.File
	bits uint // the number of buckets is 2^bits

	used    atomic.Int64 // slots; before the first complete Reader, the change since Open
	counted atomic.Bool  // by a complete Reader
	warned  sync.Once

	mu      sync.Mutex // guards readers
	readers []*Reader
}

// Options configures Open.
type Options struct {
	// Room returns an error if there are not so many bytes of disk space.
	Room func(bytes int64) error

	// Warn receives messages about lost usage, at most one about damaged sectors. They contain
	// no records.
	Warn func(message string)
}

// Damaged follows the file's name in the name to which Open renames a file that it cannot use.
const Damaged = ".damaged"

// firstBits is the size of a new file: 16 buckets.
const firstBits = 4

// maxBits is the number of bits of a hash.
const maxBits = 32

var magic = [8]byte{'t', 'g', 'u', 's', 'e', 0, 0, 1}

// header returns the first page: magic, bits and a CRC-32C.
func header(bits uint) []byte {
	page := make([]byte, pageSize)
	copy(page, magic[:])
	binary.BigEndian.PutUint32(page[8:], uint32(bits))
	binary.BigEndian.PutUint32(page[12:], crc32.Checksum(page[:12], castagnoli))
	return page
}

// length returns the length of a file in bytes.
func length(bits uint) int64 { return pageSize + pageSize<<bits }

// Open opens the file at path, or makes one: isNew. An unusable file is renamed, and a new one takes
// its place.
func Open(path string, opts Options) (f *File, isNew bool, err error) {
	f = &File{path: path, opts: opts}
	err = f.open()
	if reason := error(nil); errors.As(err, new(unusable)) {
		reason, err = err, os.Rename(path, path+Damaged)
		if err == nil {
			f.warn("%v: it was renamed to %s, and the usage of all tokens is lost", reason, filepath.Base(path)+Damaged)
			err = f.create()
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		isNew, err = true, f.create()
	}
	if err != nil {
		return nil, false, fmt.Errorf("open the file of usage: %w", err)
	}
	return f, isNew, nil
}

func (f *File) create() error {
	content := append(header(firstBits), make([]byte, pageSize<<firstBits)...)
	if err := files.Replace(f.path, content); err != nil {
		return err
	}
	return f.open()
}

// unusable is the error of a file that has to be replaced.
type unusable string

func (u unusable) Error() string { return string(u) }

func (f *File) open() error {
	name := filepath.Base(f.path)
	// A named pipe would block, and opening a device may have any effect.
	info, err := os.Stat(f.path)
	if err == nil && !info.Mode().IsRegular() {
		return unusable(name + " is not a file")
	}
	if _, there := os.Lstat(f.path); errors.Is(err, fs.ErrNotExist) && there == nil {
		return unusable(name + " is a dangling link")
	}
	if err != nil {
		return err
	}
	file, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	page := make([]byte, pageSize)
	if _, err = file.ReadAt(page, 0); err == nil || errors.Is(err, io.EOF) {
		bits := uint(binary.BigEndian.Uint32(page[8:]))
		if bits > maxBits || !bytes.Equal(page[:16], header(bits)[:16]) {
			return errors.Join(unusable(name+" has no readable header"), file.Close())
		}
		f.file, f.bits, err = file, bits, nil
		if missing := length(bits) - info.Size(); missing > 0 {
			f.warn("%s is %d bytes shorter than it was: the usage of some tokens is lost", name, missing)
			err = file.Truncate(length(bits))
		}
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	return nil
}

func (f *File) warn(format string, args ...any) { f.opts.Warn(fmt.Sprintf(format, args...)) }

// lost warns of damaged sectors, once.
func (f *File) lost(sectors int) {
	if sectors > 0 {
		f.warned.Do(func() {
			f.warn("%s has damaged sectors, %d were found: the usage of up to %d tokens is lost",
				filepath.Base(f.path), sectors, perSector*sectors)
		})
	}
}

// Update calls to with each id, in store.UsageOrder, and its usage, or the zero Usage, and then stores
// the results; the zero Usage removes an id. to may be called more than once for an id. If it returns
// an error, or if the file cannot be read or doubled, nothing is stored.
func (f *File) Update(
	ctx context.Context, ids []string, to func(id string, u store.Usage) (store.Usage, error),
) error {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return len(id) != store.IDLength }) // no token's
	for {
		changed, full, err := f.change(ids, to)
		if err != nil {
			return err
		}
		if !full {
			return f.write(changed)
		}
		if err := f.double(ctx); err != nil {
			return fmt.Errorf("double the file of usage: %w", err)
		}
	}
}

// change returns the changed parts of the buckets, or that a bucket is full.
func (f *File) change(
	ids []string, to func(id string, u store.Usage) (store.Usage, error),
) (changed []part, full bool, err error) {
	var at int64 // of page
	page, before := make([]byte, pageSize), make([]byte, pageSize)
	for n, id := range ids {
		if bucket := f.bucket(id); bucket != at {
			at = bucket
			if _, err := f.file.ReadAt(page, at); err != nil {
				return nil, false, fmt.Errorf("read usage: %w", err)
			}
			f.lost(clearDamaged(page))
			copy(before, page)
		}
		sector, slot, found := find(page, id)
		var old store.Usage
		if found {
			old = decode(slotOf(sectorOf(page, sector), slot))
		}
		u, err := to(id, old)
		switch {
		case err != nil:
			return nil, false, err
		case u == old:
		case u == store.Usage{}:
			remove(sectorOf(page, sector), slot)
		case sector < 0:
			return nil, true, nil
		default:
			put(sectorOf(page, sector), slot, id, u)
		}
		if n+1 == len(ids) || f.bucket(ids[n+1]) != at {
			changed = appendChanged(changed, at, before, page)
			runtime.Gosched() // requests come first
		}
	}
	return changed, false, nil
}

// bucket returns the offset of an id's bucket, whose number is the highest bits of the hash.
func (f *File) bucket(id string) int64 {
	return pageSize * (1 + int64(uint64(store.UsageOrder(id))>>(maxBits-f.bits)))
}

// part is a changed part of a bucket: whole sectors.
type part struct {
	at            int64 // the offset in the file
	before, after []byte
}

// appendChanged appends the part of a page that has changed, if any.
func appendChanged(changed []part, at int64, before, page []byte) []part {
	first, end := -1, 0
	for i := range sectors {
		if s := sectorOf(page, i); !bytes.Equal(s, sectorOf(before, i)) {
			seal(s)
			if end = (i + 1) * sectorSize; first < 0 {
				first = i * sectorSize
			}
		}
	}
	if first < 0 {
		return changed
	}
	return append(changed, part{at + int64(first), slices.Clone(before[first:end]), slices.Clone(page[first:end])})
}

// write writes changed parts. If a crash cuts a write short, each sector is the old or the new one.
func (f *File) write(changed []part) error {
	for _, p := range changed {
		f.keep(p)
		if _, err := f.file.WriteAt(p.after, p.at); err != nil {
			return fmt.Errorf("write usage: %w", err)
		}
		for i := 0; i < len(p.after); i += sectorSize {
			f.used.Add(int64(used(p.after[i:]) - used(p.before[i:])))
		}
		runtime.Gosched() // requests come first
	}
	return nil
}

// Size returns the slots in use and their bytes; ok is false until a Reader has read all. It may be
// called at any time.
func (f *File) Size() (size store.Size, ok bool) {
	n := f.used.Load()
	return store.Size{Records: n, Bytes: n * slotSize}, f.counted.Load()
}

// Sync returns once the disk has everything.
func (f *File) Sync() error { return f.file.Sync() }

// Close syncs and closes the file.
func (f *File) Close() error { return errors.Join(f.file.Sync(), f.file.Close()) }
