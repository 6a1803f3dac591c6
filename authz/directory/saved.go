package directory

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A saved snapshot is a line that says what it is, with the SHA-256 of all that
// follows in hexadecimal, and then JSON. A change of what the JSON means is a
// new version.
const (
	savedAs      = "tokengate directory "
	savedVersion = "1 "
)

// maxSaved bounds a saved snapshot, in bytes. One of 50,000 users, each in two
// groups, has 9 MB.
const maxSaved = 64 << 20

// saved is a snapshot of Jira as it is saved. How long it is good is not in it:
// that is for the configuration to say.
type saved struct {
	Origin  string               `json:"origin"` // see Source
	Taken   time.Time            `json:"taken"`
	Groups  []string             `json:"groups"` // folded names of those that were asked for
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
	Groups      []string   `json:"groups,omitzero"` // nil: unknown
	Asked       *time.Time `json:"asked,omitempty"` // nil: when the snapshot was taken
}

// encode returns the snapshot as it is saved.
func (s *Snapshot) encode(origin string) ([]byte, error) {
	s = s.flat()
	f := saved{
		Origin:  origin,
		Taken:   s.taken.UTC(),
		Groups:  make([]string, 0, len(s.groups)),
		Missing: s.missing,
		Users:   make([]savedUser, 0, len(s.byName)),
		Gone:    make(map[string]time.Time, len(s.gone)),
		Others:  s.others,
	}
	for group := range s.groups {
		f.Groups = append(f.Groups, group)
	}
	for _, u := range s.byName {
		to := savedUser{Key: u.Key, Name: u.Name, DisplayName: u.DisplayName, Active: u.Active}
		if u.Groups.Known {
			to.Groups = append([]string{}, u.Groups.Names...)
		}
		if !u.Asked.Equal(s.taken) {
			asked := u.Asked.UTC()
			to.Asked = &asked
		}
		f.Users = append(f.Users, to)
	}
	for id, asked := range s.gone {
		f.Gone[id] = asked.UTC()
	}
	body, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	content := append([]byte(savedAs+savedVersion+checksum(body)+"\n"), body...)
	if len(content) > maxSaved {
		return nil, fmt.Errorf("it would be longer than %d bytes", maxSaved)
	}
	return content, nil
}

func checksum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// decodeSaved reads a saved snapshot, for a source and for answers that are
// good as long as stale. It is all or nothing: what is not whole, not of this
// origin or not good at now is an error.
func decodeSaved(r io.Reader, origin string, now time.Time, stale time.Duration) (*Snapshot, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxSaved+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxSaved {
		return nil, fmt.Errorf("it is longer than %d bytes", maxSaved)
	}
	first, body, _ := bytes.Cut(content, []byte("\n"))
	header, ours := strings.CutPrefix(string(first), savedAs)
	sum, known := strings.CutPrefix(header, savedVersion)
	switch {
	case !ours:
		return nil, errors.New("it is not what tokengate has saved")
	case !known:
		return nil, errors.New("another version of tokengate has saved it")
	case sum != checksum(body):
		return nil, errors.New("it is not whole, or somebody has changed it")
	}
	var f saved
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return nil, err
	}
	if decoder.Decode(new(any)) != io.EOF {
		return nil, errors.New("something follows where it should end")
	}
	switch {
	case f.Origin != origin:
		return nil, fmt.Errorf("it is of %q, and upstream is %q", printed(f.Origin), origin)
	case !now.Before(f.Taken.Add(stale)):
		return nil, fmt.Errorf("it is of %s, which is too old", f.Taken.Format(time.RFC3339))
	}
	return f.snapshot(now, stale)
}

// snapshot makes the snapshot again that was saved.
func (f saved) snapshot(now time.Time, stale time.Duration) (*Snapshot, error) {
	late := f.Taken // of all times
	users := make([]User, len(f.Users))
	for i, from := range f.Users {
		u := User{Key: from.Key, Name: from.Name, DisplayName: from.DisplayName, Active: from.Active, Asked: f.Taken}
		if from.Groups != nil {
			u.Groups = Groups{Known: true, Names: from.Groups}
		}
		if from.Asked != nil {
			u.Asked = *from.Asked
		}
		if err := u.check(); err != nil {
			return nil, fmt.Errorf("users[%d]: %w", i, err)
		}
		if displayName(u.DisplayName) != u.DisplayName {
			return nil, fmt.Errorf("users[%d]: the display name is too long or has control characters", i)
		}
		late = newer(late, u.Asked)
		users[i] = u
	}
	for _, asked := range f.Gone {
		late = newer(late, asked)
	}
	if late.After(now) {
		return nil, fmt.Errorf("it is of %s, which is yet to come: has the clock been put back?", late.Format(time.RFC3339))
	}
	s := newSnapshot(f.Taken, stale, users, f.Gone)
	if s.Len() != len(users) {
		return nil, errors.New("two users have one name or one key")
	}
	s.groups, s.missing, s.others = make(map[string]bool, len(f.Groups)), f.Missing, f.Others
	for _, group := range f.Groups {
		s.groups[group] = true
	}
	return s, nil
}

func newer(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// takesFrom reports whether somebody may do less by this snapshot than by an
// older one.
func (s *Snapshot) takesFrom(older *Snapshot) bool {
	s, older = s.flat(), older.flat()
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
