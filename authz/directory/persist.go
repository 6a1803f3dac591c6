package directory

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// errNotSavable means that the source is faster to ask than a saved snapshot is
// to read.
var errNotSavable = errors.New("users from this source are not saved")

// Save writes the current snapshot to the file at path for Restore after a
// restart. It writes nothing without a snapshot, or if the last write is
// younger than every; but revoked rights are saved immediately. The file has
// mode 0600 and is replaced atomically; it contains names, keys and groups of
// Users and no credential. Only snapshots of a source with an Origin can be saved.
//
// Save waits for the disk. Refreshes do not wait for Save.
func (d *Directory) Save(path string, every time.Duration) error {
	d.saving.Lock()
	defer d.saving.Unlock()
	s, last := d.Snapshot(), d.saved
	// Abs, because after the clock was set back the file is from the future.
	if s == nil || s == last || last != nil && s.taken.Sub(last.taken).Abs() < every && !s.revokes(last) {
		return nil
	}
	if err := save(path, s, d.options.Source.Origin()); err != nil {
		return fmt.Errorf("save the user directory: %w", err)
	}
	d.saved = s
	return nil
}

func save(path string, s *Snapshot, origin string) error {
	if origin == "" {
		return errNotSavable
	}
	content, err := s.toSaved(origin).encode()
	if err != nil {
		return err
	}
	return replaceFile(path, content)
}

// Restore makes the snapshot that Save wrote to the file at path the current
// one, with its original age, and publishes it. It returns an error and
// restores nothing if the file is missing (fs.ErrNotExist), damaged, about
// another application, too old or from the future, or if a refresh has already
// succeeded.
func (d *Directory) Restore(path string) error {
	return d.restore(func() (*Snapshot, error) {
		s, err := d.readSaved(path)
		if err == nil {
			d.saving.Lock()
			defer d.saving.Unlock()
			d.saved = s
		}
		return s, err
	})
}

// restore makes the snapshot that read returns the current one, and publishes it, if there is none yet.
func (d *Directory) restore(read func() (*Snapshot, error)) error {
	d.refreshing.Lock()
	defer d.refreshing.Unlock()
	if d.Snapshot() != nil {
		return errors.New("restore the user directory: a refresh has already succeeded")
	}
	s, err := read()
	if err != nil {
		return fmt.Errorf("restore the user directory: %w", err)
	}
	d.mu.Lock()
	d.snapshot.Store(s)
	d.mu.Unlock()
	d.options.Publish(s)
	return nil
}

func (d *Directory) readSaved(path string) (*Snapshot, error) {
	origin := d.options.Source.Origin()
	if origin == "" {
		return nil, errNotSavable
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

// replaceFile replaces the file at path atomically.
func replaceFile(path string, content []byte) error {
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // left over from a crash
	}
	err := writeFile(temporary, content)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary)
		return err
	}
	// The rename is durable once the directory is synced.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// writeFile creates a file and syncs it.
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

// A saved snapshot is a header line with the version and the hexadecimal
// SHA-256 of the rest, followed by JSON. Change the version when the meaning of
// the JSON changes.
const (
	savedPrefix  = "tokengate directory "
	savedVersion = "1 "
)

// maxSaved limits a saved snapshot, in bytes. 50,000 users in two groups each
// take 9 MB. Tests lower it.
var maxSaved = 64 << 20

// savedSnapshot is the JSON of a saved snapshot. The lifetime is left
// out because it comes from the configuration.
type savedSnapshot struct {
	Origin  string               `json:"origin"` // see Source
	Taken   time.Time            `json:"taken"`
	Groups  []string             `json:"groups"` // folded names of the requested groups
	Missing []string             `json:"missing,omitempty"`
	Users   []savedUser          `json:"users"`
	Gone    map[string]time.Time `json:"gone,omitempty"`
	Others  map[string][]string  `json:"others,omitempty"` // see Snapshot
}

type savedUser struct {
	Key         string     `json:"key,omitempty"`
	Name        string     `json:"name"`
	DisplayName string     `json:"displayName,omitempty"`
	Active      bool       `json:"active,omitempty"`
	Groups      []string   `json:"groups,omitzero"` // nil if unknown
	Asked       *time.Time `json:"asked,omitempty"` // nil if equal to taken
}

// toSaved returns the JSON of the snapshot. Equal snapshots have equal ones.
func (s *Snapshot) toSaved(origin string) savedSnapshot {
	c := s.Contents()
	slices.SortFunc(c.Users, func(a, b User) int { return cmp.Compare(a.Name, b.Name) })
	f := savedSnapshot{
		Origin:  origin,
		Taken:   c.Taken.UTC(),
		Groups:  make([]string, 0, len(c.Groups)),
		Missing: c.MissingGroups,
		Users:   make([]savedUser, 0, len(c.Users)),
		Gone:    make(map[string]time.Time, len(c.Removed)),
		Others:  c.OtherMembers,
	}
	f.Groups = slices.AppendSeq(f.Groups, maps.Keys(c.Groups))
	slices.Sort(f.Groups)
	for _, u := range c.Users {
		to := savedUser{Key: u.Key, Name: u.Name, DisplayName: u.DisplayName, Active: u.Active}
		if u.Groups.Known {
			to.Groups = append([]string{}, u.Groups.Names...)
		}
		if !u.Asked.Equal(c.Taken) {
			asked := u.Asked.UTC()
			to.Asked = &asked
		}
		f.Users = append(f.Users, to)
	}
	for id, asked := range c.Removed {
		f.Gone[id] = asked.UTC()
	}
	return f
}

// encode returns what a saved snapshot consists of.
func (f savedSnapshot) encode() ([]byte, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	content := append([]byte(savedPrefix+savedVersion+checksum(body)+"\n"), body...)
	if len(content) > maxSaved {
		return nil, fmt.Errorf("it would be longer than %d bytes", maxSaved)
	}
	return content, nil
}

func checksum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// decodeSaved reads a saved snapshot. A damaged or expired snapshot, or one of
// another origin, is an error.
func decodeSaved(r io.Reader, origin string, now time.Time, stale time.Duration) (*Snapshot, error) {
	f, err := parseSaved(r, origin)
	if err != nil {
		return nil, err
	}
	return f.snapshot(now, stale)
}

// parseSaved reads a saved snapshot of any age.
func parseSaved(r io.Reader, origin string) (f savedSnapshot, err error) {
	content, err := io.ReadAll(io.LimitReader(r, int64(maxSaved)+1))
	if err != nil {
		return f, err
	}
	if len(content) > maxSaved {
		return f, fmt.Errorf("it is longer than %d bytes", maxSaved)
	}
	first, body, _ := bytes.Cut(content, []byte("\n"))
	header, ours := strings.CutPrefix(string(first), savedPrefix)
	sum, known := strings.CutPrefix(header, savedVersion)
	switch {
	case !ours:
		return f, errors.New("tokengate did not write it")
	case !known:
		return f, errors.New("another version of tokengate wrote it")
	case sum != checksum(body):
		return f, errors.New("it is not whole, or it was modified")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return f, err
	}
	if decoder.Decode(new(any)) != io.EOF {
		return f, errors.New("data follows its end")
	}
	if f.Origin != origin {
		return f, fmt.Errorf("it is from %q, but upstream is %q", Truncate(f.Origin), origin)
	}
	return f, nil
}

// snapshot converts the saved form back. An expired snapshot, or one from the future, is an error.
func (f savedSnapshot) snapshot(now time.Time, stale time.Duration) (*Snapshot, error) {
	if !now.Before(f.Taken.Add(stale)) {
		return nil, fmt.Errorf("it is from %s, which is too old", f.Taken.Format(time.RFC3339))
	}
	late := f.Taken // the latest of all times
	users := make([]User, len(f.Users))
	for i, from := range f.Users {
		u := User{Key: from.Key, Name: from.Name, DisplayName: from.DisplayName, Active: from.Active, Asked: f.Taken}
		if from.Groups != nil {
			u.Groups = Groups{Known: true, Names: from.Groups}
		}
		if from.Asked != nil {
			u.Asked = *from.Asked
		}
		if err := u.Check(); err != nil {
			return nil, fmt.Errorf("users[%d]: %w", i, err)
		}
		if CleanDisplayName(u.DisplayName) != u.DisplayName {
			return nil, fmt.Errorf("users[%d]: the display name is too long or has control characters", i)
		}
		late = later(late, u.Asked)
		users[i] = u
	}
	for _, asked := range f.Gone {
		late = later(late, asked)
	}
	if late.After(now) {
		return nil, fmt.Errorf("it is from %s, which is in the future: was the clock set back?", late.Format(time.RFC3339))
	}
	groups := make(map[string]bool, len(f.Groups))
	for _, group := range f.Groups {
		groups[group] = true
	}
	s := NewSnapshot(Contents{
		Taken: f.Taken, StaleAfter: stale, Users: users, Removed: f.Gone,
		Groups: groups, MissingGroups: f.Missing, OtherMembers: f.Others,
	})
	if s.Len() != len(users) {
		return nil, errors.New("two users have the same name or key")
	}
	return s, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// revokes reports whether any user has fewer rights in this snapshot than in an
// older one.
func (s *Snapshot) revokes(older *Snapshot) bool {
	s, older = s.flatten(), older.flatten()
	for name, was := range older.byName {
		is := s.byName[name]
		if was.Active && (!is.Active || is.Key != was.Key || slices.ContainsFunc(was.Groups.Names, func(group string) bool {
			return !is.Groups.Has(group)
		})) {
			return true
		}
	}
	return false
}
