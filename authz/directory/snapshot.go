package directory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tokengate/tokengate/store"
)

// Snapshot is what a source said at one time. It does not change, and is safe
// for concurrent use. A nil Snapshot and the zero Snapshot know nobody and are
// good at no time.
type Snapshot struct {
	taken     time.Time
	goodUntil time.Time
	staleAfter     time.Duration // how long an answer is good

	acceptAll   bool // whoever is asked for exists; all that follows is empty
	complete bool // who is not in it does not exist

	byKey   map[string]User
	byName  map[string]User      // by folded name
	removed    map[string]time.Time // identities that do not exist, and when that was said
	allGroups   bool                 // all groups of every user are known
	groups  map[string]bool      // else: folded names of the groups that were asked for
	missingGroups []string             // those of them that do not exist
	otherMembers  map[string][]string  // groups of members who are not among the users, by identity
	ownerErr  error                // why an owner got no answer of this snapshot; nil: none was refused one

	overlay *overlay // what was learned since; nil: nothing
}

// forever is the end of what needs no refresh.
var forever = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// Taken returns when the snapshot was begun to be taken; zero for a nil
// Snapshot.
func (s *Snapshot) Taken() time.Time {
	if s == nil {
		return time.Time{}
	}
	return s.taken
}

// GoodUntil returns the instant from which decisions may not rely on the
// snapshot any more; zero for a nil Snapshot.
func (s *Snapshot) GoodUntil() time.Time {
	if s == nil {
		return time.Time{}
	}
	return s.goodUntil
}

// Len returns how many users are known.
func (s *Snapshot) Len() int {
	if s == nil {
		return 0
	}
	n := len(s.byName)
	if s.overlay == nil {
		return n
	}
	for name, u := range s.overlay.byName {
		switch _, before := s.byName[name]; {
		case before && u.Name == "":
			n--
		case !before && u.Name != "":
			n++
		}
	}
	return n
}

// MissingGroups returns the groups that the configuration names and Jira does
// not have.
func (s *Snapshot) MissingGroups() []string {
	if s == nil {
		return nil
	}
	return slices.Clone(s.missingGroups)
}

// ByName returns the user who has this name, in any case. The answer may be
// older than the snapshot; see User.Asked.
func (s *Snapshot) ByName(name string) (User, bool) {
	if s == nil {
		return User{}, false
	}
	if s.acceptAll {
		u := acceptedUser(name)
		return u, u.check() == nil
	}
	return s.findName(store.FoldOwner(name))
}

// acceptedUser returns the user that None knows by this name.
func acceptedUser(name string) User {
	return User{Name: name, Active: true, Groups: Groups{Known: true}}
}

// ByKey returns the user who has this key, whatever their name is by now.
func (s *Snapshot) ByKey(key string) (User, bool) {
	if s == nil || key == "" {
		return User{}, false
	}
	return s.findKey(key)
}

// Follows reports whether every one of these groups was followed when the
// snapshot was taken, so that it says who is in them. Where the source tells all
// groups of everybody, as None and File do, that is always so. A nil Snapshot
// and the zero Snapshot follow nothing.
func (s *Snapshot) Follows(groups []string) bool {
	switch {
	case s == nil:
		return false
	case s.allGroups:
		return true
	}
	return s.groups != nil && !slices.ContainsFunc(groups, func(group string) bool { return !s.groups[foldGroup(group)] })
}

// Member reports whether a user of the snapshot is in a group. known is false
// where the answer is not known, because the snapshot does not follow the
// group or because the user's groups are unknown: then is is false and means
// nothing.
func (s *Snapshot) Member(u User, group string) (is, known bool) {
	if !u.Groups.Known || !s.Follows([]string{group}) {
		return false, false
	}
	return u.Groups.Has(group), true
}

// Owner returns who the owner of a token is at now, and an error unless it is
// somebody whose tokens are good:
//
//   - ErrUnknownUser: there is no such user, or the name is another's by now.
//   - ErrInactive: the user is deactivated.
//   - ErrUnavailable: nothing is known, or only what is too old.
//
// Where both keys are known it is the key that counts, so the User may have
// another name than the owner. A name alone never leads to somebody whose key
// is another.
func (s *Snapshot) Owner(name, key string, now time.Time) (User, error) {
	if s == nil || !now.Before(s.goodUntil) {
		return User{}, fmt.Errorf("%w (what is known of all users is too old)", ErrUnavailable)
	}
	if s.acceptAll {
		u := acceptedUser(name)
		return u, u.check()
	}
	u, ok := s.ByKey(key)
	if !ok {
		u, ok = s.ByName(name)
		ok = ok && (key == "" || u.Key == "")
	}
	_, gone := s.removedAt(identity(name, key))
	switch {
	case !ok && (s.complete || gone):
		return User{}, ErrUnknownUser
	case !ok || !now.Before(u.Asked.Add(s.staleAfter)):
		return User{}, fmt.Errorf("%w (what is known of this user is too old)", ErrUnavailable)
	case !u.Active:
		return u, ErrInactive
	}
	return u, nil
}

// contents is what a source knows for a snapshot.
type contents struct {
	taken   time.Time
	staleAfter   time.Duration
	users   []User
	removed    map[string]time.Time
	groups  map[string]bool
	missingGroups []string
	otherMembers  map[string][]string
	ownerErr  error
}

// newSnapshot makes a snapshot. If two users have the same name, the older
// answer is outdated and its user is unknown until the source is asked again;
// acting under that name would be acting as the other user. If both answers are
// equally old, both users are unknown.
func newSnapshot(c contents) *Snapshot {
	s := &Snapshot{
		taken:     c.taken,
		goodUntil: c.taken.Add(c.staleAfter),
		staleAfter:     c.staleAfter,
		byKey:     make(map[string]User, len(c.users)),
		byName:    make(map[string]User, len(c.users)),
		removed:      maps.Clone(c.removed),
		groups:    c.groups,
		missingGroups:   c.missingGroups,
		otherMembers:    c.otherMembers,
		ownerErr:    c.ownerErr,
	}
	slices.SortStableFunc(c.users, func(a, b User) int {
		return cmp.Or(a.Asked.Compare(b.Asked), cmp.Compare(a.identity(), b.identity()))
	})
	for _, u := range c.users {
		old, ok := s.byName[store.FoldOwner(u.Name)]
		s.put(u)
		if ok && old.Asked.Equal(u.Asked) && old.identity() != u.identity() {
			s.drop(u)
		}
	}
	return s
}

func (s *Snapshot) drop(u User) {
	delete(s.byKey, u.Key)
	delete(s.byName, store.FoldOwner(u.Name))
}

// contents returns what a snapshot was made of, with what was looked up since.
func (s *Snapshot) contents() contents {
	s = s.flatten()
	if s == nil {
		return contents{}
	}
	return contents{
		taken:   s.taken,
		staleAfter:   s.staleAfter,
		users:   slices.Collect(maps.Values(s.byName)),
		removed:    s.removed,
		groups:  s.groups,
		missingGroups: s.missingGroups,
		otherMembers:  s.otherMembers,
	}
}
