package app

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/identify"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
)

// staffed returns a server, not started, whose directory knows fred of the group
// staff in this Jira, and a function that parses its configuration with other access.
func staffed(t *testing.T) (s *Server, jira *jiratest.Server, with func(access string) config.Config) {
	t.Helper()
	const pat = "c2VydmljZXNlcnZpY2VzZXJ2aWNlc2VydmljZQ=="
	jira = jiratest.New(jiratest.Options{Users: []jiratest.User{
		{Name: "service", Active: true, Groups: []string{jiratest.Administrators}, PATs: []string{pat}},
		{Name: "fred", Key: "JIRAUSER1", Password: "pw", Active: true, Groups: []string{"staff"}},
	}})
	upstream := httptest.NewServer(jira)
	t.Cleanup(upstream.Close)
	dir := t.TempDir()
	file, credential := filepath.Join(dir, "tokengate.yaml"), filepath.Join(dir, "credential")
	text := func(access string) []byte {
		return []byte("publicURL: https://jira.example.com\nupstream: {url: " + upstream.URL + "}\nclientAddress: {source: true}\n" +
			"store: {badger: {dir: " + dir + "/data}}\ndirectory: {upstream: {credential: " + credential + ", refresh: 1h, staleAfter: 3h}}\n" +
			"access: {use: [" + access + "], admin: [admins]}\n")
	}
	if err := errors.Join(os.WriteFile(credential, []byte(pat), 0o600), os.WriteFile(file, text("staff"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), file, Options{Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := s.users.directory.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, jira, func(access string) config.Config {
		c, err := config.Parse(file, text(access))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// TestAccessIsAppliedAtOnce checks that a reload that withdraws the use of tokens counts
// before the next refresh of the directory.
func TestAccessIsAppliedAtOnce(t *testing.T) {
	s, _, with := staffed(t)
	owner := store.Owner{Name: "fred", Key: "JIRAUSER1"}
	s.tokens.Index().Put(store.Token{ID: "0123456789ab", Owner: owner, State: store.Active})
	if err := s.users.directory.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		access string
		want   index.OwnerStatus
	}{{"staff", index.OwnerPermitted}, {"", index.OwnerNotPermitted}, {"staff", index.OwnerPermitted}} {
		s.apply(with(c.access))
		if entry, ok := s.tokens.Index().Lookup("0123456789ab"); !ok || entry.OwnerStatus != c.want {
			t.Errorf("access.use: [%s]: owner status %d, want %d", c.access, entry.OwnerStatus, c.want)
		}
	}
}

// TestGroupsWithoutAnswer checks that no groups count as known while the configuration
// names one that the directory has not been asked for.
func TestGroupsWithoutAnswer(t *testing.T) {
	s, _, with := staffed(t)
	known := func() (lookup, owner bool) {
		t.Helper()
		byName, err := s.Lookup(t.Context(), "fred")
		byKey, failed := s.Owner("fred", "JIRAUSER1")
		if err != nil || failed != nil {
			t.Fatal(err, failed)
		}
		return byName.Groups.Known, byKey.Groups.Known
	}
	for _, step := range []struct {
		name string
		do   func()
		want bool
	}{
		{"at first", func() {}, true},
		{"with a new group", func() { s.apply(with("staff, others")) }, false},
		{"after a refresh", func() { _ = s.users.directory.Refresh(t.Context()) }, true},
	} {
		step.do()
		if lookup, owner := known(); lookup != step.want || owner != step.want {
			t.Errorf("%s: groups known by a lookup %v, of an owner %v; want %v", step.name, lookup, owner, step.want)
		}
	}
}

// TestCallerWithAnotherKey checks that a caller who has the name of a user in the directory, but
// another key, gets nothing of that user's.
func TestCallerWithAnotherKey(t *testing.T) {
	s, jira, _ := staffed(t)
	as := func(password string) (directory.User, error) {
		basic := base64.StdEncoding.EncodeToString([]byte("fred:" + password))
		u, _, err := s.identify(t.Context(), identify.Credential{Authorization: "Basic " + basic})
		return u, err
	}
	if u, err := as("pw"); err != nil || !u.Groups.Has("staff") {
		t.Fatalf("user %+v, error %v", u, err)
	}
	jira.Put(jiratest.User{Name: "fred", Key: "JIRAUSER2", Password: "pw2", Active: true})
	if u, err := as("pw2"); !errors.Is(err, directory.ErrInactive) {
		t.Errorf("user %+v, error %v", u, err)
	}
}

// TestExposedTokenIsDisabled checks that a token whose value another user has is disabled once its
// owner becomes an administrator.
func TestExposedTokenIsDisabled(t *testing.T) {
	s, jira, _ := staffed(t)
	jira.Put(jiratest.User{Name: "wilma", Active: true, Groups: []string{"staff"}})
	exposed := store.Token{
		ID: "0123456789ab", Owner: store.Owner{Name: "fred", Key: "JIRAUSER1"}, Name: "ci", Created: time.Now(), CreatedBy: "wilma",
		IssuedBy: "wilma", State: store.Active, Secret: store.Secret{Salt: [16]byte{1}, Hash: [32]byte{1}},
	}
	admit := func([]store.Token) (store.Audit, error) { return store.Audit{}, nil }
	if _, err := s.tokens.Create(t.Context(), exposed, admit); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { defer close(stop); s.reconcile(ctx) }()
	defer func() { cancel(); <-stop }()
	for _, step := range []struct {
		groups []string
		want   store.State
	}{{[]string{"staff"}, store.Active}, {[]string{"staff", "admins"}, store.Disabled}} {
		if err := errors.Join(jira.SetGroups("fred", step.groups...), s.users.directory.Refresh(t.Context())); err != nil {
			t.Fatal(err)
		}
		s.users.published <- struct{}{} // once this one and the next are taken, the snapshot's is done
		s.users.published <- struct{}{}
		s.users.published <- struct{}{}
		if got, err := s.tokens.Get(t.Context(), exposed.ID); err != nil || got.State != step.want {
			t.Errorf("fred in %v: the token is %s, error %v; want %s", step.groups, got.State, err, step.want)
		}
	}
}

// TestUnusedNeedsTheDirectory checks that no user counts as one without tokens while it is not known whether the
// user was renamed.
func TestUnusedNeedsTheDirectory(t *testing.T) {
	s, _, _ := staffed(t)
	fred := store.Owner{Name: "fred", Key: "JIRAUSER1"}
	if unused, err := s.unused(t.Context(), fred); !unused || err != nil {
		t.Errorf("without tokens: %v, error %v", unused, err)
	}
	s.users.directory = directory.New(directory.Options{Now: time.Now}) // has not been read
	if unused, err := s.unused(t.Context(), fred); unused || !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("without a directory: %v, error %v", unused, err)
	}
}
