package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/cmd/tokengate/app"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

// startServer starts the rig's gate in this process, with Fred in its directory, and
// returns a function that shuts it down. Then the log is complete.
func (r *rig) startServer(log *bytes.Buffer) (stop func()) {
	r.t.Helper()
	users := r.dir + "/users.yaml"
	if err := os.WriteFile(users, []byte("users: [{name: Fred, key: K1}]"), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.write(withoutKey(r.t, read(r.t, r.config), "directory") + "\ndirectory: {file: " + users + "}\n")
	s, err := app.New(context.Background(), r.config, app.Options{Log: log, Version: version})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		r.t.Fatal(err, s.Stop())
	}
	return func() {
		r.t.Helper()
		if err := s.Stop(); err != nil {
			r.t.Error(err)
		}
	}
}

// records returns what a server that has stopped has left for administrators.
func (r *rig) records() (totals map[string]uint64, uses []store.PasswordUse) {
	r.t.Helper()
	db, err := badger.Open(r.t.Context(), badger.Options{Dir: r.dir + "/data"})
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	days, err := db.Totals(r.t.Context(), store.DayOf(time.Now())-30)
	if err != nil {
		r.t.Fatal(err)
	}
	totals = make(map[string]uint64)
	for _, d := range days { // two at midnight
		for word, n := range d.Counts {
			totals[word] += n
		}
	}
	if uses, err = db.PasswordUses(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return totals, uses
}

// Through a real Envoy: the users who send passwords are recorded with their clients and
// addresses, so that an administrator can inform them before passwords are blocked. An
// unknown name may be a mistyped password, so such names are only counted.
func TestPasswordsAreRecorded(t *testing.T) {
	t.Parallel()
	const typed = "hunter2-in-the-wrong-field"
	r := newRig(t, options{noGate: true})
	agent := func(q request, name string) request {
		q.header = http.Header{"User-Agent": {name}}
		return q
	}
	const login, content = "/rest/auth/1/session", `{"username":"fred","password":"yabba"}`
	var log bytes.Buffer
	began := time.Now().Truncate(time.Second)
	for _, life := range []struct {
		mode    string
		status  int // of a password
		unknown int // of one that Jira refuses
	}{{"observe", 200, 401}, {"block", 403, 403}} {
		settings := withoutKey(t, read(t, r.config), "passwords")
		r.write(settings + "\npasswords: {mode: " + life.mode + ", allowedNetworks: [10.7.0.0/16]}\n")
		stop := r.startServer(&log)
		value := r.mint(life.mode)
		for _, c := range []struct {
			q      request
			status int
		}{
			{agent(request{auth: bearer(value)}, "curl/8"), 200},
			{agent(request{auth: basic("fred", value.Reveal())}, "curl/8"), 200},
			{agent(request{auth: bearer(value), path: "/secure/x"}, "curl/8"), 403},
			{agent(request{auth: basic("fred", "yabba")}, "curl/8"), life.status},
			{agent(request{auth: basic("FRED", "yabba")}, "curl/8"), life.status},
			{agent(request{path: "/rest/api/2/myself?os_username=fred&os_password=yabba"}, "curl/8"), life.status},
			{agent(request{auth: basic("Fred", "yabba"), from: "10.7.0.1"}, "Java"), 200}, // exempt
			{agent(request{auth: basic(typed, "x")}, "curl/8"), life.unknown},
			{agent(request{path: "/rest/api/2/myself?os_username=" + typed}, "curl/8"), life.unknown},
			{agent(request{method: "POST", path: login, body: strings.NewReader(content)}, "curl/8"), life.status},
		} {
			if got := r.send(c.q); got.status != c.status {
				t.Errorf("%s: status %d, want %d: %s", life.mode, got.status, c.status, got.body)
			}
		}
		stop()
	}

	totals, uses := r.records()
	if diff := cmp.Diff(map[string]uint64{
		"allowed": 4, "path_not_allowed": 2, "password": 7 + 1, "password_blocked": 6, authz.PasswordUnknownUser: 6,
	}, totals); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
	for i := range uses {
		u := &uses[i]
		if u.First.Before(began) || u.Last.Before(u.First) || u.Last.After(time.Now()) {
			t.Errorf("used from %s to %s", u.First, u.Last)
		}
		u.First, u.Last = time.Time{}, time.Time{}
	}
	if diff := cmp.Diff([]store.PasswordUse{
		{User: "Fred", Client: "curl/8", Address: netip.MustParseAddr("10.1.2.3"), Passed: 3, WouldBlock: 3, Blocked: 3},
		{User: "Fred", Client: "Java", Address: netip.MustParseAddr("10.7.0.1"), Passed: 2},
	}, uses, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("uses of passwords (-want +got):\n%s", diff)
	}

	texts := map[string]string{"the log": log.String(), "the records": fmt.Sprint(totals, uses)}
	err := filepath.WalkDir(r.dir+"/data", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		texts[d.Name()] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	client := false
	for where, text := range texts {
		for _, secret := range []string{"yabba", typed} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %q", where, secret)
			}
		}
		if found := findSecret(t, text); found != "" {
			t.Errorf("%s holds %s", where, found)
		}
		client = client || where != "the records" && strings.Contains(text, "curl/8")
	}
	if !client {
		t.Error("the files do not hold what was written: this test looks in the wrong place")
	}
}

// Totals survive a restart and continue to grow.
func TestTotalsAreKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	value := r.mint("totals")
	for range 2 {
		r.send(request{auth: bearer(value)})
		r.send(request{auth: basic("fred", "yabba")})
		if err := r.gate.stop(); err != nil {
			t.Error(err)
		}
		r.startGate()
	}
	r.gate.stop()
	totals, uses := r.records()
	if diff := cmp.Diff(map[string]uint64{"allowed": 2, "password": 2, authz.PasswordUnknownUser: 2}, totals); diff != "" || len(uses) != 0 {
		t.Errorf("uses of passwords %v, totals (-want +got):\n%s", uses, diff)
	}
}
