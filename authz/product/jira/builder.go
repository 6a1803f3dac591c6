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
func (s *source) Refresh(ctx context.Context, q directory.RefreshRequest) (*directory.Snapshot, error) {
	c, err := s.credential()
	if err != nil {
		return nil, err
	}
	b := &snapshotBuilder{
		builtAt:  s.now(),
		users:    make(map[string]directory.User),
		byName:   make(map[string]directory.User),
		memberOf: make(map[string][]string),
		removed:  make(map[string]time.Time),
		groups:   make(map[string]bool),
	}
	for _, group := range s.groups() {
		if err := s.fetchGroup(ctx, c, b, group); err != nil {
			return nil, err
		}
	}
	if open := b.unresolved(q.Owners); len(open) >= bulkThreshold {
		pages := 0
		err := s.allUsers(ctx, c, func(page []apiUser) bool {
			b.addPage(page)
			open = b.unresolved(open)
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
	until := s.now().Add(max(b.builtAt.Add(q.Interval).Sub(s.now()), q.Interval/10))
	if err := s.fetchOwners(ctx, c, b, s.sortOwners(b.unresolved(q.Owners), q.LastBegun), until); err != nil {
		return nil, err
	}
	s.pruneLastAsked(q.Owners)
	s.recordSuccess(c)
	return b.snapshot(q), nil
}

// fetchGroup reads a group. A group that does not exist has no members.
func (s *source) fetchGroup(ctx context.Context, c serviceCredential, b *snapshotBuilder, group string) error {
	if b.groups[directory.FoldGroup(group)] {
		return nil
	}
	b.groups[directory.FoldGroup(group)] = true
	members, found, err := s.groupMembers(ctx, c, group)
	if err != nil {
		return err
	}
	if !found {
		b.missingGroups = append(b.missingGroups, group)
	}
	b.addPage(members)
	for _, m := range members {
		id := directory.Identity(m.Name, m.Key)
		b.memberOf[id] = append(b.memberOf[id], group)
	}
	return nil
}

// addPage adds the users of a page. A user whose new name can't own tokens
// counts as removed; a user without an active field is skipped.
func (b *snapshotBuilder) addPage(page []apiUser) {
	for _, m := range page {
		u, ok := m.toUser(b.builtAt)
		switch {
		case ok:
			b.add(u)
		case m.Name != "" && errors.Is(u.Check(), directory.ErrUnusableName):
			b.removed[u.Identity()] = b.builtAt
		}
	}
}

// add adds a user. A user without a key is only replaced by one with a key.
func (b *snapshotBuilder) add(u directory.User) {
	named := directory.Identity(u.Name, "")
	if u.Key != "" {
		delete(b.users, named)
	} else if b.byName[named].Key != "" {
		return
	}
	b.users[u.Identity()] = u
	b.byName[named] = u
	delete(b.removed, u.Identity())
}

// groupsOf returns the user's groups according to the pages.
func (b *snapshotBuilder) groupsOf(u directory.User) []string {
	groups := b.memberOf[directory.Identity(u.Name, "")]
	if u.Key == "" {
		return groups
	}
	groups = slices.Clip(groups)
	for _, group := range b.memberOf[u.Identity()] {
		if !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	return groups
}

// unresolved returns the owners without an answer.
func (b *snapshotBuilder) unresolved(owners []directory.Owner) []directory.Owner {
	return slices.DeleteFunc(slices.Clone(owners), func(o directory.Owner) bool {
		id := directory.Identity(o.Name, o.Key)
		_, gone := b.removed[id]
		_, named := b.byName[id]
		_, seen := b.users[id]
		return gone || named || seen
	})
}

// sortOwners puts owners whose tokens were used since the last refresh first,
// and among these the ones asked for longest ago.
func (s *source) sortOwners(owners []directory.Owner, since time.Time) []directory.Owner {
	unused := func(o directory.Owner) int {
		if o.LastUsed.After(since) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(owners, func(a, b directory.Owner) int {
		return cmp.Or(
			cmp.Compare(unused(a), unused(b)),
			s.lastAsked[directory.Identity(a.Name, a.Key)].Compare(s.lastAsked[directory.Identity(b.Name, b.Key)]),
		)
	})
	return owners
}

// fetchOwners requests owners one by one until a deadline. An owner without an
// answer keeps the previous one, but if Jira does not answer at all or refuses
// the credential, the refresh fails.
func (s *source) fetchOwners(ctx context.Context, c serviceCredential, b *snapshotBuilder, owners []directory.Owner, until time.Time) error {
	inARow := 0
	for _, o := range owners {
		if !s.now().Before(until) {
			return nil
		}
		err := s.fetchOwner(ctx, c, b, o)
		switch {
		case err == nil, errors.Is(err, directory.ErrUnusableName):
			inARow = 0
			continue
		case ctx.Err() != nil, errors.Is(err, errCredential):
			return err
		}
		b.ownerErr = err
		if inARow++; inARow == maxConsecutiveErrors {
			if err := s.probe(ctx, c); err != nil {
				return err
			}
			inARow = 0
		}
	}
	return nil
}

// fetchOwner requests one owner, by key if known, because a key survives a
// rename.
func (s *source) fetchOwner(ctx context.Context, c serviceCredential, b *snapshotBuilder, o directory.Owner) error {
	id := directory.Identity(o.Name, o.Key)
	asked := s.now()
	s.lastAsked[id] = asked
	if o.Key != "" {
		u, err := s.user(ctx, c, "key", o.Key)
		if errors.Is(err, directory.ErrUnusableName) {
			b.removed[id] = asked // the name in the earlier answer is outdated
		}
		if !errors.Is(err, directory.ErrUnknownUser) {
			return b.addFound(u, err)
		}
	}
	u, err := s.user(ctx, c, "username", o.Name)
	switch {
	case errors.Is(err, directory.ErrUnknownUser):
		b.removed[directory.Identity(o.Name, "")] = asked
		b.removed[id] = asked
		return nil
	case err == nil && u.Key != "" && o.Key != "" && u.Key != o.Key, errors.Is(err, directory.ErrUnusableName):
		b.removed[id] = asked // the name belongs to another user now
	}
	return b.addFound(u, err)
}

func (b *snapshotBuilder) addFound(u directory.User, err error) error {
	if err == nil {
		b.add(u)
	}
	return err
}

// probe checks whether Jira answers to this credential.
func (s *source) probe(ctx context.Context, c serviceCredential) error {
	r, err := s.ask(ctx, c, request{path: myselfPath, maxBody: maxUserBody, timeout: userTimeout})
	if err != nil {
		return err
	}
	if r.status != http.StatusOK {
		return r.unexpected()
	}
	_, err = decode(r, isUser)
	return err
}

// snapshot makes the snapshot, with earlier answers for users without a new
// one.
func (b *snapshotBuilder) snapshot(q directory.RefreshRequest) *directory.Snapshot {
	users := slices.Collect(maps.Values(b.users))
	last := q.Last.Contents()
	for _, u := range last.Users {
		_, seen := b.users[u.Identity()]
		if !seen && !b.isRemoved(u) && b.builtAt.Before(u.Asked.Add(q.StaleAfter)) {
			users = append(users, u)
		}
	}
	for i, u := range users {
		users[i].Groups = directory.Groups{Known: true, Names: b.groupsOf(u)}
	}
	for id, asked := range last.Removed {
		if _, again := b.removed[id]; !again && b.builtAt.Before(asked.Add(q.StaleAfter)) {
			b.removed[id] = asked
		}
	}
	s := directory.NewSnapshot(directory.Contents{
		Taken: b.builtAt, StaleAfter: q.StaleAfter, Users: users, Removed: b.removed,
		Groups: b.groups, MissingGroups: b.missingGroups, OtherMembers: b.memberOf, OwnerErr: b.ownerErr,
	})
	// OtherMembers keeps only members who are not users of the snapshot.
	for _, u := range s.Contents().Users {
		delete(b.memberOf, directory.Identity(u.Name, ""))
		delete(b.memberOf, u.Identity())
	}
	return s
}

// isRemoved reports whether the user of an earlier answer no longer exists.
func (b *snapshotBuilder) isRemoved(u directory.User) bool {
	_, byKey := b.removed[u.Identity()]
	_, byName := b.removed[directory.Identity(u.Name, "")]
	return byKey || byName
}

// pruneLastAsked removes the entries of users who no longer own tokens.
func (s *source) pruneLastAsked(owners []directory.Owner) {
	keep := make(map[string]bool, len(owners))
	for _, o := range owners {
		keep[directory.Identity(o.Name, o.Key)] = true
	}
	maps.DeleteFunc(s.lastAsked, func(id string, _ time.Time) bool { return !keep[id] })
}
