package jira_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
)

// in runs a test with the clock of testing/synctest.
func in(t *testing.T, test func(*testing.T)) { t.Helper(); synctest.Test(t, test) }

func TestRenamedUserIsFollowedByKey(t *testing.T) {
	for _, group := range []bool{false, true} {
		in(t, func(t *testing.T) {
			r := newRig(t, account{"K1", "fred", true})
			r.owners = []directory.Owner{{Name: "fred", Key: "K1"}}
			if group {
				r.jira.groups["all"], r.groups = []string{"K1"}, []string{"all"}
			}
			r.refresh(t)
			r.jira.set(func() { r.jira.users[0].name = "Frederick" })
			r.refresh(t)
			if u, err := r.owner("fred", "K1"); err != nil || u.Name != "Frederick" {
				t.Errorf("%+v, %v; want Frederick", u, err)
			}
			if u, ok := r.Snapshot().ByName("fred"); ok {
				t.Errorf("the old name is still %+v", u)
			}
			// A user with a name that can't be in a header counts as removed.
			r.jira.set(func() {
				r.jira.users[0].name = "frédéric"
				if group { // the page has the name
					r.jira.fault = brokenUser("key=K1")
				}
			})
			r.refresh(t)
			if u, err := r.owner("fred", "K1"); !errors.Is(err, directory.ErrUnknownUser) {
				t.Errorf("unusable name: %+v, %v; want ErrUnknownUser", u, err)
			}
		})
	}
}

func TestReusedName(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, account{"K1", "fred", true})
		r.owners = []directory.Owner{{Name: "fred", Key: "K1"}}
		r.refresh(t)
		r.jira.set(func() { r.jira.users[0] = account{"K2", "fred", true} })
		r.refresh(t)
		s := r.Snapshot()
		if u, ok := s.ByName("fred"); !ok || u.Key != "K2" {
			t.Errorf("by name %+v, want K2", u)
		}
		if u, ok := s.ByKey("K1"); ok {
			t.Errorf("by the old key %+v, want none", u)
		}
		if u, err := r.owner("fred", "K1"); !errors.Is(err, directory.ErrUnknownUser) {
			t.Errorf("owner %+v, %v; want ErrUnknownUser", u, err)
		}
		if u, err := r.owner("fred", "K2"); err != nil {
			t.Errorf("new owner %+v, %v", u, err)
		}
	})
}

// A page has the name with another key while the first user can't be requested:
// an earlier answer must not lead to the new user.
func TestNameMovesDuringFailure(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, account{"K1", "fred", true})
		r.owners = []directory.Owner{{Name: "fred", Key: "K1"}}
		r.groups = []string{"all"}
		r.refresh(t)
		time.Sleep(every)
		r.jira.set(func() {
			r.jira.users = []account{{"K1", "old-fred", true}, {"K2", "Fred", true}}
			r.jira.groups["all"] = []string{"K2"}
			r.jira.fault = brokenUser("key=K1")
		})
		r.refresh(t)
		if u, err := r.owner("fred", "K1"); !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("%+v, %v; want ErrUnavailable", u, err)
		}
	})
}

// During a rename both users have the name, and neither is known.
func TestTwoUsersWithOneName(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, account{"K1", "fred", true}, account{"K2", "Fred", true}, account{"K3", "wilma", true})
		r.groups, r.jira.groups["all"] = []string{"all"}, []string{"K1", "K2", "K3"}
		r.refresh(t)
		for _, key := range []string{"", "K1", "K2"} {
			if u, err := r.owner("fred", key); !errors.Is(err, directory.ErrUnavailable) {
				t.Errorf("%q: %+v, %v; want ErrUnavailable", key, u, err)
			}
		}
		if _, err := r.owner("wilma", "K3"); err != nil {
			t.Error(err)
		}
	})
}

func TestIncompleteUsers(t *testing.T) {
	for name, answer := range map[string]object{
		"without active": {"key": "K1", "name": "fred"},
		"another key":    {"key": "K2", "name": "fred", "active": true},
		"without key":    {"name": "fred", "active": true},
		"without name":   {"key": "K1", "active": true},
		"bad key":        {"key": "K1\n", "name": "fred", "active": true},
	} {
		in(t, func(t *testing.T) {
			r := newRig(t, account{"K1", "fred", true})
			r.owners, r.groups = []directory.Owner{{Name: "fred", Key: "K1"}}, []string{"all"}
			r.jira.fault = func(w http.ResponseWriter, req *http.Request) bool {
				switch req.URL.Path {
				case "/rest/api/2/user":
					send(w, 200, answer)
				case "/rest/api/2/group/member":
					send(w, 200, object{"values": []object{answer}, "isLast": true})
				default:
					return false
				}
				return true
			}
			r.refresh(t)
			if u, err := r.owner("fred", "K1"); name != "without key" && !errors.Is(err, directory.ErrUnavailable) {
				t.Errorf("%s: %+v, %v; want ErrUnavailable", name, u, err)
			}
			// Outside a page such an answer is useless, too.
			r.groups = nil
			if err := r.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if u, ok := r.Snapshot().ByName("fred"); ok && !u.Asked.Before(r.Snapshot().Taken()) {
				t.Errorf("%s: requested singly: %+v", name, u)
			}
			if u, err := r.Lookup(t.Context(), "Wilma"); !errors.Is(err, directory.ErrUnavailable) {
				t.Errorf("%s: lookup of another user %+v, %v; want ErrUnavailable", name, u, err)
			}
		})
	}
}

// brokenUser breaks requests that contain one of these parts.
func brokenUser(parts ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		for _, part := range parts {
			if strings.Contains(r.URL.RawQuery, part) {
				w.WriteHeader(500)
				return true
			}
		}
		return false
	}
}

func TestFailedOwnersDontFailTheRefresh(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, activeAccounts(10)...)
		r.owners = ownersOf(r.jira.users)
		r.refresh(t)
		// Four in a row fail, but Jira answers.
		r.jira.set(func() { r.jira.fault = brokenUser("10001", "10002", "10003", "10004") })
		for begun := time.Now(); time.Since(begun) < staleAfter-2*every; time.Sleep(every) {
			r.refresh(t)
			if _, err := r.owner("user00002", "JIRAUSER10002"); err != nil {
				t.Fatalf("after %s: %v", time.Since(begun), err)
			}
		}
		time.Sleep(2 * every)
		r.refresh(t)
		for i, a := range r.jira.users {
			_, err := r.owner(a.name, a.key)
			if broken := i >= 1 && i <= 4; broken != errors.Is(err, directory.ErrUnavailable) || !broken && err != nil {
				t.Errorf("%s: %v", a.name, err)
			}
		}
		if got := r.Stats(); got.Unanswered != 4 || !strings.Contains(got.OwnerError, "status 500") {
			t.Errorf("stats %+v", got)
		}
		if n := r.Snapshot().Len(); n != 6 {
			t.Errorf("%d users are known, want 6", n)
		}
		// Answers also expire between two refreshes.
		r.jira.set(func() { r.jira.fault = nil })
		r.refresh(t)
		r.jira.set(func() { r.jira.fault = brokenUser("10002") })
		time.Sleep(staleAfter - every)
		r.refresh(t)
		for after, want := range map[time.Duration]error{0: nil, every: directory.ErrUnavailable} {
			if _, err := r.Snapshot().Owner("user00002", "JIRAUSER10002", time.Now().Add(after)); !errors.Is(err, want) {
				t.Errorf("%s later: %v, want %v", after, err, want)
			}
			if _, err := r.Snapshot().Owner("user00003", "JIRAUSER10003", time.Now().Add(after)); err != nil {
				t.Errorf("another owner, %s later: %v", after, err)
			}
		}
	})
}

func TestRemovedAndInactive(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, account{"K1", "fred", true}, account{"K2", "wilma", true}, account{"K3", "barney", true})
		r.owners = []directory.Owner{{Name: "fred", Key: "K1"}, {Name: "wilma"}, {Name: "barney"}}
		r.refresh(t)
		r.jira.set(func() { r.jira.users = []account{{"K3", "barney", false}} })
		r.refresh(t)
		for _, tt := range []struct {
			name, key string
			want      error
		}{
			{"fred", "K1", directory.ErrUnknownUser},
			{"wilma", "", directory.ErrUnknownUser},
			{"Barney", "", directory.ErrInactive},
			{"barney", "K3", directory.ErrInactive},
		} {
			if u, err := r.owner(tt.name, tt.key); !errors.Is(err, tt.want) {
				t.Errorf("%s: %+v, %v; want %v", tt.name, u, err, tt.want)
			}
		}
		// Removed users stay removed while they can't be requested, for the
		// lifetime of that answer.
		r.jira.set(func() { r.jira.fault = brokenUser("K1", "wilma") })
		r.refresh(t)
		if _, err := r.owner("fred", "K1"); !errors.Is(err, directory.ErrUnknownUser) {
			t.Errorf("still removed: %v", err)
		}
		if _, err := r.Snapshot().Owner("fred", "K1", r.GoodUntil()); !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("removed, when the snapshot has expired: %v, want ErrUnavailable", err)
		}
		time.Sleep(staleAfter)
		r.refresh(t)
		if _, err := r.owner("fred", "K1"); !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("removed long ago: %v, want ErrUnavailable", err)
		}
		r.jira.set(func() {
			r.jira.fault = nil
			r.jira.users = []account{{"K1", "fred", true}, {"K3", "barney", true}}
		})
		r.refresh(t)
		for _, o := range []directory.Owner{{Name: "fred", Key: "K1"}, {Name: "barney"}} {
			if u, err := r.owner(o.Name, o.Key); err != nil || !u.Active {
				t.Errorf("exists again: %+v, %v", u, err)
			}
		}
	})
}

func TestOutageOfAnHour(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, activeAccounts(30)...)
		r.owners, r.groups = ownersOf(r.jira.users), []string{"all"}
		r.jira.groups["all"] = keys(r.jira.users[:5])
		r.refresh(t)
		good, begun := r.Snapshot(), time.Now()
		if want := good.Taken().Add(staleAfter); !r.GoodUntil().Equal(want) {
			t.Errorf("good until %s, want %s", r.GoodUntil(), want)
		}
		r.jira.set(func() {
			r.jira.fault = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true }
		})
		for time.Since(begun) < time.Hour {
			if err := r.Refresh(t.Context()); err == nil || r.Snapshot() != good {
				t.Fatalf("a refresh succeeded during the outage: %v", err)
			}
			_, err := r.owner("user00001", "JIRAUSER10001")
			if over := !time.Now().Before(r.GoodUntil()); over != errors.Is(err, directory.ErrUnavailable) {
				t.Fatalf("after %s: %v", time.Since(begun), err)
			}
			time.Sleep(every)
		}
		if age, ok := r.Age(); !ok || age < time.Hour {
			t.Errorf("age %s", age)
		}
		r.jira.set(func() { r.jira.fault = nil })
		r.refresh(t)
		if _, err := r.owner("user00001", "JIRAUSER10001"); err != nil {
			t.Errorf("after one refresh: %v", err)
		}
	})
}

// Jira fails in the middle of a refresh.
func TestFailedRefreshKeepsSnapshot(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, activeAccounts(60)...)
		r.groups = []string{"all"}
		r.jira.groups["all"] = keys(r.jira.users)
		r.owners = []directory.Owner{{Name: "x1"}, {Name: "x2"}, {Name: "x3"}, {Name: "x4"}}
		r.refresh(t)
		good := r.Snapshot()
		total := len(r.jira.taken())
		for after := range total {
			r.jira.set(func() {
				r.jira.users[0].active = false
				r.jira.requests = nil
				r.jira.fault = func(w http.ResponseWriter, _ *http.Request) bool {
					if len(r.jira.requests) > after {
						w.WriteHeader(502)
						return true
					}
					return false
				}
			})
			err := r.Refresh(t.Context())
			// The last two owners alone are not an outage.
			if midway := after < total-2; midway != (err != nil) || midway && r.Snapshot() != good {
				t.Errorf("outage after %d of %d requests: %v", after, total, err)
			}
			good = r.Snapshot()
		}
	})
}

func TestRun(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, activeAccounts(1)...)
		r.owners = ownersOf(r.jira.users)
		go r.Run(t.Context())
		time.Sleep(10*every + time.Second)
		synctest.Wait()
		// Immediately, and then after 0.9 of the interval.
		if n := len(r.published); n != 12 {
			t.Errorf("%d refreshes in ten minutes, want 12", n)
		}
	})
}
