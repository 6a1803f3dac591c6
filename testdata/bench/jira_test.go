package main

import (
	"net/http"
	"testing"

	"github.com/tokengate/tokengate/authz/directory/jiratest"
)

func TestRefreshes(t *testing.T) {
	r := &report{}
	if err := measureRefreshes(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if len(r.Marks) != 1 || !r.Marks[0].Reached {
		t.Errorf("marks %+v", r.Marks)
	}
	// Pages of a group have 50 members, and begin with the last one of the page
	// before.
	for i, want := range []float64{205, 11, 12} {
		line := r.Sections[0].Figures[2*i : 2*i+2]
		if got := line[0].Median; got != want {
			t.Errorf("%s: %v, want %v", line[0].Name, got, want)
		}
		if got := line[1].Median; got != want/10 {
			t.Errorf("%s: %v s at ten requests per second", line[1].Name, got)
		}
	}
}

// An owner who stays unknown, because Jira tells of few users only, is no
// refresh to be counted.
func TestRefreshMustKnowAllOwners(t *testing.T) {
	jira := newJira(2000)
	jira.server.Fail("/rest/api/2/user", jiratest.Status(http.StatusNotFound))
	if _, err := jira.refresh(t.Context(), 2000); err == nil {
		t.Error("a refresh that learned of nobody was counted")
	}
	jira = newJira(10)
	jira.server.Fail("/rest/api/2/group/member", jiratest.Status(http.StatusServiceUnavailable))
	if _, err := jira.refresh(t.Context(), 10, jiraGroup); err == nil {
		t.Error("a refresh that failed was counted")
	}
}
