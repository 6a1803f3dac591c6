package usagefile

import (
	"fmt"
	"os"
	"slices"

	"github.com/tokengate/tokengate/store"
)

// Reader reads the usage of all tokens as it was when the Reader was made. The file may change and
// double meanwhile: sectors that change before they are read are kept in memory.
type Reader struct {
	of     *File
	file   *os.File         // of before it doubled
	length int64            // of file
	before map[int64][]byte // by offset; sectors that changed since
	at     int64            // the first byte not read yet
	part   []byte           // the pages that were read last

	base, found int64 // slots in use: of.used at the start, and those found so far
	damaged     int   // sectors
}

// NewReader returns a Reader. Close it.
func (f *File) NewReader() *Reader {
	r := &Reader{
		of: f, file: f.file, length: length(f.bits), before: make(map[int64][]byte),
		at: pageSize, part: make([]byte, chunk*pageSize), base: f.used.Load(),
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers = append(f.readers, r)
	return r
}

// Close ends the reading. It may be called at any time, as may Visit.
func (r *Reader) Close() {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	r.of.readers = slices.DeleteFunc(r.of.readers, func(other *Reader) bool { return other == r })
}

// keep keeps the sectors of a part for readers before it changes.
func (f *File) keep(p part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.readers {
		for i := 0; i < len(p.before); i += sectorSize {
			if at := p.at + int64(i); r.file == f.file && at >= r.at && r.before[at] == nil {
				r.before[at] = p.before[i:][:sectorSize]
			}
		}
	}
}

// Next reads the next part of the file; more is false at the end.
func (r *Reader) Next() (more bool, err error) {
	r.part = r.part[:min(chunk*pageSize, r.length-r.at)]
	if len(r.part) == 0 {
		r.of.lost(r.damaged)
		if !r.of.counted.Swap(true) {
			r.of.used.Add(r.found - r.base)
		}
		return false, nil
	}
	if _, err := r.file.ReadAt(r.part, r.at); err != nil {
		return false, fmt.Errorf("read usage: %w", err)
	}
	for i := 0; i < len(r.part); i += sectorSize {
		if old := r.before[r.at+int64(i)]; old != nil {
			copy(r.part[i:], old)
			delete(r.before, r.at+int64(i))
		}
	}
	r.damaged += clearDamaged(r.part)
	for i := 0; i < len(r.part); i += sectorSize {
		r.found += int64(used(r.part[i:]))
	}
	r.at += int64(len(r.part))
	return true, nil
}

// Visit calls visit with each usage in the part that Next has read.
func (r *Reader) Visit(visit func(id string, u store.Usage) error) error {
	for i := 0; i < len(r.part); i += pageSize {
		for s := range slots(r.part[i:][:pageSize]) {
			if err := visit(string(s[:store.IDLength]), decode(s)); err != nil {
				return err
			}
		}
	}
	return nil
}
