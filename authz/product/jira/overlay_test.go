package jira_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
)

// nested omits nested groups of root, as Jira does.
func nested(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != "/rest/api/2/user" || r.URL.Query().Get("username") != "root" {
		return false
	}
	bean := account{"K2", "root", true}.bean()
	bean["groups"] = object{"size": 1, "items": []object{{"name": "below"}}}
	send(w, 200, bean)
	return true
}

// Jira's answer about one user removes no group that the pages contain.
func TestLookupRemovesNoGroup(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, account{"K1", "fred", true}, account{"K2", "root", true})
		r.groups, r.jira.groups["admins"] = []string{"admins"}, []string{"K2"}
		r.owners = []directory.Owner{{Name: "fred", Key: "K1"}}
		member := func(what string, u directory.User, is, known bool) {
			t.Helper()
			if gotIs, gotKnown := r.Snapshot().Member(u, "Admins"); gotIs != is || gotKnown != known {
				t.Errorf("%s: root in admins: %v, known %v; want %v, %v", what, gotIs, gotKnown, is, known)
			}
		}
		r.jira.fault = func(w http.ResponseWriter, req *http.Request) bool {
			if strings.Contains(req.URL.RawQuery, "key=K1") {
				r.jira.mu.Unlock()
				time.Sleep(3 * time.Second)
				r.jira.mu.Lock()
			}
			return nested(w, req)
		}
		refresh := func() func() {
			done := make(chan error)
			go func() { done <- r.Refresh(t.Context()) }()
			synctest.Wait()
			time.Sleep(time.Second)
			return func() {
				t.Helper()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
		}
		lookup := func() directory.User {
			t.Helper()
			u, err := r.Lookup(t.Context(), "root")
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
		end := refresh()
		if u := lookup(); u.Groups.Known {
			t.Errorf("without a snapshot the groups are %+v", u.Groups)
		}
		end()
		u, _ := r.Snapshot().ByName("root")
		member("looked up during the first refresh", u, true, true)

		time.Sleep(time.Second)
		end = refresh()
		u = lookup()
		end()
		member("looked up during a refresh", u, true, true)
		u, _ = r.Snapshot().ByName("root")
		member("after it", u, true, true)

		time.Sleep(staleAfter)
		member("when the snapshot is too old", lookup(), false, false)
		if !r.Snapshot().Follows([]string{"ADMINS"}) || r.Snapshot().Follows([]string{"admins", "below"}) {
			t.Error("wrong groups are followed")
		}
	})
}

// A member without a key in a page is the user with that name.
func TestMembersWithoutKeys(t *testing.T) {
	for name, active := range map[string]object{"active": {"active": true}, "no other field": {}} {
		in(t, func(t *testing.T) {
			r := newRig(t, append(activeAccounts(30), account{"K2", "root", true})...)
			r.groups = []string{"admins"}
			r.jira.list = true
			r.jira.fault = func(w http.ResponseWriter, req *http.Request) bool {
				if req.URL.Path != "/rest/api/2/group/member" {
					return nested(w, req)
				}
				bean := object{"name": "Root"}
				for k, v := range active {
					bean[k] = v
				}
				send(w, 200, object{"isLast": true, "total": 1, "values": []object{bean}})
				return true
			}
			check := func(what string, u directory.User) {
				t.Helper()
				if is, known := r.Snapshot().Member(u, "admins"); !is || !known || u.Name == "" {
					t.Errorf("%s, %s: %+v in admins: %v, known %v", name, what, u, is, known)
				}
			}
			r.refresh(t)
			time.Sleep(every)
			u, err := r.Lookup(t.Context(), "root")
			if err != nil {
				t.Fatal(err)
			}
			check("looked up", u)
			time.Sleep(every)
			r.refresh(t)
			u, _ = r.Snapshot().ByName("root")
			check("after a refresh", u)
			// The list of all users has keys.
			r.owners = append(ownersOf(r.jira.users), directory.Owner{Name: "nobody"})
			time.Sleep(every)
			r.refresh(t)
			u, _ = r.Snapshot().ByName("root")
			check("listed", u)
		})
	}
}

// The cost of a lookup does not depend on the number of users.
func TestLookupCost(t *testing.T) {
	in(t, func(t *testing.T) {
		users := activeAccounts(5000)
		r := newRig(t, users...)
		r.jira.list = true
		r.owners = ownersOf(users)
		r.refresh(t)
		r.jira.users = []account{}
		for i := range 10 {
			r.jira.users = append(r.jira.users, account{fmt.Sprint("N", i), fmt.Sprint("new", i), true})
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, a := range r.jira.users {
			if _, err := r.Lookup(t.Context(), a.name); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / 10; each > 256<<10 {
			t.Errorf("a lookup allocates %d bytes", each)
		}
		if n := r.Snapshot().Len(); n != len(users)+10 {
			t.Errorf("%d users, want %d", n, len(users)+10)
		}
		if _, err := r.owner("new7", "N7"); err != nil {
			t.Errorf("looked up: %v", err)
		}
	})
}
