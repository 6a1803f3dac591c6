package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

// newUpstream returns a valid active upstream credential with every field set.
func newUpstream(n int) store.UpstreamCredential {
	return store.UpstreamCredential{
		ID: fmt.Sprintf("cred%08d", n), Owner: "fred", UpstreamID: "8", Name: "tokengate jira.example.com 1",
		Created: Epoch, Expires: Epoch.AddDate(0, 3, 0), Checked: Epoch.Add(time.Minute),
		State: store.UpstreamActive, SetBy: "fred", Sealed: []byte("\x01sealed\x00\xff"),
	}
}

// putUpstream replaces a user's upstream credentials.
func (f *fixture) putUpstream(user string, all ...store.UpstreamCredential) error {
	_, err := f.UpdateUpstream(f.t.Context(), user, func([]store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		return all, []store.Audit{audit("upstream.connect", "")}, nil
	})
	return err
}

func (f *fixture) upstream(user string) []store.UpstreamCredential {
	f.t.Helper()
	all, err := f.Upstream(f.t.Context(), user)
	if err != nil {
		f.t.Fatalf("upstream credentials of %s: %v", user, err)
	}
	return all
}

func testUpstream(t *testing.T, s Suite) {
	f := open(t, s)
	same(t, "of nobody", f.upstream("JIRAUSER1"), []store.UpstreamCredential(nil))
	first, second := newUpstream(1), newUpstream(2)
	second.State, second.Sealed, second.Expires, second.Checked = store.UpstreamDeleting, nil, time.Time{}, time.Time{}
	third := newUpstream(4)
	third.State = store.UpstreamMinting
	if err := f.putUpstream("JIRAUSER1", first, second, third); err != nil {
		t.Fatal(err)
	}
	if err := f.putUpstream("JIRAUSER10", newUpstream(3)); err != nil {
		t.Fatal(err)
	}
	logged := len(f.auditLog())
	returned, err := f.UpdateUpstream(t.Context(), "JIRAUSER1", func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		same(t, "given to change", before, []store.UpstreamCredential{first, second, third})
		before[0].State = store.UpstreamBroken
		before[0].Checked = Epoch.Add(time.Hour + 5e8).In(time.FixedZone("", 60))
		return before[:1], nil, nil // without an audit record
	})
	first.State, first.Checked = store.UpstreamBroken, Epoch.Add(time.Hour)
	want := []store.UpstreamCredential{first}
	if err != nil {
		t.Fatal(err)
	}
	same(t, "returned", returned, want)
	same(t, "stored", f.upstream("JIRAUSER1"), want)
	if now := len(f.auditLog()); now != logged {
		t.Errorf("%d audit records, want %d", now, logged)
	}
	all := make(map[string]int)
	err = f.AllUpstream(t.Context(), func(user string, c []store.UpstreamCredential, err error) error {
		all[user] += len(c)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "all", all, map[string]int{"JIRAUSER1": 1, "JIRAUSER10": 1})
	if err := f.AllUpstream(t.Context(), func(string, []store.UpstreamCredential, error) error { return errRefused }); !errors.Is(err, errRefused) {
		t.Errorf("AllUpstream with a failing visit: error %v", err)
	}
	_, err = f.UpdateUpstream(t.Context(), "JIRAUSER1", func([]store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		return nil, nil, errRefused
	})
	if err != errRefused {
		t.Errorf("a refused change: error %v", err)
	}
	same(t, "after a refused change", f.upstream("JIRAUSER1"), want)
	for range 2 {
		if err := f.putUpstream("JIRAUSER1"); err != nil {
			t.Fatal(err)
		}
		same(t, "removed", f.upstream("JIRAUSER1"), []store.UpstreamCredential(nil))
	}
	same(t, "of another user", f.upstream("JIRAUSER10"), []store.UpstreamCredential{newUpstream(3)})
}

var errRefused = errors.New("refused by the test")

func testUpstreamInvalid(t *testing.T, s Suite) {
	f := open(t, s)
	if err := f.putUpstream("JIRAUSER1", newUpstream(1)); err != nil {
		t.Fatal(err)
	}
	f.unchanged("an invalid upstream credential", func() {
		change := func(edit func(*store.UpstreamCredential)) []store.UpstreamCredential {
			c := newUpstream(1)
			edit(&c)
			return []store.UpstreamCredential{c}
		}
		for name, c := range map[string]struct {
			user string
			all  []store.UpstreamCredential
		}{
			"no user":        {"", change(func(*store.UpstreamCredential) {})},
			"bad id":         {"JIRAUSER1", change(func(c *store.UpstreamCredential) { c.ID = "x" })},
			"no state":       {"JIRAUSER1", change(func(c *store.UpstreamCredential) { c.State = 0 })},
			"unknown state":  {"JIRAUSER1", change(func(c *store.UpstreamCredential) { c.State = 5 })},
			"nothing sealed": {"JIRAUSER1", change(func(c *store.UpstreamCredential) { c.Sealed = nil })},
			"too long":       {"JIRAUSER1", change(func(c *store.UpstreamCredential) { c.Sealed = []byte(strings.Repeat("x", 1025)) })},
			"never made":     {"JIRAUSER1", change(func(c *store.UpstreamCredential) { c.Created = time.Time{} })},
			"two in use":     {"JIRAUSER1", []store.UpstreamCredential{newUpstream(1), newUpstream(2)}},
			"too many":       {"JIRAUSER1", make([]store.UpstreamCredential, store.MaxUpstreamCredentials+1)},
		} {
			if err := f.putUpstream(c.user, c.all...); !errors.Is(err, store.ErrInvalid) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	})
	same(t, "stored", f.upstream("JIRAUSER1"), []store.UpstreamCredential{newUpstream(1)})
}

// testParallelUpstream checks that no update of one user's credentials is lost.
func testParallelUpstream(t *testing.T, s Suite) {
	f := open(t, s)
	var all sync.WaitGroup
	for n := range store.MaxUpstreamCredentials {
		all.Go(func() {
			_, err := f.UpdateUpstream(context.WithoutCancel(t.Context()), "JIRAUSER1", func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
				c := newUpstream(n)
				c.State, c.Sealed = store.UpstreamMinting, nil
				return append(before, c), []store.Audit{audit("upstream.mint", "")}, nil
			})
			if err != nil {
				t.Errorf("update %d: %v", n, err)
			}
		})
	}
	all.Wait()
	if got := len(f.upstream("JIRAUSER1")); got != store.MaxUpstreamCredentials {
		t.Errorf("%d credentials, want %d", got, store.MaxUpstreamCredentials)
	}
}
