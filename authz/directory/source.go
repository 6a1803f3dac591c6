package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"github.com/tokengate/tokengate/store"
)

// Source provides a Directory's snapshots: None, *File, that of a product.Client, or
// *Shared.
type Source interface {
	// Refresh makes a new snapshot, or returns RefreshRequest.Last if there is no newer
	// one.
	Refresh(context.Context, RefreshRequest) (*Snapshot, error)

	// Lookup returns one user by name. Its errors are those of Lookup.
	Lookup(ctx context.Context, name string) (User, error)

	// WholeGroups reports whether lookup returns all of the user's groups. Jira,
	// for one, omits nested ones.
	WholeGroups() bool

	// Requests returns the number of requests sent so far.
	Requests() uint64

	// Origin identifies the application that a saved snapshot came from. It is empty
	// if snapshots of this source are not saved.
	Origin() string
}

// RefreshRequest is the input of a refresh.
type RefreshRequest struct {
	Now        time.Time
	Owners     []Owner
	LastBegun  time.Time     // start of the last successful refresh
	Last       *Snapshot     // the current snapshot; nil if none
	Interval   time.Duration // until the next refresh
	StaleAfter time.Duration // lifetime of an answer
}

// None is the source without users: every name exists as requested, active,
// without a key and in no group.
type None struct{}

func (None) Refresh(_ context.Context, q RefreshRequest) (*Snapshot, error) {
	return &Snapshot{taken: q.Now, goodUntil: store.Forever, acceptAll: true, allGroups: true}, nil
}

func (None) Lookup(_ context.Context, name string) (User, error) {
	u := acceptedUser(name)
	return u, u.Check()
}

func (None) WholeGroups() bool { return true }

func (None) Requests() uint64 { return 0 }

func (None) Origin() string { return "" }

// maxFileSize limits the file of a File, in bytes.
const maxFileSize = 16 << 20

// File is the source that reads a YAML file at each refresh:
//
//	users:
//	  - name: fred              # required; see store.ValidOwnerName
//	    key: JIRAUSER10100      # required: the user's key in the application
//	    displayName: Fred F.
//	    active: true            # the default
//	    groups: [jira-users]
//
// Users not in the file do not exist. Tokens belong to the key, so a user who
// takes over another's name does not get their tokens. A missing key, an
// unknown field, a value of the wrong type, and a duplicate name or key are
// errors; then the last good content applies until it is too old.
type File struct{ path string }

// NewFile returns the source that reads the file at path.
func NewFile(path string) *File { return &File{path: path} }

func (f *File) WholeGroups() bool { return true }

func (f *File) Requests() uint64 { return 0 }

// Origin is empty because the file survives a restart.
func (f *File) Origin() string { return "" }

func (f *File) Refresh(_ context.Context, q RefreshRequest) (*Snapshot, error) {
	users, err := f.read()
	if err != nil {
		return nil, err
	}
	for i := range users {
		users[i].Asked = q.Now
	}
	s := NewSnapshot(Contents{Taken: q.Now, StaleAfter: q.StaleAfter, Users: users})
	s.complete, s.allGroups = true, true
	return s, nil
}

func (f *File) Lookup(_ context.Context, name string) (User, error) {
	users, err := f.read()
	if err != nil {
		return User{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	i := slices.IndexFunc(users, func(u User) bool { return store.FoldOwner(u.Name) == store.FoldOwner(name) })
	if i < 0 {
		return User{}, ErrUnknownUser
	}
	return users[i], nil
}

func (f *File) read() ([]User, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("open the directory's file: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the directory's file: %w", err)
	}
	if len(content) > maxFileSize {
		return nil, fmt.Errorf("%s: the file is longer than %d bytes", f.path, maxFileSize)
	}
	users, err := parseUsers(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return users, nil
}

func parseUsers(content []byte) ([]User, error) {
	if !utf8.Valid(content) {
		return nil, errors.New("the file is not UTF-8")
	}
	// Users are decoded as maps, because the library would turn numbers into
	// strings and missing values into defaults.
	var file struct {
		Users *[]map[string]any `yaml:"users"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content), yaml.Strict())
	if err := decoder.Decode(&file); errors.Is(err, io.EOF) || err == nil && file.Users == nil {
		return nil, errors.New("the list of users is missing; write users: [] if it is empty")
	} else if err != nil {
		return nil, errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file has more than one document")
	}
	users := make([]User, 0, len(*file.Users))
	seen := make(map[string]int)
	for i, fields := range *file.Users {
		u, err := parseUser(fields)
		if err != nil {
			return nil, fmt.Errorf("users[%d]: %w", i, err)
		}
		for _, id := range []string{Identity(u.Name, ""), u.Identity()} {
			if first, twice := seen[id]; twice && first != i {
				return nil, fmt.Errorf("users[%d]: %q has the name or the key of users[%d]", i, u.Name, first)
			}
			seen[id] = i
		}
		users = append(users, u)
	}
	return users, nil
}

func parseUser(fields map[string]any) (User, error) {
	u := User{Active: true, Groups: Groups{Known: true}}
	for key, value := range fields {
		ok := true
		switch key {
		case "name":
			u.Name, ok = value.(string)
		case "key":
			u.Key, ok = value.(string)
		case "displayName":
			u.DisplayName, ok = value.(string)
			ok = ok && CleanDisplayName(u.DisplayName) == u.DisplayName
		case "active":
			u.Active, ok = value.(bool)
		case "groups":
			u.Groups.Names, ok = stringList(value)
		default:
			return User{}, fmt.Errorf("unknown key %q; the keys here are name, key, displayName, active, groups", key)
		}
		if !ok {
			return User{}, fmt.Errorf("%s has the wrong type: name, key and displayName are strings, active is true or false, groups is a list of strings", key)
		}
	}
	if err := u.Check(); err != nil {
		return User{}, err
	}
	if u.Key == "" {
		return User{}, fmt.Errorf("%q has no key: write the user's key, so that a later user of this name does not get the tokens", u.Name)
	}
	return u, nil
}

// stringList returns the elements of a list of strings.
func stringList(value any) ([]string, bool) {
	list, ok := value.([]any)
	if !ok {
		return nil, false
	}
	out := make([]string, 0, len(list))
	for _, element := range list {
		text, ok := element.(string)
		if !ok || text == "" {
			return nil, false
		}
		out = append(out, text)
	}
	return out, true
}
