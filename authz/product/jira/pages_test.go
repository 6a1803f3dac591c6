package jira_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
)

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
		r := newRig(t, activeAccounts(120)...)
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
			t.Errorf("a user in no requested group: %v, want ErrUnavailable", err)
		}
	})
}

// A member leaves the group between two pages: the next one must not be
// skipped, or their tokens would be refused.
func TestMembersMoveBetweenPages(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, activeAccounts(120)...)
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
	values := beans(activeAccounts(50))
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"the same page forever": func(w http.ResponseWriter, _ *http.Request) {
			send(w, 200, object{"isLast": false, "values": values})
		},
		"one member forever": func(w http.ResponseWriter, _ *http.Request) {
			send(w, 200, object{"isLast": false, "values": values[:1]})
		},
		"an empty page before the last": func(w http.ResponseWriter, _ *http.Request) {
			send(w, 200, object{"isLast": false, "values": values[:0]})
		},
		"no values": func(w http.ResponseWriter, _ *http.Request) { send(w, 200, object{"isLast": true}) },
		"HTML": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `{"isLast":true,"values":[]}`)
		},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { send(w, 200, "x") },
		"too long": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"isLast":true,"values":[]}`, strings.Repeat(" ", 9<<20))
		},
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
				r := newRig(t, activeAccounts(2)...)
				r.jira.groups["all"] = keys(r.jira.users)
				r.groups = []string{"all"}
				r.refresh(t)
				good := r.Snapshot()
				time.Sleep(every)
				r.jira.fault = func(w http.ResponseWriter, req *http.Request) bool { answer(w, req); return true }
				err := r.Refresh(t.Context())
				if !errors.Is(err, directory.ErrUnavailable) || r.Snapshot() != good {
					t.Errorf("%v, snapshot of %s; want ErrUnavailable and the last snapshot", err, r.Snapshot().Taken())
				}
				if n := len(r.jira.taken()); n > 10 {
					t.Errorf("%d requests", n)
				}
				if got := r.Stats(); got.Refreshed != 1 || got.Failed != 1 || got.LastError == "" {
					t.Errorf("stats %+v", got)
				}
				if len(r.published) != 2 || r.published[1] != good {
					t.Errorf("published %d times, want the last snapshot again", len(r.published))
				}
			})
		})
	}
}

func TestOrderAndBudget(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, activeAccounts(2000)...)
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
				t.Fatalf("%s comes before owners with used tokens", request)
			}
		}
		// Owners who were asked for before come last.
		if n := count(asked[100:], "key=JIRAUSER10150"); n != 0 {
			t.Error("an owner was requested again before the others")
		}
		r.refresh(t)
		r.refresh(t)
		for _, a := range r.jira.users {
			if _, err := r.owner(a.name, a.key); err != nil {
				t.Fatalf("%s was never requested: %v", a.name, err)
			}
		}
	})
}

// A slow Jira does not prolong a refresh.
func TestSlowJira(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, activeAccounts(2000)...)
		r.jira.searchLimit = 100
		r.owners = ownersOf(r.jira.users)
		r.jira.fault = func(http.ResponseWriter, *http.Request) bool { time.Sleep(2 * time.Second); return false }
		begun := time.Now()
		r.refresh(t)
		if took := time.Since(begun); took > every+2*time.Second || len(r.jira.taken()) < 25 {
			t.Errorf("a refresh took %s", took)
		}
	})
}

// The requests per refresh with 10,000 owners, by Jira's endpoints.
func TestRequestsAtTenThousandOwners(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fake, *rig)
		most   int
		all    bool // no owner is left out
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
				r := newRig(t, activeAccounts(10_000)...)
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
					t.Errorf("%d requests in %s are more than 10 a second", n, took)
				}
				if got := r.Stats().Requests; got != uint64(n) {
					t.Errorf("%d requests counted, want %d", got, n)
				}
			})
		})
	}
}

// The list of all users repeats the same page.
func TestRepeatingList(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, activeAccounts(100)...)
		r.owners = ownersOf(r.jira.users)
		r.jira.fault = func(w http.ResponseWriter, req *http.Request) bool {
			if req.URL.Path != "/rest/api/2/user/list" {
				return false
			}
			send(w, 200, object{"isLast": false, "nextCursor": "1", "values": beans(r.jira.users[:1])})
			return true
		}
		r.refresh(t)
		if requests := r.jira.taken(); count(requests, "/user/list") != 2 || r.Snapshot().Len() != 100 {
			t.Errorf("%d pages, %d known; want 2 and 100", count(requests, "/user/list"), r.Snapshot().Len())
		}
	})
}

func TestFewOwnersAreRequestedSingly(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, activeAccounts(10_000)...)
		r.jira.list = true
		r.owners = ownersOf(r.jira.users[:19])
		r.refresh(t)
		if n := len(r.jira.taken()); n != 19 {
			t.Errorf("%d requests, want 19", n)
		}
		// Nor are all users listed if that takes more requests.
		r.owners = append(r.owners, directory.Owner{Name: "gone"})
		r.jira.set(func() { r.jira.users = append(activeAccounts(5000), account{"K1", "last", true}) })
		r.owners[0] = directory.Owner{Name: "last", Key: "K1"}
		r.refresh(t)
		if requests := r.jira.taken(); count(requests, "/user/list") > 3 || r.Snapshot().Len() < 20-1 {
			t.Errorf("%d pages, %d known", count(requests, "/user/list"), r.Snapshot().Len())
		}
	})
}
