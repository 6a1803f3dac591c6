package directory_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/directory"
)

// fromFile returns a Directory that reads a file with this content.
func fromFile(t *testing.T, content string, now *time.Time) (*directory.Directory, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.yaml")
	write(t, path, content)
	return directory.New(directory.Options{
		Source:  directory.NewFile(path),
		Owners:  func() []directory.Owner { return nil },
		Publish: func(*directory.Snapshot) {},
		Every:   every, StaleAfter: staleAfter,
		Now: func() time.Time { return *now },
	}), path
}

const (
	every      = time.Minute
	staleAfter = 15 * time.Minute
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

const goodFile = `
users:
  - name: Fred
    key: K1
    displayName: Fred F.
    groups: [jira-users, Admins]
  - {name: wilma, key: K3, active: false}
  - {name: barney, key: K4}
`

func TestFile(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d, _ := fromFile(t, goodFile, &now)
	if err := d.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := d.Snapshot()
	u, err := s.Owner("fred", "K1", now)
	want := directory.User{Key: "K1", Name: "Fred", DisplayName: "Fred F.", Active: true, Asked: now,
		Groups: directory.Groups{Known: true, Names: []string{"jira-users", "Admins"}}}
	if diff := cmp.Diff(want, u); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if is, known := s.Member(u, "admins"); !is || !known {
		t.Error("Fred is not an admin")
	}
	if !s.Follows([]string{"admins", "others"}) {
		t.Error("a file does not follow every group")
	}
	for _, tt := range []struct {
		name, key string
		want      error
	}{
		{"FRED", "", nil},
		{"fred", "K2", directory.ErrUnknownUser}, // the name belongs to another user now
		{"renamed", "K1", nil},
		{"wilma", "", directory.ErrInactive},
		{"barney", "K9", directory.ErrUnknownUser}, // the token belongs to the earlier user of the name
		{"betty", "", directory.ErrUnknownUser},
	} {
		if _, err := s.Owner(tt.name, tt.key, now); !errors.Is(err, tt.want) {
			t.Errorf("%s %s: %v, want %v", tt.name, tt.key, err, tt.want)
		}
	}
	if u, err := d.Lookup(t.Context(), "betty"); !errors.Is(err, directory.ErrUnknownUser) {
		t.Errorf("lookup %+v, %v", u, err)
	}
	if u, err := d.Lookup(t.Context(), "wilma"); !errors.Is(err, directory.ErrInactive) || u.Name != "wilma" {
		t.Errorf("lookup %+v, %v", u, err)
	}
}

func TestBadFileKeepsLastSnapshot(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d, path := fromFile(t, goodFile, &now)
	if err := d.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	// An unchanged file makes a new snapshot.
	now = now.Add(every)
	if err := d.Refresh(t.Context()); err != nil || !d.Snapshot().Taken().Equal(now) {
		t.Errorf("%v, taken %s; want %s", err, d.Snapshot().Taken(), now)
	}
	taken := now
	write(t, path, "users: [{name: fred, activ: true}]")
	now = now.Add(staleAfter - time.Second)
	if err := d.Refresh(t.Context()); err == nil || !d.Snapshot().Taken().Equal(taken) {
		t.Errorf("%v, taken %s; want an error and %s", err, d.Snapshot().Taken(), taken)
	}
	if _, err := d.Snapshot().Owner("fred", "K1", now); err != nil {
		t.Errorf("just before it expires: %v", err)
	}
	now = now.Add(time.Second)
	if _, err := d.Snapshot().Owner("fred", "K1", now); !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("when it expires: %v, want ErrUnavailable", err)
	}
	if _, err := d.Snapshot().Owner("betty", "", now); !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("a user who was not in the file: %v, want ErrUnavailable", err)
	}
	if _, err := d.Lookup(t.Context(), "fred"); !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("lookup: %v, want ErrUnavailable", err)
	}
	write(t, path, "users: [{name: fred, key: K1, active: false}]")
	if err := d.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Snapshot().Owner("fred", "K1", now); !errors.Is(err, directory.ErrInactive) {
		t.Errorf("after the file is valid again: %v, want ErrInactive", err)
	}
}

func TestBadFiles(t *testing.T) {
	for content, part := range map[string]string{
		"":                   "list of users is missing",
		"# nothing":          "list of users is missing",
		"users:":             "list of users is missing",
		"people: []":         "people",
		"users: []\nmore: 1": "more",
		"users: fred":        "",
		"users: [fred]":      "",
		"users: [{name: fred, groups: [\"a\xff\"]}]":    "not UTF-8",
		"users: [{name: fred, groups: [\"a\\ud800\"]}]": "",
		"users: [{}]":                                                      "users[0]: the user's name",
		"users: [{name: }]":                                                "name has the wrong type",
		"users: [{name: 123}]":                                             "name has the wrong type",
		"users: [{name: fred, active: }]":                                  "active has the wrong type",
		"users: [{name: fred, active: yes}]":                               "active has the wrong type",
		"users: [{name: fred, active: 'true'}]":                            "active has the wrong type",
		"users: [{name: fred, groups: g}]":                                 "groups has the wrong type",
		"users: [{name: fred, groups: [1]}]":                               "groups has the wrong type",
		"users: [{name: fred, groups: ['']}]":                              "groups has the wrong type",
		"users: [{name: fred, Active: true}]":                              `unknown key "Active"`,
		"users: [{name: 'a,b'}]":                                           "comma",
		"users: [{name: fred, name: wilma}]":                               "name",
		"users: [{name: a, key: K}, {name: fred}]":                         `users[1]: "fred" has no key`,
		"users: [{name: fred, key: ''}]":                                   `users[0]: "fred" has no key`,
		"users: [{name: a, key: 1}, {name: b}]":                            "users[0]: key has the wrong type",
		"users: [{name: a, key: K}, {name: b, key: L}, {name: A, key: M}]": `users[2]: "A" has the name or the key of users[0]`,
		"users: [{name: a, key: K}, {name: b, key: K}]":                    "users[1]",
		"users: []\n---\nusers: [{name: fred}]":                            "more than one document",
		"users: [{name: fred":                                              "",
	} {
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		d, path := fromFile(t, content, &now)
		err := d.Refresh(t.Context())
		if err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, want an error with %q and the path", content, err, part)
		}
		if d.Snapshot() != nil {
			t.Errorf("%q: a snapshot exists", content)
		}
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d, _ := fromFile(t, "users: []", &now)
	if err := d.Refresh(t.Context()); err != nil || d.Snapshot().Len() != 0 {
		t.Errorf("empty list: %v", err)
	}
}

func TestUnsavedSources(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/users.yaml", "users: [{name: fred, key: K1}]")
	write(t, dir+"/saved", "")
	for name, source := range map[string]directory.Source{"none": directory.None{}, "file": directory.NewFile(dir + "/users.yaml")} {
		d := directory.New(directory.Options{
			Source: source, Owners: func() []directory.Owner { return nil }, Publish: func(*directory.Snapshot) {},
			Every: every, StaleAfter: staleAfter, Now: time.Now,
		})
		if err := d.Restore(dir + "/saved"); err == nil || !strings.Contains(err.Error(), "this source") {
			t.Errorf("%s: %v", name, err)
		}
		if err := d.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := d.Save(dir+"/new", 0); err == nil {
			t.Errorf("%s was saved", name)
		}
	}
}
