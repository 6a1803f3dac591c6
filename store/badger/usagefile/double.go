package usagefile

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger/files"
)

// chunk is the number of pages that are read at once.
const chunk = 64

// double replaces the file with one of twice as many buckets. A crash leaves the old or the new one.
func (f *File) double(ctx context.Context) error {
	if err := f.opts.Room(length(f.bits + 1)); err != nil {
		return err
	}
	dir, name := filepath.Split(f.path)
	to, err := os.CreateTemp(dir, name+files.New)
	if err != nil {
		return err
	}
	err = f.copyDoubled(ctx, to)
	if err == nil {
		err = to.Sync()
	}
	if err == nil {
		err = os.Rename(to.Name(), f.path)
	}
	if err != nil {
		return errors.Join(err, to.Close(), os.Remove(to.Name()))
	}
	old := f.file
	f.file = to
	f.bits++
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.readers) == 0 {
		err = old.Close()
	} // otherwise they read on in the old file, which closes itself once nothing refers to it
	return errors.Join(err, files.SyncDir(dir))
}

// copyDoubled writes the content of the doubled file. The two halves of a bucket follow each other.
func (f *File) copyDoubled(ctx context.Context, to io.Writer) error {
	bits := f.bits + 1
	if _, err := to.Write(header(bits)); err != nil {
		return err
	}
	in, out := make([]byte, chunk*pageSize), make([]byte, 2*chunk*pageSize)
	for at := int64(pageSize); at < length(f.bits); {
		if err := ctx.Err(); err != nil {
			return err
		}
		in = in[:min(chunk*pageSize, length(f.bits)-at)]
		if _, err := f.file.ReadAt(in, at); err != nil {
			return err
		}
		f.lost(clearDamaged(in))
		out = out[:2*len(in)]
		clear(out)
		for i := 0; i < len(in); i += pageSize {
			for s := range slots(in[i:][:pageSize]) {
				half := int(store.UsageOrder(string(s[:store.IDLength]))>>(maxBits-bits)) & 1
				copySlot(out[2*i+half*pageSize:][:pageSize], s)
			}
			runtime.Gosched() // requests come first
		}
		for i := 0; i < len(out); i += sectorSize {
			seal(out[i:][:sectorSize])
		}
		if _, err := to.Write(out); err != nil {
			return err
		}
		at += int64(len(in))
	}
	return nil
}
