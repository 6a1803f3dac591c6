package directory_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
)

// in runs a test in a bubble, where time stands still while something runs.
func in(t *testing.T, test func(*testing.T)) { t.Helper(); synctest.Test(t, test) }

func count(requests []string, part string) int {
	n := 0
	for _, r := range requests {
		if strings.Contains(r, part) {
			n++
		}
	}
	return n
}

func TestGroupsArePaged(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, people(120)...)
		r.jira.users[7].active = false
		r.jira.groups["Jira-Users"] = keys(r.jira.users)
		r.jira.groups["admins"] = keys(r.jira.users[:2])
		r.groups = []string{"jira-users", "ADMINS", "Jira-Users", "typo"}
		r.refresh(t)

		s := r.Snapshot()
		if s.Len() != 120 || !slices.Equal(s.MissingGroups(), []string{"typo"}) {
			t.Errorf("%d users, missing groups %q; want 120 and typo", s.Len(), s.MissingGroups())
		}
		if n := len(r.jira.taken()); n != 5 {
			t.Errorf("%d requests, want 3 pages, one page, one refusal", n)
		}
		for _, tt := range []struct {
			user, group string
			is, known   bool
		}{
			{"USER00001", "admins", true, true},
			{"user00001", "Admins", true, true},
			{"user00002", "admins", false, true},
			{"user00119", "JIRA-USERS", true, true},
			{"user00119", "typo", false, true},
			{"user00119", "others", false, false},
		} {
			u, ok := s.ByName(tt.user)
			if is, known := s.Member(u, tt.group); !ok || is != tt.is || known != tt.known {
				t.Errorf("%s in %s: %v, known %v; want %v, %v", tt.user, tt.group, is, known, tt.is, tt.known)
			}
		}
		if u, err := r.owner("user00007", "JIRAUSER10007"); !errors.Is(err, directory.ErrInactive) || u.Name != "user00007" {
			t.Errorf("inactive member: %+v, %v", u, err)
		}
		if _, err := r.owner("user00500", ""); !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("nobody asked for: %v, want ErrUnavailable", err)
		}
	})
}

// Somebody leaves the group between two pages: without care the next one would
// be skipped, and their tokens refused.
func TestMembersMoveBetweenPages(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, people(120)...)
		r.jira.groups["all"] = keys(r.jira.users)
		r.groups = []string{"all"}
		r.jira.fault = func(_ http.ResponseWriter, req *http.Request) bool {
			if len(r.jira.requests) == 2 {
				r.jira.groups["all"] = r.jira.groups["all"][1:]
			}
			return false
		}
		r.refresh(t)
		s := r.Snapshot()
		for _, a := range r.jira.users[1:] {
			u, _ := s.ByKey(a.key)
			if is, _ := s.Member(u, "all"); !is {
				t.Fatalf("%s was skipped", a.name)
			}
		}
	})
}

func TestBadPages(t *testing.T) {
	values := beans(people(50))
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"the same page for ever": func(w http.ResponseWriter, _ *http.Request) {
			send(w, 200, object{"isLast": false, "values": values})
		},
		"one member for ever": func(w http.ResponseWriter, _ *http.Request) {
			send(w, 200, object{"isLast": false, "values": values[:1]})
		},
		"nobody, and more to come": func(w http.ResponseWriter, _ *http.Request) {
			send(w, 200, object{"isLast": false, "values": values[:0]})
		},
		"no values": func(w http.ResponseWriter, _ *http.Request) { send(w, 200, object{"isLast": true}) },
		"HTML": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `{"isLast":true,"values":[]}`)
		},
		"no JSON":  func(w http.ResponseWriter, _ *http.Request) { send(w, 200, "x") },
		"too long": func(w http.ResponseWriter, _ *http.Request) { send(w, 200, strings.Repeat("x", 9<<20)) },
		"redirect": func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, "/login.jsp", http.StatusFound) },
		"no such path": func(w http.ResponseWriter, _ *http.Request) {
			send(w, 404, object{"message": "null for uri", "status-code": 404})
		},
		"forbidden": func(w http.ResponseWriter, _ *http.Request) { send(w, 403, object{"errorMessages": []string{"no"}}) },
		"broken":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"silent":    func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				r := newRig(t, people(2)...)
				r.jira.groups["all"] = keys(r.jira.users)
				r.groups = []string{"all"}
				r.refresh(t)
				good := r.Snapshot()
				time.Sleep(every)
				r.jira.fault = func(w http.ResponseWriter, req *http.Request) bool { answer(w, req); return true }
				err := r.Refresh(t.Context())
				if !errors.Is(err, directory.ErrUnavailable) || r.Snapshot() != good {
					t.Errorf("%v, snapshot of %s; want ErrUnavailable and the one before", err, r.Snapshot().Taken())
				}
				if n := len(r.jira.taken()); n > 10 {
					t.Errorf("%d requests", n)
				}
				if got := r.Stats(); got.Refreshed != 1 || got.Failed != 1 || got.LastError == "" {
					t.Errorf("stats %+v", got)
				}
				if len(r.published) != 2 || r.published[1] != good {
					t.Errorf("published %d times, want the one before again", len(r.published))
				}
			})
		})
	}
}

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
			// A name that can't travel in a header is as good as none.
			r.jira.set(func() { r.jira.users[0].name = "frédéric" })
			r.refresh(t)
			if u, err := r.owner("fred", "K1"); !errors.Is(err, directory.ErrUnknownUser) {
				t.Errorf("unusable name: %+v, %v; want ErrUnknownUser", u, err)
			}
		})
	}
}

func TestReusedNameIsAnothers(t *testing.T) {
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
			t.Errorf("by the old key %+v, want nobody", u)
		}
		if u, err := r.owner("fred", "K1"); !errors.Is(err, directory.ErrUnknownUser) {
			t.Errorf("owner %+v, %v; want ErrUnknownUser", u, err)
		}
		if u, err := r.owner("fred", "K2"); err != nil {
			t.Errorf("new owner %+v, %v", u, err)
		}
	})
}

// The name is seen at another key in a page while nobody could be asked about
// the first one: an earlier answer must not lead to the other.
func TestNameThatMovedWhileItsUserWasSilent(t *testing.T) {
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

// brokenUser lets questions that contain one of these fail.
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

func TestOneOwnersFailureIsTheirs(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, people(10)...)
		r.owners = ownersOf(r.jira.users)
		r.refresh(t)
		// Four in a row: Jira answers all the same.
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
		// Between two refreshes, too, an answer becomes too old.
		r.jira.set(func() { r.jira.fault = nil })
		r.refresh(t)
		if _, err := r.Snapshot().Owner("user00002", "JIRAUSER10002", time.Now().Add(staleAfter+time.Second)); !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("later: %v, want ErrUnavailable", err)
		}
	})
}

func TestGoneAndInactive(t *testing.T) {
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
		r.jira.set(func() { r.jira.users = []account{{"K1", "fred", true}, {"K3", "barney", true}} })
		r.refresh(t)
		for _, o := range []directory.Owner{{Name: "fred", Key: "K1"}, {Name: "barney"}} {
			if u, err := r.owner(o.Name, o.Key); err != nil || !u.Active {
				t.Errorf("back again: %+v, %v", u, err)
			}
		}
	})
}

func TestOutageOfAnHour(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, people(30)...)
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
				t.Fatalf("a refresh in the outage: %v", err)
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

// Jira goes away in the middle of a refresh.
func TestFailureMidwayLeavesTheSnapshot(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, people(60)...)
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
			// The last two owners alone don't make an outage.
			if midway := after < total-2; midway != (err != nil) || midway && r.Snapshot() != good {
				t.Errorf("gone after %d of %d requests: %v", after, total, err)
			}
			good = r.Snapshot()
		}
	})
}

func TestOrderAndBudget(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, people(2000)...)
		r.jira.searchLimit = 100 // Jira 10
		r.owners = ownersOf(r.jira.users)
		r.refresh(t)
		requests := r.jira.taken()
		if len(requests) > 602 || len(requests) < 598 {
			t.Errorf("%d requests in a refresh, want about 600", len(requests))
		}
		for i := range r.owners {
			if i >= 1900 {
				r.owners[i].LastUsed = time.Now()
			}
		}
		r.refresh(t)
		requests = r.jira.taken()
		asked := requests[count(requests, "/user/list")+count(requests, "/user/search"):]
		for _, request := range asked[:100] {
			if n := request[strings.LastIndex(request, "JIRAUSER")+len("JIRAUSER"):]; n < "11900" {
				t.Fatalf("%s comes before those that were used", request)
			}
		}
		// Those who were asked before come last.
		if n := count(asked[100:], "key=JIRAUSER10150"); n != 0 {
			t.Error("one who was asked before was asked before others")
		}
		r.refresh(t)
		r.refresh(t)
		for _, a := range r.jira.users {
			if _, err := r.owner(a.name, a.key); err != nil {
				t.Fatalf("%s was never asked for: %v", a.name, err)
			}
		}
	})
}

// The requests per refresh at 10,000 owners, by what Jira offers.
func TestRequestsAtTenThousandOwners(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fake, *rig)
		most   int
		all    bool // nobody is left out
	}{
		{"all in one group", func(f *fake, r *rig) {
			f.groups["all"], r.groups = keys(f.users), []string{"all"}
		}, 205, true},
		{"user/list", func(f *fake, _ *rig) { f.list = true }, 10, true},
		{"user/search of Jira 8", func(*fake, *rig) {}, 11, true},
		{"user/search up to 1000", func(f *fake, _ *rig) { f.searchLimit = 1000 }, 601, false},
		{"user/search up to 100", func(f *fake, _ *rig) { f.searchLimit = 100 }, 601, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				r := newRig(t, people(10_000)...)
				r.owners = ownersOf(r.jira.users)
				tt.change(r.jira, r)
				begun := time.Now()
				r.refresh(t)
				n, took, known := len(r.jira.taken()), time.Since(begun), r.Snapshot().Len()
				t.Logf("%d requests in %s for %d owners, %d known after it", n, took, len(r.owners), known)
				if n > tt.most || known != len(r.owners) && tt.all {
					t.Errorf("%d requests, %d known; want at most %d and all known: %v", n, known, tt.most, tt.all)
				}
				if float64(n) > took.Seconds()*10+1 {
					t.Errorf("%d requests in %s are more than 10 in a second", n, took)
				}
				if got := r.Stats().Requests; got != uint64(n) {
					t.Errorf("%d requests counted, want %d", got, n)
				}
			})
		})
	}
}

func TestRun(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, people(1)...)
		r.owners = ownersOf(r.jira.users)
		go r.Run(t.Context())
		time.Sleep(10*every + time.Second)
		synctest.Wait()
		// At once, and then after 0.9 of the time.
		if n := len(r.published); n != 12 {
			t.Errorf("%d refreshes in ten minutes, want 12", n)
		}
	})
}
