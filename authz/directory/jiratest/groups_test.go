package jiratest_test

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/tokengate/tokengate/authz/directory/jiratest"
)

const member = "/rest/api/2/group/member"

// members is a page of them.
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

	// What was a member's is seen at the next page, and the group stays.
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

// A refresh of a directory at 10,000 users: pages of a group, and one user.
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
