package directory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tokengate/tokengate/store"
)

// Snapshot is the state of a source at one time. It is immutable and safe for
// concurrent use. A nil Snapshot and the zero Snapshot have no users and are
// never current.
type Snapshot struct {
	taken      time.Time
	goodUntil  time.Time
	staleAfter time.Duration // lifetime of an answer

	acceptAll bool // every name exists; the fields below are empty
	complete  bool // users not in it do not exist

	byKey         map[string]User
	byName        map[string]User      // by folded name
	removed       map[string]time.Time // identities that do not exist, with the time of that answer
	allGroups     bool                 // every user's groups are all known
	groups        map[string]bool      // otherwise: folded names of the requested groups
	missingGroups []string             // requested groups that do not exist
	otherMembers  map[string][]string  // groups of members who are not in users, by identity
	ownerErr      error                // why an owner got no answer; nil if none failed

	overlay *overlay // users looked up since; nil if none
}

// Taken returns when the refresh that made the snapshot began; zero for a nil
// Snapshot.
func (s *Snapshot) Taken() time.Time {
	if s == nil {
		return time.Time{}
	}
	return s.taken
}

// GoodUntil returns the time from which decisions may no longer rely on the
// snapshot; zero for a nil Snapshot.
func (s *Snapshot) GoodUntil() time.Time {
	if s == nil {
		return time.Time{}
	}
	return s.goodUntil
}

// Len returns the number of users.
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

// MissingGroups returns the configured groups that do not exist.
func (s *Snapshot) MissingGroups() []string {
	if s == nil {
		return nil
	}
	return slices.Clone(s.missingGroups)
}

// ByName returns the user with this name, ignoring case. The answer may be
// older than the snapshot; see User.Asked.
func (s *Snapshot) ByName(name string) (User, bool) {
	if s == nil {
		return User{}, false
	}
	if s.acceptAll {
		u := acceptedUser(name)
		return u, u.Check() == nil
	}
	return s.findName(store.FoldOwner(name))
}

// acceptedUser returns the user that None has for a name.
func acceptedUser(name string) User {
	return User{Name: name, Active: true, Groups: Groups{Known: true}}
}

// ByKey returns the user with this key, whatever their current name.
func (s *Snapshot) ByKey(key string) (User, bool) {
	if s == nil || key == "" {
		return User{}, false
	}
	return s.findKey(key)
}

// Follows reports whether the snapshot knows the members of all these groups.
// That is always so for None and File, and never for a nil or zero Snapshot.
func (s *Snapshot) Follows(groups []string) bool {
	switch {
	case s == nil:
		return false
	case s.allGroups:
		return true
	}
	return s.groups != nil && !slices.ContainsFunc(groups, func(group string) bool { return !s.groups[FoldGroup(group)] })
}

// Member reports whether a user of the snapshot is in a group. known is false,
// and so is is, if the snapshot does not follow the group or the user's groups
// are unknown.
func (s *Snapshot) Member(u User, group string) (is, known bool) {
	if !u.Groups.Known || !s.Follows([]string{group}) {
		return false, false
	}
	return u.Groups.Has(group), true
}

// Owner returns the owner of a token at now, or an error if the tokens must not
// work:
//
//   - ErrUnknownUser: the user does not exist, or the name now belongs to another user.
//   - ErrInactive: the user is deactivated.
//   - ErrUnavailable: nothing is known, or the answer is too old.
//
// If both keys are known, the key decides, so the User may have another name
// than the owner. A name alone never matches a user with a different key.
func (s *Snapshot) Owner(name, key string, now time.Time) (User, error) {
	if s == nil || !now.Before(s.goodUntil) {
		return User{}, fmt.Errorf("%w (the user directory is out of date)", ErrUnavailable)
	}
	if s.acceptAll {
		u := acceptedUser(name)
		return u, u.Check()
	}
	u, ok := s.ByKey(key)
	if !ok {
		u, ok = s.ByName(name)
		ok = ok && (key == "" || u.Key == "")
	}
	_, gone := s.removedAt(Identity(name, key))
	switch {
	case !ok && (s.complete || gone):
		return User{}, ErrUnknownUser
	case !ok || !now.Before(u.Asked.Add(s.staleAfter)):
		return User{}, fmt.Errorf("%w (what is known of this user is out of date)", ErrUnavailable)
	case !u.Active:
		return u, ErrInactive
	}
	return u, nil
}

// Contents are the fields of a Snapshot that a source fills.
type Contents struct {
	Taken         time.Time
	StaleAfter    time.Duration
	Users         []User
	Removed       map[string]time.Time
	Groups        map[string]bool
	MissingGroups []string
	OtherMembers  map[string][]string
	OwnerErr      error
}

// NewSnapshot makes a snapshot. If two users have the same name, the older
// answer is outdated and its user is unknown until asked for again, so that
// they don't act as the other. If both answers are equally old, both users are
// unknown.
func NewSnapshot(c Contents) *Snapshot {
	s := &Snapshot{
		taken:         c.Taken,
		goodUntil:     c.Taken.Add(c.StaleAfter),
		staleAfter:    c.StaleAfter,
		byKey:         make(map[string]User, len(c.Users)),
		byName:        make(map[string]User, len(c.Users)),
		removed:       maps.Clone(c.Removed),
		groups:        c.Groups,
		missingGroups: c.MissingGroups,
		otherMembers:  c.OtherMembers,
		ownerErr:      c.OwnerErr,
	}
	slices.SortStableFunc(c.Users, func(a, b User) int {
		return cmp.Or(a.Asked.Compare(b.Asked), cmp.Compare(a.Identity(), b.Identity()))
	})
	for _, u := range c.Users {
		old, ok := s.byName[store.FoldOwner(u.Name)]
		s.put(u)
		if ok && old.Asked.Equal(u.Asked) && old.Identity() != u.Identity() {
			s.drop(u)
		}
	}
	return s
}

func (s *Snapshot) drop(u User) {
	delete(s.byKey, u.Key)
	delete(s.byName, store.FoldOwner(u.Name))
}

// Contents returns the snapshot's contents, including users looked up since.
func (s *Snapshot) Contents() Contents {
	s = s.flatten()
	if s == nil {
		return Contents{}
	}
	return Contents{
		Taken:         s.taken,
		StaleAfter:    s.staleAfter,
		Users:         slices.Collect(maps.Values(s.byName)),
		Removed:       s.removed,
		Groups:        s.groups,
		MissingGroups: s.missingGroups,
		OtherMembers:  s.otherMembers,
	}
}
