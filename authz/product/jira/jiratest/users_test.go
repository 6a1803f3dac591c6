package jiratest_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

const (
	oneUser  = "/rest/api/2/user"
	search   = "/rest/api/2/user/search"
	userList = "/rest/api/2/user/list"
)

func names(users []user) string {
	var names []string
	for _, u := range users {
		names = append(names, u.Name)
	}
	return strings.Join(names, " ")
}

func TestUser(t *testing.T) {
	_, url := startDirectory(t, nil)
	fred := "X-Forwarded-User: fred"
	for _, tt := range []struct {
		name, query, header string
		status              int
		contains            string
	}{
		{"by name", "?username=fReD", admin, 200, `"key":"JIRAUSER10100"`},
		{"by key", "?key=JIRAUSER10100", admin, 200, `"groups":{"items":[],"size":2}`},
		{"with groups", "?key=JIRAUSER10100&expand=groups", admin, 200, `"name":"a\u0026b"`},
		{"inactive", "?username=gone", admin, 200, `"active":false`},
		{"oneself", "?username=fred", fred, 200, `"key":"JIRAUSER10100"`},
		{"anonymous", "?username=fred", "X-A: b", 401, `"status-code":401`},
		{"by a user", "?username=wilma", fred, 403, `"errorMessages":[`},
		{"unknown user by a user", "?username=x", fred, 403, `"errorMessages":[`},
		{"no such name", "?username=JIRAUSER10100", admin, 404, `"errorMessages":["The user named 'JIRAUSER10100' does not exist"]`},
		{"no such key", "?key=fred", admin, 404, `"errorMessages":["The user with the key 'fred' does not exist"]`},
		{"key in another case", "?key=jirauser10100", admin, 404, "does not exist"},
		{"no question", "", admin, 404, "was not provided"},
		{"two questions", "?username=fred&key=JIRAUSER10100", admin, 400, `"errorMessages":[`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := do(t, "GET", url+oneUser+tt.query, "", tt.header)
			if got.status != tt.status || !strings.Contains(got.body, tt.contains) {
				t.Errorf("status %d, want %d; %q in %s", got.status, tt.status, tt.contains, got.body)
			}
		})
	}
}

func TestUserSearch(t *testing.T) {
	jira, url := startDirectory(t, func(o *jiratest.Options) {
		o.MaxSearch = 4
		o.Users = append(o.Users, jiratest.User{Name: "a.fox", DisplayName: "Quick Brown", Active: true})
	})
	for _, tt := range []struct {
		query, header, want string
	}{
		{"username=.", admin, "a.fox Fred svc wilma"},
		{"username=.&includeInactive=true", admin, "a.fox Fred gone svc"},
		{"username=.&includeInactive=true&maxResults=100", admin, "a.fox Fred gone svc"},
		{"username=.&includeInactive=true&startAt=4", admin, "wilma"},
		{"username=.&includeInactive=true&startAt=1&maxResults=2", admin, "Fred gone"},
		{"username=.&includeActive=false&includeInactive=true", admin, "gone"},
		{"username=.&includeActive=false", admin, ""},
		{"username=.&startAt=100", admin, ""},
		{"username=.&maxResults=0", admin, ""},
		{"username=FRE", admin, "Fred"},
		{"username=fox", admin, "a.fox"},
		{"username=brown", admin, "a.fox"},
		{"username=ox", admin, ""},
		{"username=svc@example.com", admin, "svc"},
		{"username=", admin, ""},
		{"username=.", "X-Forwarded-User: fred", ""}, // may not browse users
	} {
		if got := names(get[[]user](t, url+search+"?"+tt.query, tt.header)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.query, got, tt.want)
		}
	}
	for query, want := range map[string]int{"": 400, "?query=fred": 400, "?username=.&startAt=x": 400, "?username=.&maxResults=-1": 400} {
		if got := do(t, "GET", url+search+query, "", admin); got.status != want {
			t.Errorf("%q: status %d, want %d", query, got.status, want)
		}
	}
	if got := do(t, "GET", url+search+"?username=.", ""); got.status != 401 {
		t.Errorf("anonymous: status %d, want 401", got.status)
	}
	if got := do(t, "GET", url+search+"?username=.&startAt=100", "", admin); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("an empty page is %s, want []", got.body)
	}
	jira.Put(jiratest.User{Name: "bbb", Active: true})
	if got := names(get[[]user](t, url+search+"?username=.", admin)); got != "a.fox bbb Fred svc" {
		t.Errorf("after one more user: got %q", got)
	}
}

// crowd returns n users of one group, named u00000 and so on.
func crowd(n int) (users []jiratest.User) {
	for i := range n {
		name := fmt.Sprintf("u%05d", i)
		users = append(users, jiratest.User{Name: name, Key: "JIRAUSER" + name, Active: i%2 == 0, Groups: []string{"crowd"}})
	}
	return users
}

// Jira 10 finds only 100 users in a search, whatever startAt is.
func TestUserSearchWindow(t *testing.T) {
	_, url := startDirectory(t, func(o *jiratest.Options) {
		o.Users = append(o.Users, crowd(400)...)
		o.MaxSearch, o.SearchWindow = 100, 100
	})
	for query, want := range map[string]int{
		"username=.":                              50,
		"username=.&maxResults=1000":              100,
		"username=.&maxResults=20&startAt=98":     2,
		"username=u&maxResults=1000&startAt=100":  0,
		"username=u003&maxResults=1000&startAt=1": 49,
	} {
		if got := len(get[[]user](t, url+search+"?"+query, admin)); got != want {
			t.Errorf("%s: %d users, want %d", query, got, want)
		}
	}
}

func TestUserList(t *testing.T) {
	jira, url := startDirectory(t, nil)
	type page struct {
		Self, NextPage, NextCursor string
		MaxResults                 int
		IsLast                     bool
		Values                     []user
	}
	first := get[page](t, url+userList+"?maxResults=2", admin)
	if names(first.Values) != "Fred wilma" || first.IsLast || first.MaxResults != 2 || first.NextCursor == "" {
		t.Errorf("first page: %+v", first)
	}
	// Users who are added or deleted meanwhile shift no one.
	if err := jira.Delete("wilma"); err != nil {
		t.Fatal(err)
	}
	jira.Put(jiratest.User{Name: "aaa"})
	jira.Put(jiratest.User{Name: "fred", Active: true}) // the same user
	second := get[page](t, url+userList+"?maxResults=2&cursor="+first.NextCursor, admin)
	if names(second.Values) != "gone svc" || second.IsLast {
		t.Errorf("second page: %+v", second)
	}
	last := get[page](t, second.NextPage, admin)
	if names(last.Values) != "aaa" || !last.IsLast || last.NextCursor != "" || last.NextPage != "" {
		t.Errorf("last page: %+v", last)
	}
	for _, cursor := range []string{"1000", "-1", "x"} {
		want := map[string]int{"1000": 0, "-1": 4, "x": 4}[cursor]
		got := get[page](t, url+userList+"?cursor="+cursor, admin)
		if len(got.Values) != want || !got.IsLast || got.MaxResults != 2000 {
			t.Errorf("cursor %s: %+v, want %d users", cursor, got, want)
		}
	}
	if got := get[page](t, url+userList, "X-Forwarded-User: fred"); len(got.Values) != 0 || !got.IsLast {
		t.Errorf("by a user: %+v, want none", got)
	}
	if got := do(t, "GET", url+userList, ""); got.status != 401 {
		t.Errorf("anonymous: status %d, want 401", got.status)
	}
}

// Older versions leave fields out.
func TestOmit(t *testing.T) {
	jira, url := startDirectory(t, nil)
	fields := func(path string) map[string]any {
		t.Helper()
		body := do(t, "GET", url+path, "", admin).body
		var one map[string]any
		if json.Unmarshal([]byte(body), &one) == nil {
			if one["values"] == nil {
				return one
			}
			return one["values"].([]any)[0].(map[string]any)
		}
		var list []map[string]any
		if err := json.Unmarshal([]byte(body), &list); err != nil || len(list) == 0 {
			t.Fatalf("%s: %v in %s", path, err, body)
		}
		return list[0]
	}
	paths := []string{
		myself + "?expand=groups", oneUser + "?username=svc&expand=groups", search + "?username=svc",
		userList, "/rest/api/2/group/member?groupname=jira-administrators",
	}
	for _, omit := range [][]string{{"active", "key", "deleted", "groups.items"}, {"groups"}, {"groups", "groups.items"}, nil} {
		jira.Omit(omit...)
		for _, path := range paths {
			got := fields(path)
			for _, field := range []string{"active", "key", "deleted"} {
				if _, there := got[field]; there == (len(omit) > 2) {
					t.Errorf("without %v, %s: %s there: %v", omit, path, field, there)
				}
			}
			if !strings.Contains(path, "expand") {
				continue
			}
			want := map[int]any{4: map[string]any{"size": 1.0}}[len(omit)]
			groups := got["groups"]
			if omit == nil {
				groups, want = len(groups.(map[string]any)["items"].([]any)), 1
			}
			if diff := cmp.Diff(want, groups); diff != "" {
				t.Errorf("without %v, %s: groups (-want +got):\n%s", omit, path, diff)
			}
		}
	}
}

const member = "/rest/api/2/group/member"

// members is a page of members.
type members struct {
	Self, NextPage             string
	MaxResults, StartAt, Total int
	IsLast                     bool
	Values                     []user
}

func TestGroupMembers(t *testing.T) {
	jira, url := startDirectory(t, func(o *jiratest.Options) {
		o.Users = append(o.Users, crowd(9)...)
		o.Users = append(o.Users, jiratest.User{Name: "U00001x", Active: true, Groups: []string{"CROWD"}})
	})
	for _, tt := range []struct {
		query, want string
		total       int
		last        bool
	}{
		{"groupname=crowd&maxResults=3", "u00000 U00001x u00002", 6, false},
		{"groupname=Crowd&startAt=3&maxResults=100", "u00004 u00006 u00008", 6, true},
		{"groupname=crowd&startAt=4&maxResults=1", "u00006", 6, false},
		{"groupname=crowd&startAt=100", "", 6, true},
		{"groupname=crowd&includeInactiveUsers=true&startAt=1&maxResults=2", "u00001 U00001x", 10, false},
		{"groupname=a%26b", "Fred", 1, true},
		{"groupname=jira-administrators", "svc", 1, true},
	} {
		got := get[members](t, url+member+"?"+tt.query, admin)
		if names(got.Values) != tt.want || got.Total != tt.total || got.IsLast != tt.last || (got.NextPage == "") != tt.last || got.MaxResults > 50 {
			t.Errorf("%s: %+v; want %s of %d, last %v", tt.query, got, tt.want, tt.total, tt.last)
		}
	}

	var all []user
	for next := url + member + "?groupname=crowd&includeInactiveUsers=true&maxResults=3"; next != ""; {
		page := get[members](t, next, admin)
		all, next = append(all, page.Values...), page.NextPage
	}
	if len(all) != 10 {
		t.Errorf("%d members by nextPage, want 10: %s", len(all), names(all))
	}

	// Changes are visible in the next page, and the empty group stays.
	for _, u := range all {
		if err := jira.SetGroups(u.Name, "elsewhere"); err != nil {
			t.Fatal(err)
		}
	}
	if got := get[members](t, url+member+"?groupname=crowd", admin); got.Total != 0 || !got.IsLast {
		t.Errorf("after all left: %+v", got)
	}
	if err := jira.Deactivate("u00002"); err != nil {
		t.Fatal(err)
	}
	if got := get[members](t, url+member+"?groupname=elsewhere", admin); got.Total != 5 {
		t.Errorf("%d active members, want 5", got.Total)
	}
	jira.Put(jiratest.User{Name: "new", Active: true, Groups: []string{"Crowd"}})
	if got := get[members](t, url+member+"?groupname=crowd", admin); names(got.Values) != "new" {
		t.Errorf("after one joined: %+v", got)
	}
}

func TestGroupMembersRefused(t *testing.T) {
	jira, url := startDirectory(t, nil)
	fred := "X-Forwarded-User: fred"
	for _, tt := range []struct {
		query, header string
		status        int
	}{
		{"groupname=jira-users", admin, 200},
		{"groupname=x", admin, 404},
		{"groupname=", admin, 400},
		{"groupname=jira-users&startAt=-1", admin, 400},
		{"groupname=jira-users", fred, 403},
		{"groupname=x", fred, 403},
		{"groupname=jira-users", "X-A: b", 401},
	} {
		if got := do(t, "GET", url+member+"?"+tt.query, "", tt.header); got.status != tt.status {
			t.Errorf("%s by %s: status %d, want %d", tt.query, tt.header, got.status, tt.status)
		}
	}
	if err := jira.SetGroups("fred", "JIRA-administrators"); err != nil {
		t.Fatal(err)
	}
	if got := do(t, "GET", url+member+"?groupname=jira-users", "", "Authorization: Bearer native"); got.status != 200 {
		t.Errorf("by the native token of a new administrator: status %d, want 200", got.status)
	}
	if err := jira.SetGroups("fred"); err != nil {
		t.Fatal(err)
	}
	if got := do(t, "GET", url+member+"?groupname=jira-users", "", "Authorization: Bearer native"); got.status != 403 {
		t.Errorf("by the native token of who is no administrator any more: status %d, want 403", got.status)
	}
}

// BenchmarkDirectory measures the requests of a directory with 10,000 users.
func BenchmarkDirectory(b *testing.B) {
	jira := jiratest.New(jiratest.Options{Users: append(crowd(10_000),
		jiratest.User{Name: "svc", Active: true, Groups: []string{jiratest.Administrators}, PATs: []string{"service"}})})
	for _, bb := range []struct{ name, path string }{
		{"50 members", "/rest/api/2/group/member?groupname=crowd&includeInactiveUsers=true&startAt=%d"},
		{"one user", "/rest/api/2/user?key=JIRAUSERu%05d&expand=groups"},
		{"1000 users", "/rest/api/2/user/search?username=.&includeInactive=true&startAt=%d&maxResults=1000"},
		{"search", "/rest/api/2/user/search?username=u%05d&includeInactive=true"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				req := httptest.NewRequest("GET", fmt.Sprintf(bb.path, i*50%10_000), nil)
				req.Header.Set("Authorization", "Bearer service")
				w := httptest.NewRecorder()
				if jira.ServeHTTP(w, req); w.Code != 200 {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
