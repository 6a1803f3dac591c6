package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// discardName is a file in which Badger counts what its value logs could free.
const discardName = "DISCARD"

// openedNames are the names of files that the store or Badger opens, besides tables
// and logs, which have an ending.
var openedNames = []string{
	badger.ManifestFilename, "MANIFEST-REWRITE", badger.KeyRegistryFileName, badger.KeyRegistryRewriteFileName,
	discardName, ledgerName, reserveName,
}

var openedEndings = []string{".sst", ".mem", ".vlog"}

// inspectFileTypes inspects dir for entries that have the name of a file which is opened
// and that are neither a regular file nor a link to one. It opens none of them:
// to open a named pipe is to wait until another process writes to it, and to open
// a device may do anything.
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
			i.unusable(name, errors.New("it is a link to a file that is not there"))
		case err != nil:
			i.unusable(name, err)
		case !info.Mode().IsRegular():
			i.unusable(name, fmt.Errorf("it is %s and not a file", fileType(info.Mode())))
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
