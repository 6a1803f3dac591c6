package jira

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
)

const (
	// bulkThreshold is the number of owners from which all users are listed
	// instead of requesting owners one by one.
	bulkThreshold = 20

	// maxConsecutiveErrors is the number of owners in a row without an answer
	// after which the refresh checks whether Jira answers at all.
	maxConsecutiveErrors = 3
)

// snapshotBuilder collects the results of a refresh.
type snapshotBuilder struct {
	builtAt       time.Time
	users         map[string]directory.User // by identity
	byName        map[string]directory.User // by identity of the name alone
	memberOf      map[string][]string       // groups by identity of the member, which is the name if the page has no key
	removed       map[string]time.Time
	groups        map[string]bool // folded
	missingGroups []string
	ownerErr      error // of the last owner without an answer
}

// Refresh requests everything that a snapshot needs.
func (j *source) Refresh(ctx context.Context, n directory.RefreshRequest) (*directory.Snapshot, error) {
	s, err := j.credential()
	if err != nil {
		return nil, err
	}
	a := &snapshotBuilder{
		builtAt:  j.now(),
		users:    make(map[string]directory.User),
		byName:   make(map[string]directory.User),
		memberOf: make(map[string][]string),
		removed:  make(map[string]time.Time),
		groups:   make(map[string]bool),
	}
	for _, group := range j.groups() {
		if err := j.fetchGroup(ctx, s, a, group); err != nil {
			return nil, err
		}
	}
	if open := a.unresolved(n.Owners); len(open) >= bulkThreshold {
		pages := 0
		err := j.allUsers(ctx, s, func(page []apiUser) bool {
			a.addPage(page)
			open = a.unresolved(open)
			pages++
			// One page too many costs as much as one owner.
			return len(open) == 0 || pages > len(open)
		})
		if err != nil {
			return nil, err
		}
	}
	// Owners in no page get the rest of the interval, and at least a tenth of
	// it.
	until := j.now().Add(max(a.builtAt.Add(n.Interval).Sub(j.now()), n.Interval/10))
	if err := j.fetchOwners(ctx, s, a, j.sortOwners(a.unresolved(n.Owners), n.LastBegun), until); err != nil {
		return nil, err
	}
	j.pruneLastAsked(n.Owners)
	j.recordSuccess(s)
	return a.snapshot(n), nil
}

// fetchGroup reads a group. A group that does not exist has no members.
func (j *source) fetchGroup(ctx context.Context, s serviceCredential, a *snapshotBuilder, group string) error {
	if a.groups[directory.FoldGroup(group)] {
		return nil
	}
	a.groups[directory.FoldGroup(group)] = true
	members, found, err := j.groupMembers(ctx, s, group)
	if err != nil {
		return err
	}
	if !found {
		a.missingGroups = append(a.missingGroups, group)
	}
	a.addPage(members)
	for _, b := range members {
		id := directory.Identity(b.Name, b.Key)
		a.memberOf[id] = append(a.memberOf[id], group)
	}
	return nil
}

// addPage adds the users of a page. A user whose new name can't own tokens
// counts as removed; a user without an active field is skipped.
func (a *snapshotBuilder) addPage(page []apiUser) {
	for _, b := range page {
		u, ok := b.toUser(a.builtAt)
		switch {
		case ok:
			a.add(u)
		case b.Name != "" && errors.Is(u.Check(), directory.ErrUnusableName):
			a.removed[u.Identity()] = a.builtAt
		}
	}
}

// add adds a user. A user without a key is only replaced by one with a key.
func (a *snapshotBuilder) add(u directory.User) {
	named := directory.Identity(u.Name, "")
	if u.Key != "" {
		delete(a.users, named)
	} else if a.byName[named].Key != "" {
		return
	}
	a.users[u.Identity()] = u
	a.byName[named] = u
	delete(a.removed, u.Identity())
}

// groupsOf returns the user's groups according to the pages.
func (a *snapshotBuilder) groupsOf(u directory.User) []string {
	groups := a.memberOf[directory.Identity(u.Name, "")]
	if u.Key == "" {
		return groups
	}
	groups = slices.Clip(groups)
	for _, group := range a.memberOf[u.Identity()] {
		if !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	return groups
}

// unresolved returns the owners without an answer.
func (a *snapshotBuilder) unresolved(owners []directory.Owner) []directory.Owner {
	return slices.DeleteFunc(slices.Clone(owners), func(o directory.Owner) bool {
		id := directory.Identity(o.Name, o.Key)
		_, gone := a.removed[id]
		_, named := a.byName[id]
		_, seen := a.users[id]
		return gone || named || seen
	})
}

// sortOwners puts owners whose tokens were used since the last refresh first,
// and among these the ones asked for longest ago.
func (j *source) sortOwners(owners []directory.Owner, since time.Time) []directory.Owner {
	slices.SortStableFunc(owners, func(a, b directory.Owner) int {
		return cmp.Or(
			compareBools(b.LastUsed.After(since), a.LastUsed.After(since)),
			j.lastAsked[directory.Identity(a.Name, a.Key)].Compare(j.lastAsked[directory.Identity(b.Name, b.Key)]),
		)
	})
	return owners
}

// compareBools orders false before true.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// fetchOwners requests owners one by one until a deadline. An owner without an
// answer keeps the previous one, but if Jira does not answer at all or refuses
// the credential, the refresh fails.
func (j *source) fetchOwners(ctx context.Context, s serviceCredential, a *snapshotBuilder, owners []directory.Owner, until time.Time) error {
	inARow := 0
	for _, o := range owners {
		if !j.now().Before(until) {
			return nil
		}
		err := j.fetchOwner(ctx, s, a, o)
		switch {
		case err == nil, errors.Is(err, directory.ErrUnusableName):
			inARow = 0
			continue
		case ctx.Err() != nil, isCredentialError(err):
			return err
		}
		a.ownerErr = err
		if inARow++; inARow == maxConsecutiveErrors {
			if err := j.probe(ctx, s); err != nil {
				return err
			}
			inARow = 0
		}
	}
	return nil
}

// fetchOwner requests one owner, by key if known, because a key survives a
// rename.
func (j *source) fetchOwner(ctx context.Context, s serviceCredential, a *snapshotBuilder, o directory.Owner) error {
	id := directory.Identity(o.Name, o.Key)
	asked := j.now()
	j.lastAsked[id] = asked
	if o.Key != "" {
		u, err := j.user(ctx, s, "key", o.Key)
		if errors.Is(err, directory.ErrUnusableName) {
			a.removed[id] = asked // the name in the earlier answer is outdated
		}
		if !errors.Is(err, directory.ErrUnknownUser) {
			return a.addFound(u, err)
		}
	}
	u, err := j.user(ctx, s, "username", o.Name)
	switch {
	case errors.Is(err, directory.ErrUnknownUser):
		a.removed[directory.Identity(o.Name, "")] = asked
		a.removed[id] = asked
		return nil
	case err == nil && u.Key != "" && o.Key != "" && u.Key != o.Key, errors.Is(err, directory.ErrUnusableName):
		a.removed[id] = asked // the name belongs to another user now
	}
	return a.addFound(u, err)
}

func (a *snapshotBuilder) addFound(u directory.User, err error) error {
	if err == nil {
		a.add(u)
	}
	return err
}

// probe checks whether Jira answers to this credential.
func (j *source) probe(ctx context.Context, s serviceCredential) error {
	r, err := j.ask(ctx, s, jiraRequest{path: myselfPath, maxBody: maxUserBody, timeout: userTimeout})
	if err != nil {
		return err
	}
	if r.status != http.StatusOK {
		return r.unexpected(myselfPath)
	}
	_, err = decodeUser(r, myselfPath)
	return err
}

// isCredentialError reports whether Jira refused the credential.
func isCredentialError(err error) bool { return errors.Is(err, errCredential) }

// snapshot makes the snapshot, with earlier answers for users without a new
// one.
func (a *snapshotBuilder) snapshot(n directory.RefreshRequest) *directory.Snapshot {
	users := slices.Collect(maps.Values(a.users))
	last := n.Last.Contents()
	for _, u := range last.Users {
		_, seen := a.users[u.Identity()]
		if !seen && !a.isRemoved(u) && a.builtAt.Before(u.Asked.Add(n.StaleAfter)) {
			users = append(users, u)
		}
	}
	for i, u := range users {
		users[i].Groups = directory.Groups{Known: true, Names: a.groupsOf(u)}
	}
	for id, asked := range last.Removed {
		if _, again := a.removed[id]; !again && a.builtAt.Before(asked.Add(n.StaleAfter)) {
			a.removed[id] = asked
		}
	}
	s := directory.NewSnapshot(directory.Contents{
		Taken: a.builtAt, StaleAfter: n.StaleAfter, Users: users, Removed: a.removed,
		Groups: a.groups, MissingGroups: a.missingGroups, OtherMembers: a.memberOf, OwnerErr: a.ownerErr,
	})
	// OtherMembers keeps only members who are not users of the snapshot.
	for _, u := range s.Contents().Users {
		delete(a.memberOf, directory.Identity(u.Name, ""))
		delete(a.memberOf, u.Identity())
	}
	return s
}

// isRemoved reports whether the user of an earlier answer no longer exists.
func (a *snapshotBuilder) isRemoved(u directory.User) bool {
	_, byKey := a.removed[u.Identity()]
	_, byName := a.removed[directory.Identity(u.Name, "")]
	return byKey || byName
}

// pruneLastAsked removes the entries of users who no longer own tokens.
func (j *source) pruneLastAsked(owners []directory.Owner) {
	tried := make(map[string]time.Time, len(owners))
	for _, o := range owners {
		id := directory.Identity(o.Name, o.Key)
		if at, ok := j.lastAsked[id]; ok {
			tried[id] = at
		}
	}
	j.lastAsked = tried
}
