package badger

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/tokengate/tokengate/store/badger/files"
)

// maxWindow is the number of audit records, counted from the newest, that are looked up one by
// one. One log and the tables written from it hold fewer.
const maxWindow = 1 << 16

// checkRecords looks in tables and logs for the acknowledged audit records and the database's
// identity.
func (i *inspection) checkRecords() {
	last := i.ledger.sequence
	first := max(i.ledger.from, 1)
	if last >= maxWindow {
		first = max(first, last-maxWindow+1)
	}
	seen := newWindow(first, last)
	var identityVersion uint64
	take := func(r files.Record) {
		switch {
		case string(r.Key) == string(identityKey):
			if r.Version < identityVersion {
				return
			}
			identityVersion, i.identity = r.Version, nil
			if len(r.Value) == len(i.ledger.identity) && !r.Deleted {
				i.identity = slices.Clone(r.Value)
			}
		case len(r.Key) == len(auditPrefix)+8 && strings.HasPrefix(string(r.Key), string(auditPrefix)):
			if s, err := trailingNumber(r.Key); err == nil {
				seen.add(s, r)
			}
		}
	}
	ranges := []files.Range{{From: identityKey, To: identityKey}, {From: auditKey(first), To: auditKey(last)}}
	for _, id := range slices.Sorted(maps.Keys(i.tables)) {
		if err := files.ReadTable(table.NewFilename(id, i.dir), i.tables[id].Compression, take, ranges...); err != nil {
			i.unusable(table.IDToFilename(id), err)
		}
	}
	for _, name := range i.withSuffix(".mem") {
		if err := files.ReadLog(i.path(name), take); err != nil {
			i.unusable(name, err)
		}
	}
	switch {
	case i.noLedger && i.identity != nil:
		i.report(ErrDamaged, "%s is missing or unreadable, so that losses cannot be detected", ledgerName)
	case i.noLedger:
	case i.identity != nil && string(i.identity) != string(i.ledger.identity[:]):
		i.report(ErrLost, "the database has identity %s, but %s belongs to %s",
			hex.EncodeToString(i.identity), ledgerName, hex.EncodeToString(i.ledger.identity[:]))
	}
	missing, unknown := seen.missing()
	if i.uncertainUpTo = unknown; missing != "" {
		i.report(ErrLost, "the changes up to number %d were acknowledged, but %s", last, missing)
	}
}

// window records which of the audit records first to last were found.
type window struct {
	first   uint64
	version []uint64 // the newest version found; 0: none
	deleted []bool   // that version is a deletion
}

func newWindow(first, last uint64) *window {
	size := uint64(0)
	if last >= first {
		size = last - first + 1
	}
	return &window{first: first, version: make([]uint64, size), deleted: make([]bool, size)}
}

func (w *window) add(sequence uint64, r files.Record) {
	if at := sequence - w.first; sequence >= w.first && at < uint64(len(w.version)) && r.Version >= w.version[at] {
		w.version[at], w.deleted[at] = r.Version, r.Deleted
	}
}

// missing describes the records that should exist: the newest, and all that are newer than an
// existing one. The oldest are pruned in order, so records up to the number unknown may be pruned
// or lost.
func (w *window) missing() (text string, unknown uint64) {
	unknown = w.first - 1
	oldest := 0
	for ; oldest < len(w.version)-1 && (w.version[oldest] == 0 || w.deleted[oldest]); oldest++ {
		unknown = w.first + uint64(oldest)
		if w.deleted[oldest] {
			unknown = 0 // it was pruned, with all before it
		}
	}
	var ranges []string
	count := 0
	for n := oldest; n < len(w.version); n++ {
		if w.version[n] != 0 {
			continue
		}
		from := n
		for n+1 < len(w.version) && w.version[n+1] == 0 {
			n++
		}
		count += n - from + 1
		if len(ranges) < maxShown {
			ranges = append(ranges, formatRange(w.first+uint64(from), w.first+uint64(n)))
		}
	}
	switch {
	case count == 0:
		return "", unknown
	case oldest < len(w.version)-1 || w.version[oldest] != 0:
		return fmt.Sprintf("the records of %d of them (%s) are missing", count, strings.Join(ranges, ", ")), unknown
	case w.first == 1:
		return "all their records are missing", 0
	}
	return fmt.Sprintf("all records from number %d on are missing", w.first), w.first - 1
}

func formatRange(from, to uint64) string {
	if from == to {
		return strconv.FormatUint(from, 10)
	}
	return fmt.Sprintf("%d to %d", from, to)
}

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
