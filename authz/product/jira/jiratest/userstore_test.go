package jiratest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// admin authenticates the administrator of startDirectory.
const admin = "Authorization: Bearer service"

// startDirectory is start with an administrator who has a native token.
func startDirectory(t *testing.T, change func(*jiratest.Options)) (*jiratest.Server, string) {
	t.Helper()
	return start(t, func(o *jiratest.Options) {
		o.Users = append(o.Users, jiratest.User{Name: "svc", Active: true,
			Groups: []string{"Jira-Administrators"}, PATs: []string{"service"}})
		if change != nil {
			change(o)
		}
	})
}

// get decodes the JSON of a 200.
func get[T any](t *testing.T, url string, header ...string) T {
	t.Helper()
	var body T
	got := do(t, "GET", url, "", header...)
	if got.status != 200 {
		t.Fatalf("%s: status %d: %s", url, got.status, got.body)
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		t.Fatalf("%s: %v in %s", url, err, got.body)
	}
	return body
}

// user holds the fields of a user that tests check.
type user struct {
	Name, Key, DisplayName string
	Active                 bool
	Groups                 struct{ Items []struct{ Name string } }
}

func (u user) String() string {
	s := fmt.Sprintf("%s %s %s %v", u.Key, u.Name, u.DisplayName, u.Active)
	for _, g := range u.Groups.Items {
		s += " " + g.Name
	}
	return s
}

// step is a change and the users expected after it.
type step struct {
	name   string
	change func(*jiratest.Server) error
	users  string // lines of "username or key: user.String()"
}

func put(u jiratest.User) func(*jiratest.Server) error {
	return func(jira *jiratest.Server) error { jira.Put(u); return nil }
}

func TestChanges(t *testing.T) {
	jira, url := startDirectory(t, nil)
	for _, s := range []step{
		{"nothing yet", func(*jiratest.Server) error { return nil },
			"username=FRED: JIRAUSER10100 Fred Fred F. true jira-users a&b\nkey=wilma: wilma wilma wilma true\nkey=svc: svc svc svc true Jira-Administrators"},
		{"deactivated", func(j *jiratest.Server) error { return j.Deactivate("fred") },
			"username=fred: JIRAUSER10100 Fred Fred F. false jira-users a&b"},
		{"activated", func(j *jiratest.Server) error { return j.Activate("FRED") },
			"username=fred: JIRAUSER10100 Fred Fred F. true jira-users a&b"},
		{"groups", func(j *jiratest.Server) error { return j.SetGroups("fred", "New", "new", "jira-users") },
			"username=fred: JIRAUSER10100 Fred Fred F. true New jira-users"},
		{"renamed", func(j *jiratest.Server) error { return j.Rename("JIRAUSER10100", "Frederick") },
			"username=fred: 404\nkey=JIRAUSER10100: JIRAUSER10100 Frederick Fred F. true New jira-users\nusername=frederick: JIRAUSER10100 Frederick Fred F. true New jira-users"},
		{"renamed by case", func(j *jiratest.Server) error { return j.Rename("JIRAUSER10100", "FREDERICK") },
			"username=Frederick: JIRAUSER10100 FREDERICK Fred F. true New jira-users"},
		{"the name taken by another", put(jiratest.User{Name: "fred", Key: "JIRAUSER10200", Active: true}),
			"username=fred: JIRAUSER10200 fred fred true\nkey=JIRAUSER10100: JIRAUSER10100 FREDERICK Fred F. true New jira-users"},
		{"put by name", put(jiratest.User{Name: "Wilma", DisplayName: "W", Active: true, Groups: []string{"x"}}),
			"key=wilma: wilma Wilma W true x"},
		{"put by key is a rename", put(jiratest.User{Name: "Betty", Key: "wilma", Active: true}),
			"key=wilma: wilma Betty Betty true\nusername=wilma: 404"},
		{"a new user with an old key's name", put(jiratest.User{Name: "wilma", Active: true}),
			"username=wilma: JIRAUSER10005 wilma wilma true\nkey=wilma: wilma Betty Betty true"},
		{"deleted", func(j *jiratest.Server) error { return j.Delete("BETTY") },
			"username=betty: 404\nkey=wilma: 404"},
		{"the deleted name again", put(jiratest.User{Name: "betty", Active: true}),
			"username=betty: betty betty betty true\nkey=wilma: 404"},
		{"replaced by another key", put(jiratest.User{Name: "betty", Key: "K"}),
			"username=betty: K betty betty false\nkey=betty: 404"},
	} {
		if err := s.change(jira); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		var got []string
		for line := range strings.Lines(s.users) {
			query, _, _ := strings.Cut(line, ":")
			at := url + "/rest/api/2/user?expand=groups&" + query
			if a := do(t, "GET", at, "", admin); a.status != 200 {
				got = append(got, fmt.Sprintf("%s: %d", query, a.status))
				continue
			}
			got = append(got, fmt.Sprintf("%s: %s", query, get[user](t, at, admin)))
		}
		if diff := cmp.Diff(s.users, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%s: users (-want +got):\n%s", s.name, diff)
		}
	}
	if err := jira.Rename("K", "betty"); err != nil {
		t.Errorf("rename to the own name: %v", err)
	}
	for name, err := range map[string]error{
		"rename an unknown user":     jira.Rename("x", "y"),
		"rename to a taken one":      jira.Rename("K", "SVC"),
		"deactivate an unknown user": jira.Deactivate("x"),
		"activate an unknown user":   jira.Activate("x"),
		"delete an unknown user":     jira.Delete("x"),
		"groups of an unknown user":  jira.SetGroups("x", "y"),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A session belongs to a key: it survives a rename, and does not belong to a
// new user with the old name.
func TestSessionsFollowTheKey(t *testing.T) {
	jira, url := startDirectory(t, nil)
	cookie := "Cookie: JSESSIONID=" + do(t, "GET", url+myself, "", "X-Forwarded-User: fred").session()
	see := func(want string) {
		t.Helper()
		do(t, "GET", url+myself, "", cookie)
		if seen, _ := jira.Last(); seen.User != want {
			t.Errorf("the session is seen as %q, want %q", seen.User, want)
		}
	}
	see("Fred")
	if err := jira.Rename("JIRAUSER10100", "frederick"); err != nil {
		t.Fatal(err)
	}
	jira.Put(jiratest.User{Name: "fred", Key: "JIRAUSER10200", Active: true})
	see("frederick")
	if err := jira.Deactivate("frederick"); err != nil {
		t.Fatal(err)
	}
	see("")
	if err := jira.Activate("frederick"); err != nil {
		t.Fatal(err)
	}
	see("frederick")
	if err := jira.Delete("frederick"); err != nil {
		t.Fatal(err)
	}
	jira.Put(jiratest.User{Name: "frederick", Key: "JIRAUSER10300", Active: true})
	see("")
}

// A native token belongs to a user, whatever their name.
func TestTokensFollowTheUser(t *testing.T) {
	jira, url := start(t, nil)
	status := func() int { return do(t, "GET", url+myself, "", "Authorization: Bearer native").status }
	if err := jira.Rename("JIRAUSER10100", "x"); err != nil {
		t.Fatal(err)
	}
	if got := status(); got != 200 {
		t.Errorf("after a rename: status %d, want 200", got)
	}
	if err := jira.Delete("x"); err != nil {
		t.Fatal(err)
	}
	if got := status(); got != 401 {
		t.Errorf("after the user is deleted: status %d, want 401", got)
	}
}

// A new user does not inherit a deleted user's failed passwords.
func TestDeleteResetsFailures(t *testing.T) {
	jira, url := start(t, nil)
	for range 3 {
		do(t, "GET", url+myself, "", basic("fred", "x"))
	}
	if err := jira.Delete("fred"); err != nil {
		t.Fatal(err)
	}
	jira.Put(jiratest.User{Name: "fred", Key: "K", Password: "new", Active: true})
	if got := do(t, "GET", url+myself, "", basic("fred", "new")); got.status != 200 {
		t.Errorf("status %d, want 200", got.status)
	}
}

// For the race detector: concurrent changes and requests.
func TestChangesRace(t *testing.T) {
	jira, _ := startDirectory(t, nil)
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("u%d", n)
				jira.Put(jiratest.User{Name: name, Key: name, Active: true, Groups: []string{"g"}, PATs: []string{name}})
				err := errors.Join(jira.Rename(name, name+"-new"), jira.Deactivate(name+"-new"), jira.Activate(name+"-new"),
					jira.SetGroups(name+"-new", "g", fmt.Sprint(i)), jira.Delete(name+"-new"))
				if err != nil {
					t.Error(err)
				}
				jira.Omit("key")
				jira.RefuseBasic(i%2 == 0)
				jira.Fail("/rest/api/2/serverInfo", jiratest.Status(503)).Stop()
				jira.Count("GET /rest/api/2/myself")
			}
		})
		all.Go(func() {
			for range 50 {
				for _, path := range []string{
					"/rest/api/2/user/search?username=.&includeInactive=true", "/rest/api/2/user/list",
					"/rest/api/2/group/member?groupname=g", "/rest/api/2/user?key=u1&expand=groups",
					"/rest/api/2/serverInfo", myself,
				} {
					req := httptest.NewRequest("GET", path, nil)
					req.Header.Set("Authorization", "Bearer service")
					jira.ServeHTTP(httptest.NewRecorder(), req)
				}
			}
		})
	}
	all.Wait()
}
