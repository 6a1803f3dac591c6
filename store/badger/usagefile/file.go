// Package usagefile keeps the usage of tokens in a hash table on disk, which is updated in place: an
// update reads a page and writes a sector, and no token takes memory. Start reading at File.
package usagefile

import (
	"bytes"
	"cmp"
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

// change is the new usage of a token.
type change struct {
	hash  uint32
	id    string
	usage store.Usage // zero: the token's slot is freed
}

// Update calls to with each id and its usage, or the zero Usage, and then stores the results; the
// zero Usage removes an id. to may be called more than once for an id. If it returns an error, or if
// the file cannot be read or doubled, nothing is stored.
func (f *File) Update(
	ctx context.Context, ids []string, to func(id string, u store.Usage) (store.Usage, error),
) error {
	all := make([]change, 0, len(ids))
	for _, id := range ids {
		if len(id) == store.IDLength { // no token has another id
			all = append(all, change{hash: hash([]byte(id)), id: id})
		}
	}
	// Neighbours on disk are read and written together.
	slices.SortFunc(all, func(a, b change) int { return cmp.Compare(a.hash, b.hash) })
	for {
		changes, full, err := f.plan(all, to)
		if err != nil {
			return err
		}
		if !full {
			return f.apply(changes)
		}
		if err := f.double(ctx); err != nil {
			return fmt.Errorf("double the file of usage: %w", err)
		}
	}
}

// plan returns the changes that are necessary, or that a bucket is too full for them.
func (f *File) plan(
	all []change, to func(id string, u store.Usage) (store.Usage, error),
) (changes []change, full bool, err error) {
	p := bucket{file: f}
	room := 0
	for _, c := range all {
		moved, err := p.read(c.hash)
		if err != nil {
			return nil, false, err
		}
		if moved {
			room = free(p.page[:])
		}
		sector, n, found := find(p.page[:], c.id)
		var before store.Usage
		if found {
			before = decode(slot(sectorOf(p.page[:], sector), n))
		}
		if c.usage, err = to(c.id, before); err != nil {
			return nil, false, err
		}
		if c.usage == before {
			continue
		}
		if !found {
			if room--; room < 0 {
				return nil, true, nil
			}
		}
		changes = append(changes, c)
		runtime.Gosched() // requests come first
	}
	return changes, false, nil
}

// apply stores changes for which there is room.
func (f *File) apply(changes []change) error {
	p := bucket{file: f}
	for _, c := range changes {
		if _, err := p.read(c.hash); err != nil {
			return err
		}
		sector, n, _ := find(p.page[:], c.id)
		s := sectorOf(p.page[:], sector)
		at := p.at + int64(sector)*sectorSize
		f.keep(at, s)
		before := used(s)
		if c.usage == (store.Usage{}) {
			remove(s, n)
		} else {
			put(s, n, c.id, c.usage)
		}
		seal(s)
		if _, err := f.file.WriteAt(s, at); err != nil {
			return fmt.Errorf("write usage: %w", err)
		}
		f.used.Add(int64(used(s) - before))
		runtime.Gosched() // requests come first
	}
	return nil
}

// bucket is a bucket in memory.
type bucket struct {
	file *File
	at   int64 // its offset in the file; 0: none was read
	page [pageSize]byte
}

// read reads the bucket of a hash, unless it has it. moved reports whether it read.
func (b *bucket) read(hash uint32) (moved bool, err error) {
	at := pageSize * (1 + int64(uint64(hash)>>(maxBits-b.file.bits)))
	if at == b.at {
		return false, nil
	}
	if _, err := b.file.file.ReadAt(b.page[:], at); err != nil {
		return false, fmt.Errorf("read usage: %w", err)
	}
	b.at = at
	b.file.lost(clearDamaged(b.page[:]))
	return true, nil
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
