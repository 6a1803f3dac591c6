package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/badger/badgertest"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/index"
)

// dataRoot keeps filled stores between runs, because filling one with a million
// tokens takes longer than measuring it. `make clean` removes it.
const dataRoot = ".build/bench-data"

// copyStore returns a directory with "store", a copy of a store that holds the
// first size tokens of the dataset. The caller removes it.
func copyStore(ctx context.Context, size int) (dir string, err error) {
	filled, err := filledStore(ctx, size)
	if err != nil {
		return "", fmt.Errorf("fill a store with %d tokens: %w", size, err)
	}
	if dir, err = os.MkdirTemp(dataRoot, "run"); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if err := os.CopyFS(filepath.Join(dir, "store"), os.DirFS(filled)); err != nil {
		return "", err
	}
	unix.Sync() // writing the copy to disk later would disturb the measurement
	return dir, nil
}

// filledStore returns the directory of a store that is never opened again. Its name
// depends on the form of the records, so that a change of them fills a new one.
func filledStore(ctx context.Context, size int) (string, error) {
	sum := sha256.New()
	for i := range 20 {
		t, err := recordOf(i)
		if err != nil {
			return "", err
		}
		record, err := store.EncodeToken(t)
		if err != nil {
			return "", err
		}
		sum.Write(record)
	}
	dir := filepath.Join(dataRoot, fmt.Sprintf("%d-%x", size, sum.Sum(nil)[:4]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	progress("filling a store with %d tokens in %s, once", size, dir)
	if err := os.MkdirAll(dataRoot, 0o700); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(dataRoot, "new")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	s, err := badger.Open(ctx, badger.Options{Dir: fresh}) // writes the schema
	if err != nil {
		return "", err
	}
	if err := s.Close(); err != nil {
		return "", err
	}
	all := func(yield func(store.Token, error) bool) { records(size, yield) }
	if err := badgertest.Fill(ctx, fresh, all); err != nil {
		return "", err
	}
	return dir, os.Rename(fresh, dir)
}

// localStore is a store that this process has opened, and what decides with it.
type localStore struct {
	dir    string
	db     store.Store
	tokens *cached.Store
	view   authz.View
}

func openStore(ctx context.Context, size int) (_ *localStore, err error) {
	l := &localStore{}
	if l.dir, err = copyStore(ctx, size); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.db, err = badger.Open(ctx, badger.Options{Dir: filepath.Join(l.dir, "store")}); err != nil {
		return nil, err
	}
	if l.tokens, err = cached.New(ctx, l.db); err != nil {
		return nil, err
	}
	l.view = permitAll(l.tokens.Index())
	return l, nil
}

func (l *localStore) close() error {
	var err error
	if l.db != nil {
		err = l.db.Close()
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// permitAll returns a view with the default policy in which every owner may use
// tokens.
func permitAll(tokens *index.Index) authz.View {
	tokens.SetTokensFresh(store.Forever)
	tokens.UpdateOwnerStatus(func(store.Owner, index.OwnerStatus) index.OwnerStatus { return index.OwnerPermitted }, store.Forever)
	return authz.View{Policy: policy.New(config.Default()), Index: tokens, Now: benchTime}
}
