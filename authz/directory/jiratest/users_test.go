package jiratest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/directory/jiratest"
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
		{"by nobody", "?username=fred", "X-A: b", 401, `"status-code":401`},
		{"by a user", "?username=wilma", fred, 403, `"errorMessages":[`},
		{"nobody by a user", "?username=x", fred, 403, `"errorMessages":[`},
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
		t.Errorf("by nobody: status %d, want 401", got.status)
	}
	if got := do(t, "GET", url+search+"?username=.&startAt=100", "", admin); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("an empty page is %s, want []", got.body)
	}
	jira.Put(jiratest.User{Name: "bbb", Active: true})
	if got := names(get[[]user](t, url+search+"?username=.", admin)); got != "a.fox bbb Fred svc" {
		t.Errorf("after one more user: got %q", got)
	}
}

// crowd are users u00000 and so on, all of them in a group.
func crowd(n int) (users []jiratest.User) {
	for i := range n {
		name := fmt.Sprintf("u%05d", i)
		users = append(users, jiratest.User{Name: name, Key: "JIRAUSER" + name, Active: i%2 == 0, Groups: []string{"crowd"}})
	}
	return users
}

// Jira 10 answers 100 users by search, wherever one starts.
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
	// Whoever comes or goes on the way shifts nobody.
	if err := jira.Delete("wilma"); err != nil {
		t.Fatal(err)
	}
	jira.Put(jiratest.User{Name: "aaa"})
	jira.Put(jiratest.User{Name: "fred", Active: true}) // the same one
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
		t.Errorf("by a user: %+v, want nobody", got)
	}
	if got := do(t, "GET", url+userList, ""); got.status != 401 {
		t.Errorf("by nobody: status %d, want 401", got.status)
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
