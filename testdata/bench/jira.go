package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/directory/jiratest"
)

// jiraOwners is how many owners of tokens a refresh is measured with.
const jiraOwners = 10_000

// jira is a Jira in this process, and the clock of a directory that asks it.
// Nothing moves the clock but Jira's answers.
type jira struct {
	server *jiratest.Server
	now    time.Time
}

// answerTime is how long Jira takes for an answer by the clock: as long as the
// directory lets pass between two questions, ten of which it asks in a second.
// So it never waits, and the clock tells how long a refresh takes.
const answerTime = time.Second / 10

// refreshEvery is the default of directory.jira.refresh.
const refreshEvery = time.Minute

// jiraToken is a native token of the service user of jira, which opens nothing
// else.
const jiraToken = "MDEyMzQ1Njc4OTAxOnNlcnZpY2VzZWNyZXQxMjM0NTY="

// jiraGroup is a group that everybody is in who owns tokens.
const jiraGroup = "jira-software-users"

// newJira returns a Jira whose users are a service user and the fleet's first
// owners.
func newJira(owners int) *jira {
	users := []jiratest.User{{Name: "tokengate", Active: true, PATs: []string{jiraToken}, Groups: []string{jiratest.Administrators}}}
	for i := range owners {
		users = append(users, jiratest.User{Name: ownerOf(i), Key: fmt.Sprintf("JIRAUSER%d", 10_000+i), Active: true, Groups: []string{jiraGroup}})
	}
	return &jira{jiratest.New(jiratest.Options{Users: users, Keep: 1}), decideNow}
}

// RoundTrip implements http.RoundTripper: no network is in between.
func (j *jira) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.Host, in.Body = r.URL.RequestURI(), r.URL.Host, http.NoBody
	answer := httptest.NewRecorder()
	j.server.ServeHTTP(answer, in)
	j.now = j.now.Add(answerTime)
	return answer.Result(), nil
}

// measureRefreshes counts what the directory asks Jira in a refresh, by what Jira
// can be asked. There is no chance in it: it is counted once.
func measureRefreshes(ctx context.Context, r *report) error {
	s := section{Row: "e", Columns: []string{"", "requests", "s"}}
	s.Title = "A refresh of the directory: " + number(jiraOwners) + " owners of tokens"
	longest := spread{}
	for _, way := range []struct {
		name   string
		groups []string
		old    bool // Jira has no /user/list yet
	}{
		{name: "all in one group that is followed", groups: []string{jiraGroup}},
		{name: "no group, /user/list (Jira 10.3 and later)"},
		{name: "no group, /user/search (Jira before 9)", old: true},
	} {
		jira := newJira(jiraOwners)
		if way.old {
			jira.server.Fail("/rest/api/2/user/list", jiratest.Status(http.StatusNotFound))
		}
		known, err := jira.refresh(ctx, jiraOwners, way.groups...)
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		count := func(v float64) spread { return spread{v, v, v} }
		requests, took := float64(known.Stats().Requests), known.Stats().LastDuration.Seconds()
		s.Lines = append(s.Lines, []string{
			way.name,
			s.cell("requests, "+way.name, "", count(requests)),
			s.cell("time, "+way.name, "s", count(took)),
		})
		if took > longest.Median {
			longest = count(took)
		}
	}
	s.Notes = append(s.Notes,
		fmt.Sprintf("The time is by a clock that goes on by %v with each request, which is as often as the directory asks; it takes longer where Jira needs longer for an answer. After each refresh all owners were known.", answerTime),
		"A Jira without /user/list whose /user/search ends after 1,000 users, or 100, is not here: without a group to follow, the directory asks for the owners beyond them one by one, as many as fit into a refresh, those who used their tokens first.")
	r.atMost("refresh of the directory at "+number(jiraOwners)+" owners, the longest", refreshEvery.Seconds(), "s", longest)
	r.Sections = append(r.Sections, s)
	return nil
}

// refresh lets a directory get to know so many owners of tokens from Jira. It
// fails if the directory does not know all of them in the end.
func (j *jira) refresh(ctx context.Context, owners int, groups ...string) (_ *directory.Directory, err error) {
	dir, err := os.MkdirTemp("", "tgb")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	credential := filepath.Join(dir, "credential")
	if err := os.WriteFile(credential, []byte(jiraToken), 0o600); err != nil {
		return nil, err
	}
	client, err := directory.NewClient("http://jira.test", j)
	if err != nil {
		return nil, err
	}
	clock := func() time.Time { return j.now }
	known := directory.New(directory.Options{
		Source: directory.NewJira(directory.JiraOptions{
			Client: client, Credential: credential, Now: clock, Groups: func() []string { return groups },
		}),
		Owners: func() (all []directory.Owner) {
			for i := range owners {
				all = append(all, directory.Owner{Name: ownerOf(i)})
			}
			return all
		},
		Every: refreshEvery, StaleAfter: 15 * time.Minute,
		Publish: func(*directory.Snapshot) {}, Now: clock, Random: func() float64 { return 0 },
	})
	if err := known.Refresh(ctx); err != nil {
		return nil, err
	}
	if n := known.Stats().Unanswered; n > 0 {
		return nil, fmt.Errorf("of %d owners of tokens nothing is known after a refresh of the directory", n)
	}
	return known, nil
}
