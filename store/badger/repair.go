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

// lostPrefix starts the name of a directory, in the data directory, for the files as they were
// before an open with AcceptLoss.
const lostPrefix = "tokengate.lost-"

// preserve calls move with a new directory in the data directory, to preserve files in, and logs
// its name.
func (i *inspection) preserve(log logger, move func(kept string) error) error {
	kept, err := os.MkdirTemp(i.dir, lostPrefix)
	if err != nil {
		return fmt.Errorf("keep the damaged files: %w", err)
	}
	defer func() {
		if os.Remove(kept) != nil { // it is not empty
			log.line(slog.LevelWarn, "the original files are kept in %s", []any{kept})
		}
	}()
	return move(kept)
}

// repair makes Badger able to open the directory with all data that is left: intact tables are
// used even if MANIFEST does not list them. Files that repair or Badger will change are
// preserved.
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
		return nil // Badger creates a new one
	}
	for _, id := range i.orphans {
		name := table.IDToFilename(id)
		if err := files.CheckTable(i.path(name)); err != nil {
			if err := os.Rename(i.path(name), filepath.Join(kept, name)); err != nil {
				return fmt.Errorf("keep the damaged files: %w", err)
			}
			continue
		}
		i.tables[id] = files.Entry{} // at level 0 tables may overlap, and the newest version of a key wins
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

// accept repairs a directory with problems, logs them and the losses, and returns a new
// inspection.
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
		log.line(slog.LevelWarn, "the content of missing or damaged files is lost, even where a change's audit record exists", nil)
	}
	switch {
	case after.uncertainUpTo > 0:
		log.line(slog.LevelWarn, "%s", []any{after.uncertain()})
	case !missing && !i.noLedger:
		log.line(slog.LevelWarn, "after the repair no audit record of an acknowledged change is missing", nil)
	}
	log.line(slog.LevelWarn, "remove --accept-loss for the next start", nil)
	after.ledger.manifest = files.Mark{}
	after.problems, after.accepted = nil, true
	return after, nil
}

// setAside moves files that cannot be opened away, so that the rest can be inspected.
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
