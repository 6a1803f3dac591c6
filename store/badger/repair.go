package badger

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/tokengate/tokengate/store/badger/files"
)

// lostPrefix begins the name of a directory, in the data directory, for files as
// they were before an open with AcceptLoss.
const lostPrefix = "tokengate.lost-"

// preserve has move put files into a new directory in the data directory, and says in
// the log where they are.
func (i *inspection) preserve(log logger, move func(kept string) error) error {
	kept, err := os.MkdirTemp(i.dir, lostPrefix)
	if err != nil {
		return fmt.Errorf("keep the damaged files: %w", err)
	}
	defer func() {
		if os.Remove(kept) != nil { // it is not empty
			log.line(slog.LevelWarn, "the files as they were before the repair are kept in %s", []any{kept})
		}
	}()
	return move(kept)
}

// repair makes a directory with problems one that Badger opens with all that is
// there: tables that are whole are used even if MANIFEST does not name them. The
// files that it changes, or that Badger will, are kept as they were.
func (i *inspection) repair(kept string) (err error) {
	for _, name := range i.names {
		path := i.path(name)
		switch {
		case slices.Contains(i.broken, name) && name != badger.ManifestFilename:
			err = os.Rename(path, filepath.Join(kept, name))
		case name == badger.ManifestFilename, name == ledgerName, strings.HasSuffix(name, ".mem"):
			err = copyFile(filepath.Join(kept, name), path)
		}
		if err != nil {
			return fmt.Errorf("keep the damaged files: %w", err)
		}
	}
	if !slices.Contains(i.names, badger.ManifestFilename) && !i.hasSuffix(".sst") {
		return nil // Badger makes a new one
	}
	for _, id := range i.orphans {
		name := table.IDToFilename(id)
		if err := files.CheckTable(i.path(name)); err != nil {
			if err := os.Rename(i.path(name), filepath.Join(kept, name)); err != nil {
				return fmt.Errorf("keep the damaged files: %w", err)
			}
			continue
		}
		i.tables[id] = files.Entry{} // at level 0 tables may overlap, and the newest version of a key counts
	}
	return files.WriteManifest(i.dir, i.tables)
}

func copyFile(to, from string) error {
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

// accept repairs a directory with problems, says in the log what was found and
// what is lost, and returns how it is then.
func (i *inspection) accept(log logger) (*inspection, error) {
	for _, p := range i.problems {
		log.line(slog.LevelWarn, "loss accepted: %s", []any{p.text})
	}
	if err := i.preserve(log, i.repair); err != nil {
		return nil, err
	}
	after, err := inspect(i.dir, true)
	if err != nil {
		return nil, err
	}
	missing := false
	for _, p := range after.problems {
		if p.kind == ErrLost {
			missing = true
			log.line(slog.LevelWarn, "lost: %s", []any{p.text})
		}
	}
	if i.dataMissing {
		log.line(slog.LevelWarn, "what the missing or damaged files held is lost, even where the audit record of a change is there", nil)
	}
	switch {
	case after.uncertainUpTo > 0:
		log.line(slog.LevelWarn, "%s", []any{after.uncertain()})
	case !missing && !i.noLedger:
		log.line(slog.LevelWarn, "after the repair the audit records of all acknowledged changes are there", nil)
	}
	log.line(slog.LevelWarn, "start without --accept-loss from now on", nil)
	after.ledger.manifest = files.Mark{}
	after.problems, after.accepted = nil, true
	return after, nil
}

// setAside moves what cannot be opened out of the way, so that the rest can be
// inspected.
func (i *inspection) setAside(log logger) error {
	for _, p := range i.problems {
		log.line(slog.LevelWarn, "loss accepted: %s", []any{p.text})
	}
	return i.preserve(log, func(kept string) error {
		for _, name := range i.broken {
			if err := os.Rename(i.path(name), filepath.Join(kept, name)); err != nil {
				return fmt.Errorf("keep the damaged files: %w", err)
			}
		}
		return nil
	})
}
