package directory

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

const (
	// memberPageSize is the most that Jira gives; some versions answer more
	// with pages that do not fit together.
	memberPageSize = 50

	// listPageSize is what Jira up to 9 gives at most. Jira 10 gives less.
	listPageSize = 1000

	// maxMemberPages bounds the pages of one group, so that pages that never
	// end do.
	maxMemberPages = 20_000

	// maxAttempts is how often the pages of a group are begun when it changes
	// under way.
	maxAttempts = 3
)

// groupMembers returns the members of a group and its subgroups, inactive ones
// too, and false if there is no such group.
//
// Pages are numbered, so somebody who leaves the group while it is read would
// hide another who moves to a page that was read already. Each page therefore
// begins with the last member of the one before; if it does not, reading
// begins again.
func (j *Jira) groupMembers(ctx context.Context, s serviceCredential, group string) ([]apiUser, bool, error) {
	for range maxAttempts {
		members, found, moved, err := j.readMemberPages(ctx, s, group)
		if err != nil || !moved {
			return members, found, err
		}
	}
	return nil, false, fmt.Errorf("%w: GET %s: the pages of group %q do not fit together", ErrUnavailable, memberPath, group)
}

const memberPath = "/rest/api/2/group/member"

func (j *Jira) readMemberPages(ctx context.Context, s serviceCredential, group string) (members []apiUser, found, moved bool, err error) {
	for range maxMemberPages {
		start := max(len(members)-1, 0)
		r, err := j.ask(ctx, s, jiraRequest{
			path: memberPath,
			query: url.Values{
				"groupname":            {group},
				"includeInactiveUsers": {"true"},
				"startAt":              {strconv.Itoa(start)},
				"maxResults":           {strconv.Itoa(memberPageSize)},
			},
			maxBody:   maxPageBody,
			timeout: pageTimeout,
		})
		switch {
		case err != nil:
			return nil, false, false, err
		case isNotFound(r):
			return nil, false, false, nil
		case r.status == http.StatusForbidden:
			return nil, false, false, fmt.Errorf("%w: the service user may not see the members of groups: it needs Jira's permission to administer", ErrUnavailable)
		case r.status != http.StatusOK:
			return nil, false, false, r.unexpected(memberPath)
		}
		page, err := decodeMembers(r, memberPath)
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
			break // it gets nowhere
		}
	}
	return nil, false, false, fmt.Errorf("%w: GET %s: the pages of group %q do not end", ErrUnavailable, memberPath, group)
}

// sameUser reports whether two answers are about one user.
func (b apiUser) sameUser(other apiUser) bool {
	return identity(b.Name, b.Key) == identity(other.Name, other.Key)
}

// allUsers hands all users of Jira to take, page by page, until take has seen
// enough. It is lenient: old versions have no such call, others give only the
// first users, and a service user without the permission to browse users gets
// none. Whoever is not handed to take is to be asked for one by one, and an
// error is only that of a credential or of ctx.
func (j *Jira) allUsers(ctx context.Context, s serviceCredential, take func([]apiUser) (enough bool)) error {
	listed, err := j.listUsers(ctx, s, take)
	if !listed && err == nil {
		err = j.searchUsers(ctx, s, take)
	}
	if isCredentialError(err) || ctx.Err() != nil {
		return err
	}
	return nil
}

// listUsers reads GET /rest/api/2/user/list, of Jira 11 and 10.3 LTS, and reports
// false if there is no such call.
func (j *Jira) listUsers(ctx context.Context, s serviceCredential, take func([]apiUser) bool) (bool, error) {
	const path = "/rest/api/2/user/list"
	query := url.Values{"maxResults": {strconv.Itoa(listPageSize)}}
	seen := map[string]bool{}
	for {
		r, err := j.ask(ctx, s, jiraRequest{path: path, query: query, maxBody: maxPageBody, timeout: pageTimeout})
		if err != nil {
			return false, err
		}
		if r.status != http.StatusOK {
			return false, nil
		}
		page, err := decodeList(r, path)
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

// searchUsers reads GET /rest/api/2/user/search. The dot is in every mail address
// (JRASERVER-29069), so that it finds almost everybody.
func (j *Jira) searchUsers(ctx context.Context, s serviceCredential, take func([]apiUser) bool) error {
	const path = "/rest/api/2/user/search"
	var last apiUser
	for start := 0; ; {
		r, err := j.ask(ctx, s, jiraRequest{
			path: path,
			query: url.Values{
				"username":        {"."},
				"includeInactive": {"true"},
				"startAt":         {strconv.Itoa(start)},
				"maxResults":      {strconv.Itoa(listPageSize)},
			},
			maxBody:   maxPageBody,
			timeout: pageTimeout,
		})
		if err != nil {
			return err
		}
		if r.status != http.StatusOK {
			return nil
		}
		found, err := decodeSearch(r, path)
		if err != nil || len(found) == 0 || found[len(found)-1].sameUser(last) || take(found) {
			return nil
		}
		last = found[len(found)-1]
		start += len(found)
	}
}
