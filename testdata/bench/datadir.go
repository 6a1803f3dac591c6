package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	badgerdb "github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/badger/badgertest"
)

// dataRoot keeps data directories from run to run: to fill one with a million
// tokens takes longer than to measure it.
const dataRoot = ".build/bench-data"

// dataOf returns a directory that holds a store with the first size tokens of
// the fleet, as nobody has ever used it. It is made if it is not there. Whoever
// wants to open it takes a copy.
func dataOf(ctx context.Context, size int) (string, error) {
	dir, err := madeData(ctx, size)
	if err != nil {
		return "", fmt.Errorf("make a store of %d tokens: %w", size, err)
	}
	return dir, nil
}

func madeData(ctx context.Context, size int) (string, error) {
	if err := os.MkdirAll(dataRoot, 0o700); err != nil {
		return "", err
	}
	made, err := os.MkdirTemp(dataRoot, "new")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(made)
	basis, err := emptyStore(ctx, made)
	if err != nil {
		return "", err
	}
	name, err := basis.name(size)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(dataRoot, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	progress("making a store of %d tokens in %s, once", size, dir)
	if err := fill(ctx, made, size); err != nil {
		return "", err
	}
	if err := verify(ctx, made, size); err != nil {
		return "", err
	}
	return dir, os.Rename(made, dir)
}

// basis is what a store holds that nothing was ever written to, as text.
type basis string

// emptyStore makes an empty store in dir and returns what is in it.
func emptyStore(ctx context.Context, dir string) (basis, error) {
	s, err := badger.Open(ctx, badger.Options{Dir: dir})
	if err != nil {
		return "", err
	}
	if err := s.Close(); err != nil {
		return "", err
	}
	db, err := badgerdb.Open(badgerdb.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		return "", err
	}
	var all strings.Builder
	err = db.View(func(txn *badgerdb.Txn) error {
		it := txn.NewIterator(badgerdb.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			fmt.Fprintf(&all, "%q=%q\n", it.Item().Key(), value)
		}
		return nil
	})
	return basis(all.String()), errors.Join(err, db.Close())
}

// name is a name for a filled directory that another one gets if the schema, a
// record's form or the fleet change.
func (b basis) name(size int) (string, error) {
	sum := sha256.New()
	io.WriteString(sum, string(b))
	for i := range 20 {
		t, err := recordOf(i, kindOf(i))
		if err != nil {
			return "", err
		}
		record, err := store.EncodeToken(t)
		if err != nil {
			return "", err
		}
		sum.Write(record)
	}
	return fmt.Sprintf("%d-%x", size, sum.Sum(nil)[:4]), nil
}

// fill writes the tokens into an empty store. All are among their owners' live
// ones: none is revoked, and the last one comes before the first one expires.
func fill(ctx context.Context, dir string, size int) error {
	return badgertest.Fill(ctx, dir, func(yield func(store.Token, error) bool) {
		for i := range size {
			if !yield(recordOf(i, kindOf(i))) {
				return
			}
		}
	})
}

// verify reads a filled directory as the server does.
func verify(ctx context.Context, dir string, size int) error {
	s, err := badger.Open(ctx, badger.Options{Dir: dir})
	if err != nil {
		return err
	}
	var found atomic.Int64
	err = s.All(ctx, func(store.Token) error {
		found.Add(1)
		return nil
	})
	for _, i := range []int{0, size / 2, size - 1} {
		if err != nil {
			break
		}
		var page store.Page
		page, err = s.List(ctx, ownerOf(i), 0, size)
		if err != nil {
			break
		}
		var live []store.Token
		live, err = s.Live(ctx, ownerOf(i))
		this := func(t store.Token) bool { return t.Number == uint64(i)+1 }
		if err == nil && !(slices.ContainsFunc(page.Tokens, this) && slices.ContainsFunc(live, this)) {
			err = fmt.Errorf("token %d is not among its owner's", i)
		}
	}
	if err == nil && found.Load() != int64(size) {
		err = fmt.Errorf("it holds %d tokens", found.Load())
	}
	return errors.Join(err, s.Close())
}

// copyData copies a data directory, and waits until it is on disk: writing it
// out later would disturb what is measured.
func copyData(from, to string) error {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		return copyFile(path, target)
	})
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
