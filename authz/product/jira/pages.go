package jira

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/tokengate/tokengate/authz/directory"
)

const (
	// memberPageSize is Jira's maximum; some versions answer a larger one with
	// inconsistent pages.
	memberPageSize = 50

	// listPageSize is the maximum of Jira up to 9. Jira 10 returns fewer.
	listPageSize = 1000

	// maxMemberPages limits the pages of one group, in case they never end.
	maxMemberPages = 20_000

	// maxAttempts is how often a group is read if it changes meanwhile.
	maxAttempts = 3
)

// groupMembers returns the direct and nested members of a group, including
// inactive ones, and false if the group does not exist.
//
// Pages are numbered, so a member who leaves while the group is read would
// shift another one to a page that was already read. So each page begins with
// the last member of the page before; if it doesn't, reading starts again.
func (s *source) groupMembers(ctx context.Context, c serviceCredential, group string) ([]apiUser, bool, error) {
	for range maxAttempts {
		members, found, moved, err := s.readMemberPages(ctx, c, group)
		if err != nil || !moved {
			return members, found, err
		}
	}
	return nil, false, fmt.Errorf("%w: GET %s: the pages of group %q are inconsistent", directory.ErrUnavailable, memberPath, group)
}

const memberPath = "/rest/api/2/group/member"

func (s *source) readMemberPages(ctx context.Context, c serviceCredential, group string) (members []apiUser, found, moved bool, err error) {
	for range maxMemberPages {
		start := max(len(members)-1, 0)
		r, err := s.ask(ctx, c, request{
			path: memberPath,
			query: url.Values{
				"groupname":            {group},
				"includeInactiveUsers": {"true"},
				"startAt":              {strconv.Itoa(start)},
				"maxResults":           {strconv.Itoa(memberPageSize)},
			},
			maxBody: maxPageBody,
			timeout: pageTimeout,
		})
		switch {
		case err != nil:
			return nil, false, false, err
		case isNotFound(r):
			return nil, false, false, nil
		case r.status == http.StatusForbidden:
			return nil, false, false, fmt.Errorf("%w: the service user may not list the members of groups: it needs Jira's permission to administer", directory.ErrUnavailable)
		case r.status != http.StatusOK:
			return nil, false, false, r.unexpected()
		}
		page, err := decode(r, func(p memberPage) bool { return p.Values != nil })
		if err != nil {
			return nil, false, false, err
		}
		values := page.Values
		if len(members) > 0 {
			if len(values) == 0 || !values[0].sameUser(members[len(members)-1]) {
				return nil, false, true, nil
			}
			values = values[1:]
		}
		members = append(members, values...)
		if page.isLast(start + len(page.Values)) {
			return members, true, false, nil
		}
		if len(values) == 0 {
			break // no progress
		}
	}
	return nil, false, false, fmt.Errorf("%w: GET %s: the pages of group %q do not end", directory.ErrUnavailable, memberPath, group)
}

// sameUser reports whether two answers are about the same user.
func (a apiUser) sameUser(other apiUser) bool {
	return directory.Identity(a.Name, a.Key) == directory.Identity(other.Name, other.Key)
}

// allUsers passes all users of Jira to take, page by page, until take returns
// true. It may miss users: old versions have no such endpoint, others return
// only the first users, and a service user without permission to browse users
// gets none. The missing owners are requested one by one. Errors are only those
// of the credential or of ctx.
func (s *source) allUsers(ctx context.Context, c serviceCredential, take func([]apiUser) (enough bool)) error {
	listed, err := s.listUsers(ctx, c, take)
	if !listed && err == nil {
		err = s.searchUsers(ctx, c, take)
	}
	if errors.Is(err, errCredential) || ctx.Err() != nil {
		return err
	}
	return nil
}

// listUsers reads GET /rest/api/2/user/list, which exists in Jira 11 and 10.3
// LTS, and reports false if it fails.
func (s *source) listUsers(ctx context.Context, c serviceCredential, take func([]apiUser) bool) (bool, error) {
	const path = "/rest/api/2/user/list"
	query := url.Values{"maxResults": {strconv.Itoa(listPageSize)}}
	seen := map[string]bool{}
	for {
		r, err := s.ask(ctx, c, request{path: path, query: query, maxBody: maxPageBody, timeout: pageTimeout})
		if err != nil {
			return false, err
		}
		if r.status != http.StatusOK {
			return false, nil
		}
		page, err := decode(r, func(p listPage) bool { return p.Values != nil })
		if err != nil {
			return false, nil
		}
		next := page.cursor()
		if take(page.Values) || page.IsLast || next == "" || seen[next] || len(page.Values) == 0 {
			return true, nil
		}
		seen[next] = true
		query.Set("cursor", next)
	}
}

// searchUsers reads GET /rest/api/2/user/search. A dot is in every mail address
// (JRASERVER-29069), so it matches almost all users.
func (s *source) searchUsers(ctx context.Context, c serviceCredential, take func([]apiUser) bool) error {
	const path = "/rest/api/2/user/search"
	var last apiUser
	for start := 0; ; {
		r, err := s.ask(ctx, c, request{
			path: path,
			query: url.Values{
				"username":        {"."},
				"includeInactive": {"true"},
				"startAt":         {strconv.Itoa(start)},
				"maxResults":      {strconv.Itoa(listPageSize)},
			},
			maxBody: maxPageBody,
			timeout: pageTimeout,
		})
		if err != nil {
			return err
		}
		if r.status != http.StatusOK {
			return nil
		}
		found, err := decode(r, func([]apiUser) bool { return true })
		if err != nil || len(found) == 0 || found[len(found)-1].sameUser(last) || take(found) {
			return nil
		}
		last = found[len(found)-1]
		start += len(found)
	}
}
