package directory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// errNotJira says that a source is asked again sooner than read from a file.
var errNotJira = errors.New("only what Jira says of users is saved")

// Save writes the snapshot in force to the file at path, for Restore after a
// restart. It writes nothing if there is no snapshot, and nothing either while
// what it wrote last is younger than every, unless somebody may do less since:
// that must not be forgotten. The file has mode 0600 and appears whole; it holds
// names, keys and groups of people and no credential. Only snapshots of Jira
// can be saved.
//
// Save waits for the disk. Refreshes do not wait for Save.
func (d *Directory) Save(path string, every time.Duration) error {
	d.saving.Lock()
	defer d.saving.Unlock()
	s, last := d.Snapshot(), d.saved
	// A clock that was put back makes the file one of the future.
	if s == nil || s == last || last != nil && s.taken.Sub(last.taken).Abs() < every && !s.takesFrom(last) {
		return nil
	}
	if err := save(path, s, d.options.Source.origin()); err != nil {
		return fmt.Errorf("save what is known of users: %w", err)
	}
	d.saved = s
	return nil
}

func save(path string, s *Snapshot, origin string) error {
	if origin == "" {
		return errNotJira
	}
	content, err := s.encode(origin)
	if err != nil {
		return err
	}
	return replaceFile(path, content)
}

// Restore puts into force what Save wrote to the file at path, and publishes
// it. Its age goes on from when Jira said so, and it is good as long as a
// snapshot of that time is. Nothing is restored, with an error, if the file is
// not there (fs.ErrNotExist), not whole, about another Jira, too old or from the
// future, and if a refresh has succeeded already.
func (d *Directory) Restore(path string) error {
	d.refreshing.Lock()
	defer d.refreshing.Unlock()
	s, err := d.readSaved(path)
	if err != nil {
		return fmt.Errorf("restore what was known of users: %w", err)
	}
	d.saving.Lock()
	d.saved = s
	d.saving.Unlock()
	d.mu.Lock()
	d.snapshot.Store(s)
	d.mu.Unlock()
	d.options.Publish(s)
	return nil
}

func (d *Directory) readSaved(path string) (*Snapshot, error) {
	origin := d.options.Source.origin()
	switch {
	case origin == "":
		return nil, errNotJira
	case d.Snapshot() != nil:
		return nil, errors.New("more is known already")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	s, err := decodeSaved(file, origin, d.options.Now(), d.options.StaleAfter)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// replaceFile puts a file with this content in the place of the one at path.
// Whatever fails, one of them is there, whole.
func replaceFile(path string, content []byte) error {
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // what a crash has left
	}
	err := writeFile(temporary, content)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary)
		return err
	}
	// The new name is on the disk once its folder is.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// writeFile makes a file, which is on the disk when it returns.
func writeFile(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
