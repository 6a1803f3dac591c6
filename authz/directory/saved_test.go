package directory

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

const (
	testOrigin = "jira http://jira.test"
	testStale  = 15 * time.Minute
)

// roundTrip reports a difference between a snapshot and its saved and restored
// form.
func roundTrip(s *Snapshot, now time.Time) error {
	if s == nil || !now.Before(s.goodUntil) {
		return nil
	}
	content, err := s.toSaved(testOrigin).encode()
	if err != nil {
		return err
	}
	got, err := decodeSaved(bytes.NewReader(content), testOrigin, now, s.staleAfter)
	if err != nil {
		return err
	}
	return differs(s, got)
}

// differs reports the difference between two snapshots, except ownerErr.
func differs(a, b *Snapshot) error {
	a, b = a.flatten(), b.flatten()
	switch {
	case !a.taken.Equal(b.taken) || !a.goodUntil.Equal(b.goodUntil) || a.staleAfter != b.staleAfter:
		return fmt.Errorf("taken %s, good until %s; restored: taken %s, good until %s", a.taken, a.goodUntil, b.taken, b.goodUntil)
	case a.acceptAll != b.acceptAll || a.complete != b.complete:
		return errors.New("who is known at all")
	case !maps.EqualFunc(a.byName, b.byName, sameUser) || !maps.EqualFunc(a.byKey, b.byKey, sameUser):
		return fmt.Errorf("users %v, restored %v", a.byName, b.byName)
	case !maps.EqualFunc(a.removed, b.removed, time.Time.Equal):
		return fmt.Errorf("removed %v, restored %v", a.removed, b.removed)
	case (a.groups == nil) != (b.groups == nil) || !maps.Equal(a.groups, b.groups) || !slices.Equal(a.missingGroups, b.missingGroups):
		return fmt.Errorf("groups %v without %v, restored %v without %v", a.groups, a.missingGroups, b.groups, b.missingGroups)
	case !maps.EqualFunc(a.otherMembers, b.otherMembers, slices.Equal):
		return fmt.Errorf("other members %v, restored %v", a.otherMembers, b.otherMembers)
	}
	return nil
}

func sameUser(a, b User) bool {
	return a.Key == b.Key && a.Name == b.Name && a.DisplayName == b.DisplayName && a.Active == b.Active &&
		a.Asked.Equal(b.Asked) && a.Groups.Known == b.Groups.Known && slices.Equal(a.Groups.Names, b.Groups.Names)
}

var savedAt = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)

// everything is a snapshot that uses all fields.
func everything() *Snapshot {
	s := NewSnapshot(Contents{Taken: savedAt, StaleAfter: testStale, Users: []User{
		{Key: "K1", Name: "fred", DisplayName: "Fred <F> ü", Active: true, Groups: Groups{Known: true, Names: []string{"Staff", "böse & gut"}}, Asked: savedAt},
		{Key: "K2", Name: "wilma", Groups: Groups{Known: true}, Asked: savedAt.Add(-time.Minute)},
		{Name: "Barney", Active: true, Asked: savedAt.Add(time.Second)},
	}, Removed: map[string]time.Time{"key:K3": savedAt, "name:dino": savedAt.Add(-time.Hour)}})
	s.groups, s.missingGroups = map[string]bool{"staff": true, "none": true}, []string{"None"}
	s.otherMembers = map[string][]string{"key:K7": {"Staff"}}
	return s
}

func TestSavedSnapshotIsTheSame(t *testing.T) {
	followingNone := NewSnapshot(Contents{Taken: savedAt, StaleAfter: testStale})
	followingNone.groups = map[string]bool{}
	for name, s := range map[string]*Snapshot{
		"everything": everything(),
		"one more":   everything().with(User{Key: "K1", Name: "Frederick", Active: true, Asked: savedAt.Add(time.Second)}),
		"no users":   followingNone,
	} {
		if err := roundTrip(s, savedAt.Add(time.Minute)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// sealed returns JSON as a saved snapshot.
func sealed(body string) string {
	return savedPrefix + savedVersion + checksum([]byte(body)) + "\n" + body
}

func TestRefusedSavedSnapshots(t *testing.T) {
	limitSaved(t)
	whole, err := everything().toSaved(testOrigin).encode()
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(whole), "\n")
	swap := func(old, next string) string {
		changed := strings.Replace(body, old, next, 1)
		if changed == body {
			t.Fatalf("%s is not in %s", old, body)
		}
		return sealed(changed)
	}
	now := savedAt.Add(time.Minute)
	for name, tt := range map[string]struct {
		content string
		now     time.Time
		want    string // in the error; empty means no error
	}{
		"good":                {string(whole), now, ""},
		"good at the last":    {string(whole), savedAt.Add(testStale - 1), ""},
		"too old":             {string(whole), savedAt.Add(testStale), "too old"},
		"good at the first":   {string(whole), savedAt.Add(time.Second), ""},
		"clock put back":      {string(whole), savedAt.Add(time.Second - 1), "in the future"},
		"clock far back":      {string(whole), savedAt.AddDate(-1, 0, 0), "in the future"},
		"gone in the future":  {swap(`"key:K3":"2026`, `"key:K3":"2027`), now, "in the future"},
		"another Jira":        {swap("http://jira.test", "http://other.test"), now, "http://other.test"},
		"another kind":        {swap(`"jira http`, `"file http`), now, "file http"},
		"empty":               {"", now, "did not write it"},
		"something else":      {body, now, "did not write it"},
		"another version":     {strings.Replace(string(whole), savedPrefix+"1", savedPrefix+"2", 1), now, "another version"},
		"no JSON":             {sealed("users: []"), now, "invalid character"},
		"no snapshot":         {sealed("null"), now, "upstream"},
		"unknown field":       {swap(`"users"`, `"admin":true,"users"`), now, "admin"},
		"more":                {sealed(body + "{}"), now, "follows"},
		"one name":            {swap(`"name":"wilma"`, `"name":"FRED"`), now, "the same name or key"},
		"one key":             {swap(`"K2"`, `"K1"`), now, "the same name or key"},
		"no name":             {swap(`"name":"wilma"`, `"name":""`), now, "users["},
		"unusable name":       {swap(`"name":"wilma"`, `"name":"wil,ma"`), now, "users["},
		"unusable key":        {swap(`"K2"`, `"K\n"`), now, "users["},
		"unusable to display": {swap(`"Fred`, `"Fr\ned`), now, "users["},
		"too long":            {sealed(strings.Repeat(" ", maxSaved)), now, "longer than"},
	} {
		s, err := decodeSaved(strings.NewReader(tt.content), testOrigin, tt.now, testStale)
		switch {
		case tt.want == "":
			if err != nil || s.Len() != 3 {
				t.Errorf("%s: %d users, %v", name, s.Len(), err)
			}
		case err == nil || !strings.Contains(err.Error(), tt.want) || s != nil:
			t.Errorf("%s: %d users, %v; want an error that says %q", name, s.Len(), err, tt.want)
		}
	}
	for i := range whole {
		if s, err := decodeSaved(bytes.NewReader(whole[:i]), testOrigin, now, testStale); err == nil || s != nil {
			t.Errorf("the first %d bytes were accepted", i)
		}
		changed := bytes.Clone(whole)
		changed[i] ^= 0x20
		if s, err := decodeSaved(bytes.NewReader(changed), testOrigin, now, testStale); err == nil || s != nil {
			t.Errorf("accepted with byte %d changed", i)
		}
	}
	// The current configuration determines the lifetime.
	if s, err := decodeSaved(bytes.NewReader(whole), testOrigin, now, 2*time.Minute); err != nil || !s.GoodUntil().Equal(savedAt.Add(2*time.Minute)) {
		t.Errorf("good until %s, %v", s.GoodUntil(), err)
	}
}

// limitSaved lowers maxSaved during a test.
func limitSaved(t *testing.T) {
	before := maxSaved
	maxSaved = 1 << 16
	t.Cleanup(func() { maxSaved = before })
}

func TestSnapshotTooLong(t *testing.T) {
	limitSaved(t)
	s := NewSnapshot(Contents{Taken: savedAt, StaleAfter: testStale, Users: []User{{Name: "fred", Groups: Groups{Known: true, Names: []string{strings.Repeat("g", maxSaved)}}, Asked: savedAt}}})
	if content, err := s.toSaved(testOrigin).encode(); err == nil {
		t.Errorf("%d bytes were saved, too many to be read", len(content))
	}
}

func TestRevokes(t *testing.T) {
	staff := Groups{Known: true, Names: []string{"staff", "admins"}}
	fred, gone := User{Key: "K1", Name: "fred", Active: true, Groups: staff}, User{Key: "K2", Name: "wilma", Groups: staff}
	change := func(change func(*User)) []User {
		u := fred
		change(&u)
		return []User{u}
	}
	for name, tt := range map[string]struct {
		now  []User
		want bool
	}{
		"nothing":         {[]User{fred}, false},
		"another order":   {change(func(u *User) { u.Groups.Names = []string{"Admins", "x", "STAFF"} }), false},
		"one more user":   {[]User{fred, {Key: "K3", Name: "dino", Active: true}}, false},
		"another display": {change(func(u *User) { u.DisplayName = "F" }), false},
		"the user":        {nil, true},
		"use":             {change(func(u *User) { u.Active = false }), true},
		"a group":         {change(func(u *User) { u.Groups.Names = []string{"staff"} }), true},
		"all groups":      {change(func(u *User) { u.Groups = Groups{} }), true},
		"the name":        {change(func(u *User) { u.Name = "frederick" }), true},
		"the name's user": {change(func(u *User) { u.Key = "K9" }), true},
	} {
		before, after := NewSnapshot(Contents{Taken: savedAt, StaleAfter: testStale, Users: []User{fred, gone}}), NewSnapshot(Contents{Taken: savedAt, StaleAfter: testStale, Users: tt.now})
		if got := after.revokes(before); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// Any file is either refused or gives a snapshot of users with valid names that
// saves and restores unchanged.
func FuzzDecodeSaved(f *testing.F) {
	whole, err := everything().toSaved(testOrigin).encode()
	if err != nil {
		f.Fatal(err)
	}
	_, body, _ := bytes.Cut(whole, []byte("\n"))
	f.Add(whole)
	f.Add(body)
	f.Add([]byte(`{"origin":"jira http://jira.test","taken":"2026-01-02T03:04:05Z","groups":null,"users":[{"name":"a"},{"name":"A"}]}`))
	f.Add([]byte(`{"origin":"jira http://jira.test","taken":"2026-01-02T03:04:05Z","users":[{"name":"a,b"},{"name":"","key":"\u0000"}],"gone":{"":"0001-01-01T00:00:00Z"}}`))
	now := savedAt.Add(time.Minute)
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, content := range []string{string(content), sealed(string(content))} {
			s, err := decodeSaved(strings.NewReader(content), testOrigin, now, testStale)
			if err != nil {
				if s != nil {
					t.Errorf("users with an error: %v", s.byName)
				}
				continue
			}
			if s.acceptAll || s.complete || s.goodUntil.After(now.Add(testStale)) || !now.Before(s.goodUntil) {
				t.Errorf("good until %s", s.goodUntil)
			}
			for name, u := range s.byName {
				if store.ValidOwnerName(u.Name) != nil || name != store.FoldOwner(u.Name) || u.Asked.After(now) {
					t.Errorf("%q: %+v", name, u)
				}
				if known, ok := s.ByKey(u.Key); u.Key != "" && (!ok || !sameUser(known, u)) {
					t.Errorf("by key: %+v, by name: %+v", known, u)
				}
			}
			for key, u := range s.byKey {
				if known := s.byName[store.FoldOwner(u.Name)]; key == "" || !sameUser(known, u) {
					t.Errorf("by key %q: %+v, by name: %+v", key, u, known)
				}
			}
			if err := roundTrip(s, now); err != nil {
				t.Errorf("saved again: %v", err)
			}
		}
	})
}

// BenchmarkSaved saves and restores 50,000 users, half of whom were requested
// one by one.
func BenchmarkSaved(b *testing.B) {
	users := make([]User, 50_000)
	for i := range users {
		users[i] = User{
			Key: fmt.Sprintf("JIRAUSER%d", 10_000+i), Name: fmt.Sprintf("first.last%d", i), DisplayName: fmt.Sprintf("First Middle-Last %d", i), Active: true,
			Groups: Groups{Known: true, Names: []string{"jira-software-users", "jira-token-users"}},
			Asked:  savedAt.Add(time.Duration(i%2) * time.Minute),
		}
	}
	s := NewSnapshot(Contents{Taken: savedAt, StaleAfter: testStale, Users: users})
	content, err := s.toSaved(testOrigin).encode()
	if err != nil {
		b.Fatal(err)
	}
	now := savedAt.Add(2 * time.Minute)
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			_, _ = s.toSaved(testOrigin).encode()
		}
		b.ReportMetric(float64(len(content)), "B/file")
	})
	b.Run("write", func(b *testing.B) {
		path := b.TempDir() + "/file"
		for b.Loop() {
			if err := replaceFile(path, content); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := decodeSaved(bytes.NewReader(content), testOrigin, now, testStale); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("compare", func(b *testing.B) {
		other := NewSnapshot(Contents{Taken: savedAt, StaleAfter: testStale, Users: slices.Clone(users)})
		for b.Loop() {
			if other.revokes(s) {
				b.Fatal("no rights were revoked")
			}
		}
	})
}
