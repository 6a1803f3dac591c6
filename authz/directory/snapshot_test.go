package directory_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
)

func TestEmptySnapshots(t *testing.T) {
	for name, s := range map[string]*directory.Snapshot{"nil": nil, "zero": {}} {
		if !s.Taken().IsZero() || !s.GoodUntil().IsZero() || s.Len() != 0 || s.MissingGroups() != nil {
			t.Errorf("%s: %s, %s, %d", name, s.Taken(), s.GoodUntil(), s.Len())
		}
		if u, ok := s.ByName("fred"); ok {
			t.Errorf("%s: fred is %+v", name, u)
		}
		if u, ok := s.ByKey("K1"); ok {
			t.Errorf("%s: K1 is %+v", name, u)
		}
		if u, ok := s.ByKey(""); ok {
			t.Errorf("%s: the empty key belongs to %+v", name, u)
		}
		everywhere := directory.User{Groups: directory.Groups{Known: true, Names: []string{"g"}}}
		if is, known := s.Member(everywhere, "g"); is || known {
			t.Errorf("%s has members", name)
		}
		if s.Follows(nil) || s.Follows([]string{"g"}) {
			t.Errorf("%s follows groups", name)
		}
		if _, err := s.Owner("fred", "", time.Time{}); !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("%s: owner: %v, want ErrUnavailable", name, err)
		}
	}
}

func TestUnknownGroups(t *testing.T) {
	for _, tt := range []struct {
		groups directory.Groups
		want   bool
	}{
		{directory.Groups{}, false},
		{directory.Groups{Names: []string{"a"}}, false},
		{directory.Groups{Known: true}, false},
		{directory.Groups{Known: true, Names: []string{"b", "A"}}, true},
	} {
		if got := tt.groups.Has("a"); got != tt.want {
			t.Errorf("%+v has a: %v, want %v", tt.groups, got, tt.want)
		}
	}
}

func TestNone(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d := directory.New(directory.Options{
		Source:  directory.None{},
		Owners:  func() []directory.Owner { return nil },
		Publish: func(*directory.Snapshot) {},
		Every:   time.Minute, StaleAfter: time.Hour,
		Now: func() time.Time { return now },
	})
	if _, err := d.Snapshot().Owner("fred", "", now); !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("before the first refresh: %v, want ErrUnavailable", err)
	}
	if err := d.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	now = now.AddDate(100, 0, 0)
	if u, err := d.Snapshot().Owner("Fred", "K1", now); err != nil || u.Name != "Fred" || u.Key != "" || !u.Active {
		t.Errorf("owner %+v, %v; want Fred without a key", u, err)
	}
	if u, ok := d.Snapshot().ByName("wilma"); !ok || u.Name != "wilma" {
		t.Errorf("by name %+v", u)
	}
	u, err := d.Lookup(t.Context(), "wilma")
	if err != nil || u.Name != "wilma" {
		t.Errorf("lookup %+v, %v", u, err)
	}
	if is, known := d.Snapshot().Member(u, "g"); is || !known {
		t.Errorf("member %v, known %v; want in no group", is, known)
	}
	if !d.Snapshot().Follows([]string{"g"}) {
		t.Error("a group is not followed")
	}
	if _, err := d.Lookup(t.Context(), "a,b"); !errors.Is(err, directory.ErrUnusableName) {
		t.Errorf("bad name: %v", err)
	}
	if _, err := d.Snapshot().Owner("a,b", "", now); err == nil {
		t.Error("a bad name was accepted")
	}
}

// Group names differ as for Jira, which compares them in lower case.
func TestFoldGroup(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"jira-users", "JIRA-Users", true},
		{"größe", "GRÖßE", true},
		{"Größe", "gRÖSSE", false},
		{"staff", "\u017ftaff", false}, // the long s
		{"a", "a ", false},
	} {
		if same := directory.FoldGroup(test.a) == directory.FoldGroup(test.b); same != test.same {
			t.Errorf("%q and %q: the same is %v; want %v", test.a, test.b, same, test.same)
		}
	}
}
