package jira_test

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
)

// After a restart during an outage, the saved answers keep their lifetime.
func TestRestart(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, account{"K1", "fred", true}, account{"K2", "wilma", false}, account{"K3", "barney", true})
		r.owners = []directory.Owner{{Name: "fred", Key: "K1"}, {Name: "wilma"}, {Name: "betty", Key: "K9"}, {Name: "barney"}}
		r.groups, r.jira.groups["Staff"] = []string{"staff", "none"}, []string{"K1", "K2"}
		path := filepath.Join(t.TempDir(), "directory")
		r.refresh(t)
		if err := r.Save(path, 0); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("the file: %v, %v", info.Mode(), err)
		}
		if content, err := os.ReadFile(path); err != nil || strings.Contains(string(content), nativeToken) {
			t.Errorf("the file contains the credential, or %v", err)
		}
		before := r.Snapshot()
		r.jira.set(func() {
			r.jira.fault = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true }
		})
		time.Sleep(5 * time.Minute)

		r.restart(t)
		if err := r.Restore(path); err != nil {
			t.Fatal(err)
		}
		if len(r.published) != 1 || r.published[0] != r.Snapshot() {
			t.Errorf("%d snapshots were published", len(r.published))
		}
		if age, ok := r.Age(); !ok || age != time.Since(before.Taken()) || age < 5*time.Minute {
			t.Errorf("age %s", age)
		}
		if !r.GoodUntil().Equal(before.GoodUntil()) {
			t.Errorf("good until %s, want %s", r.GoodUntil(), before.GoodUntil())
		}
		for _, o := range append(r.owners, directory.Owner{Name: "dino"}, directory.Owner{Name: "fred", Key: "K2"}, directory.Owner{Name: "x", Key: "K1"}) {
			for _, now := range []time.Time{time.Now(), before.GoodUntil().Add(-1), before.GoodUntil()} {
				want, wantErr := before.Owner(o.Name, o.Key, now)
				u, err := r.Snapshot().Owner(o.Name, o.Key, now)
				if u.Name != want.Name || u.Key != want.Key || (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
					t.Errorf("%s at %s: %+v, %v; want %+v, %v", o.Name, now, u, err, want, wantErr)
				}
			}
		}
		fred, _ := r.Snapshot().ByName("FRED")
		for group, want := range map[string][2]bool{"STAFF": {true, true}, "none": {false, true}, "others": {}} {
			if is, known := r.Snapshot().Member(fred, group); [2]bool{is, known} != want {
				t.Errorf("fred in %s: %v, known %v", group, is, known)
			}
		}
		if missing := r.Snapshot().MissingGroups(); len(missing) != 1 || missing[0] != "none" {
			t.Errorf("missing %v", missing)
		}

		for time.Now().Before(before.GoodUntil()) {
			if _, err := r.owner("fred", "K1"); err != nil {
				t.Fatalf("%s: %v", time.Now(), err)
			}
			if err := r.Refresh(t.Context()); err == nil {
				t.Fatal("a refresh succeeded during the outage")
			}
			time.Sleep(every)
		}
		if _, err := r.owner("fred", "K1"); !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("too old: %v, want ErrUnavailable", err)
		}
		r.restart(t)
		if err := r.Restore(path); err == nil || r.Snapshot() != nil || len(r.published) != 0 {
			t.Errorf("restored when too old: %v", err)
		}
	})
}

// A restored answer about a user who can't be requested is carried to the next
// snapshot with its age.
func TestRefreshAfterRestore(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, account{"K1", "fred", true}, account{"K2", "wilma", true})
		r.owners = ownersOf(r.jira.users)
		path := filepath.Join(t.TempDir(), "directory")
		r.refresh(t)
		if err := r.Save(path, 0); err != nil {
			t.Fatal(err)
		}
		wilma, _ := r.Snapshot().ByName("wilma")
		asked := wilma.Asked
		time.Sleep(5 * time.Minute)
		r.restart(t)
		if err := r.Restore(path); err != nil {
			t.Fatal(err)
		}
		r.jira.set(func() { r.jira.fault = brokenUser("K2", "wilma"); r.jira.users[0].active = false })
		r.refresh(t)
		if _, err := r.owner("fred", "K1"); !errors.Is(err, directory.ErrInactive) {
			t.Errorf("fred, who was requested: %v", err)
		}
		if u, err := r.owner("wilma", "K2"); err != nil || !u.Asked.Equal(asked) {
			t.Errorf("wilma: %+v, %v", u, err)
		}
		if _, err := r.Snapshot().Owner("wilma", "K2", asked.Add(staleAfter)); !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("wilma, when the answer is too old: %v", err)
		}
	})
}

func TestRestoreRefuses(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, account{"K1", "fred", true})
		r.owners = ownersOf(r.jira.users)
		dir := t.TempDir()
		path := filepath.Join(dir, "directory")
		nothing := func(what, path string) error {
			t.Helper()
			r.restart(t)
			err := r.Restore(path)
			if err == nil || r.Snapshot() != nil || len(r.published) != 0 {
				t.Errorf("%s: restored, %v", what, err)
			}
			return err
		}
		if err := nothing("no file", path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no file: %v", err)
		}
		nothing("a folder", dir)
		if err := r.Save(path, 0); err != nil {
			t.Fatal(err)
		}
		if err := nothing("nothing was known", path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without an earlier snapshot: %v", err)
		}
		r.refresh(t)
		if err := r.Save(path, 0); err != nil {
			t.Fatal(err)
		}
		if err := r.Restore(path); err == nil || len(r.published) != 1 {
			t.Errorf("after a refresh: %v", err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		half := filepath.Join(dir, "half")
		write(t, half, string(content[:len(content)/2]))
		nothing("half a file", half)
	})
}

func TestSaveInterval(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, activeAccounts(3)...)
		r.owners = ownersOf(r.jira.users)
		dir := t.TempDir()
		path := filepath.Join(dir, "directory")
		saves := func(what string, within time.Duration, want bool) {
			t.Helper()
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if err := r.Save(path, within); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); (err == nil) != want {
				t.Errorf("%s: saved %v, want %v", what, err == nil, want)
			}
		}
		const often = 5 * every
		write(t, path+".new", "what a crash has left")
		saves("before the first refresh", 0, false)
		r.refresh(t)
		saves("the first", often, true)
		saves("the first again", 0, false)
		for range 4 {
			time.Sleep(every)
			r.refresh(t)
			saves("too soon", often, false)
		}
		time.Sleep(every)
		r.refresh(t)
		saves("five minutes later", often, true)
		time.Sleep(every)
		r.refresh(t)
		saves("at the end", 0, true)

		r.jira.set(func() { r.jira.users[1].active = false })
		r.refresh(t)
		saves("fewer rights", often, true)
		r.jira.set(func() { r.jira.users[1].active = true })
		r.refresh(t)
		saves("more rights", often, false)
		if _, err := r.Lookup(t.Context(), "user00001"); err != nil {
			t.Fatal(err)
		}

		// A restored snapshot is already in the file.
		saves("for the restart", 0, true)
		r.restart(t)
		if err := r.Restore(path); err != nil {
			t.Fatal(err)
		}
		saves("restored", 0, false)

		// If the write fails, the old file stays.
		r.refresh(t)
		saves("before the disk fails", 0, true)
		before, _ := os.ReadFile(path)
		if err := os.MkdirAll(path+".new/x", 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(every)
		r.refresh(t)
		if err := r.Save(path, 0); err == nil {
			t.Error("saved to an unwritable place")
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			t.Errorf("the file has changed, or %v", err)
		}
		if err := os.RemoveAll(path + ".new"); err != nil {
			t.Fatal(err)
		}
		saves("tried again", often, false)
		saves("tried again at the end", 0, true)
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
			t.Errorf("files %v, %v", files, err)
		}
	})
}
