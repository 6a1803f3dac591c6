package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/tokengate/tokengate/store/badger/files"
)

// ErrLost means that acknowledged changes are missing: the data is older than it was, or a part
// of it is gone. A revoked token could be active again.
var ErrLost = errors.New("acknowledged changes are missing")

// inspection is the result of inspecting a data directory before Badger opens and changes it.
type inspection struct {
	dir      string
	ledger   state
	noLedger bool // there is no ledger
	accepted bool // there were problems, which were accepted
	repaired bool // the directory has just been repaired

	names    []string // of the files
	manifest files.Manifest
	tables   map[uint64]files.Entry // intact tables in MANIFEST
	orphans  []uint64               // tables that are not in MANIFEST, such as a crash may leave
	broken   []string               // names of files that Badger cannot use
	identity []byte                 // of the database; nil: none

	problems      []problem
	dataMissing   bool   // a table or a log is missing or damaged
	uncertainUpTo uint64 // audit records up to this one are pruned or lost
	permissionErr error  // a file that this user may not read
}

// problem is one reason not to open the directory.
type problem struct {
	kind error // ErrDamaged or ErrLost
	text string
}

func (i *inspection) report(kind error, format string, args ...any) {
	i.problems = append(i.problems, problem{kind, fmt.Sprintf(format, args...)})
}

// unusable reports a file that Badger cannot use.
func (i *inspection) unusable(name string, err error) {
	if errors.Is(err, fs.ErrPermission) {
		i.permissionErr = err
		return
	}
	i.broken = append(i.broken, name)
	i.dataMissing = i.dataMissing || strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".mem")
	i.report(ErrDamaged, "%s: %v", name, err)
}

// maxShown is the number of problems in an error.
const maxShown = 5

// err returns an error with all problems, or nil.
func (i *inspection) err() error {
	if len(i.problems) == 0 {
		return nil
	}
	var kinds []string
	var all []any
	for _, kind := range []error{ErrDamaged, ErrLost} {
		if slices.ContainsFunc(i.problems, func(p problem) bool { return p.kind == kind }) {
			kinds, all = append(kinds, "%w"), append(all, kind)
		}
	}
	all = append(all, i.dir, i.text(), advice)
	return fmt.Errorf(strings.Join(kinds, ", ")+": %s: %s; %s", all...)
}

const advice = "nothing was changed; restore the whole directory from a backup, or read about " +
	"--accept-loss in README and start once with it"

func (i *inspection) text() string {
	var texts []string
	for n, p := range i.problems {
		if n == maxShown {
			texts = append(texts, fmt.Sprintf("and %d more", len(i.problems)-maxShown))
			break
		}
		texts = append(texts, p.text)
	}
	if i.uncertainUpTo > 0 {
		texts = append(texts, i.uncertain())
	}
	return strings.Join(texts, "; ")
}

// uncertain says which records are pruned or lost.
func (i *inspection) uncertain() string {
	return fmt.Sprintf("records up to number %d may be lost as well or may have been pruned", i.uncertainUpTo)
}

// inspect reads the files in dir and changes none. Its error is about reading the directory;
// problems with the files are in the inspection. After a repair MANIFEST is not compared with the
// ledger.
func inspect(dir string, repaired bool) (*inspection, error) {
	i := &inspection{dir: dir, repaired: repaired, tables: make(map[uint64]files.Entry)}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read data directory: %w", err)
	}
	for _, e := range entries {
		i.names = append(i.names, e.Name())
	}
	switch i.ledger, err = readLedger(dir); {
	case errors.Is(err, fs.ErrNotExist):
		i.noLedger = true
	case errors.Is(err, errLedger):
		i.noLedger = true
		i.report(ErrDamaged, "%v", err)
	case err != nil:
		return nil, err
	}
	if i.checkFiles() || repaired {
		i.checkRecords()
	}
	if err := i.unreadable(); err != nil {
		return nil, err
	}
	return i, nil
}

// unreadable returns an error about a file that this user may not read, or nil.
func (i *inspection) unreadable() error {
	if i.permissionErr == nil {
		return nil
	}
	return fmt.Errorf("the data directory is not readable by this user: %w", i.permissionErr)
}

// hasSuffix reports whether there is a file with the suffix.
func (i *inspection) hasSuffix(ending string) bool { return len(i.withSuffix(ending)) > 0 }

func (i *inspection) withSuffix(ending string) (names []string) {
	for _, name := range i.names {
		if strings.HasSuffix(name, ending) {
			names = append(names, name)
		}
	}
	return names
}

func (i *inspection) path(name string) string { return filepath.Join(i.dir, name) }

// isNew reports whether there is no database and no sign of an earlier one.
func (i *inspection) isNew() bool {
	return !slices.Contains(i.names, badger.ManifestFilename) && len(i.problems) == 0
}

// removeLeftovers removes files that a killed process left: temporary files, and empty logs,
// which Badger does not open.
func (i *inspection) removeLeftovers() error {
	for _, name := range append(i.withSuffix(".mem"), i.withSuffix(".vlog")...) {
		if info, err := os.Stat(i.path(name)); err == nil && info.Size() == 0 {
			if err := os.Remove(i.path(name)); err != nil {
				return fmt.Errorf("remove an empty log: %w", err)
			}
		}
	}
	for _, name := range i.names {
		old := name == "tokengate.probe" // of an earlier version
		for _, begun := range []string{probePrefix, ledgerName + files.New, usageName + files.New, badger.ManifestFilename + files.New} {
			old = old || strings.HasPrefix(name, begun)
		}
		if !old {
			continue
		}
		if err := os.Remove(i.path(name)); err != nil {
			return fmt.Errorf("remove a leftover file: %w", err)
		}
	}
	return nil
}

// checkFiles checks each file by itself, and reports whether there is a readable MANIFEST.
func (i *inspection) checkFiles() (listed bool) {
	var err error
	switch i.manifest, err = files.ReadManifest(i.dir, false); {
	case errors.Is(err, fs.ErrNotExist):
		// Badger creates MANIFEST first, so no crash leaves these without it.
		switch {
		case i.hasSuffix(".sst") || i.hasSuffix(".mem"):
			i.report(ErrDamaged, "there are tables or logs but no %s", badger.ManifestFilename)
		case i.ledger.sequence > 0:
			i.report(ErrLost, "the database is gone, only %s is left", ledgerName)
		case i.hasSuffix(".vlog") || i.hasSuffix(badger.KeyRegistryFileName) || i.hasSuffix(discardName):
			i.report(ErrDamaged, "there are files of a database but no %s", badger.ManifestFilename)
		}
	case err != nil:
		i.unusable(badger.ManifestFilename, err)
	case !i.noLedger && !i.repaired && !i.manifest.Follows(i.ledger.manifest):
		i.report(ErrLost, "%s is older or shorter than it was: it has %d bytes and had %d",
			badger.ManifestFilename, i.manifest.Mark().Size, i.ledger.manifest.Size)
	}
	listed = err == nil
	i.checkTables()
	for _, name := range append(i.withSuffix(".mem"), i.withSuffix(".vlog")...) {
		if err := files.CheckLog(i.path(name)); err != nil {
			i.unusable(name, err)
		}
	}
	if slices.Contains(i.names, badger.KeyRegistryFileName) {
		if err := files.CheckKeys(i.path(badger.KeyRegistryFileName)); err != nil {
			i.unusable(badger.KeyRegistryFileName, err)
		}
	}
	return listed
}

// checkTables reads the tables, several at once as Badger does.
func (i *inspection) checkTables() {
	var mu sync.Mutex
	var readers sync.WaitGroup
	ids := make(chan uint64)
	failed := make(map[uint64]error)
	for range 3 {
		readers.Go(func() {
			for id := range ids {
				t := i.manifest.Tables[id]
				var err error
				if t.Compression == 0 { // tokengate writes no compressed tables
					err = files.CheckTable(table.NewFilename(id, i.dir))
				}
				mu.Lock()
				if err != nil {
					failed[id] = err
				} else {
					i.tables[id] = t
				}
				mu.Unlock()
			}
		})
	}
	there := make(map[uint64]bool)
	for _, name := range i.withSuffix(".sst") {
		id, ok := table.ParseFileID(name)
		if !ok {
			continue
		}
		if _, named := i.manifest.Tables[id]; named {
			there[id] = true
		} else {
			i.orphans = append(i.orphans, id)
		}
	}
	for id := range i.manifest.Tables {
		if there[id] {
			ids <- id
		}
	}
	close(ids)
	readers.Wait()
	for _, id := range slices.Sorted(maps.Keys(failed)) {
		i.unusable(table.IDToFilename(id), failed[id])
	}
	for _, id := range slices.Sorted(maps.Keys(i.manifest.Tables)) {
		if !there[id] {
			i.dataMissing = true
			i.report(ErrDamaged, "%s is missing", table.IDToFilename(id))
		}
	}
}

// discardName is Badger's file of statistics about its value logs.
const discardName = "DISCARD"

// openedNames are the files that the store or Badger opens, besides tables and logs, which are
// recognized by their suffix.
var openedNames = []string{
	badger.ManifestFilename, "MANIFEST-REWRITE", badger.KeyRegistryFileName, badger.KeyRegistryRewriteFileName,
	discardName, ledgerName, reserveName,
}

var openedEndings = []string{".sst", ".mem", ".vlog"}

// inspectFileTypes checks that the files to be opened are regular files or links to one. It opens
// none of them: opening a named pipe would block, and opening a device may have any effect.
func inspectFileTypes(dir string) (*inspection, error) {
	i := &inspection{dir: dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read data directory: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if !slices.Contains(openedNames, name) && !slices.Contains(openedEndings, filepath.Ext(name)) {
			continue
		}
		info, err := os.Stat(i.path(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			i.unusable(name, errors.New("it is a dangling link"))
		case err != nil:
			i.unusable(name, err)
		case !info.Mode().IsRegular():
			i.unusable(name, fmt.Errorf("it is %s, not a file", fileType(info.Mode())))
		}
	}
	return i, i.unreadable()
}

func fileType(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}
