package directory

import (
	"maps"
	"slices"
	"time"

	"github.com/tokengate/tokengate/store"
)

// maxLookedUp limits the users added between two refreshes; further ones are
// not added. At 2 lookups a second it is reached after eight minutes.
const maxLookedUp = 1000

// overlay holds single-user answers since a snapshot was taken. It is searched
// before the snapshot's maps, so adding a user does not copy them.
type overlay struct {
	byKey, byName map[string]User // the zero User: the key or name no longer belongs to anyone
	restored      map[string]bool // removed identities that exist again
}

// with returns a copy with one more user. The large maps are shared.
func (s *Snapshot) with(u User) *Snapshot {
	next := *s
	over := overlay{byKey: map[string]User{}, byName: map[string]User{}, restored: map[string]bool{}}
	if s.overlay != nil {
		if _, again := s.overlay.byName[store.FoldOwner(u.Name)]; !again && len(s.overlay.byName) >= maxLookedUp {
			return s
		}
		over = overlay{byKey: maps.Clone(s.overlay.byKey), byName: maps.Clone(s.overlay.byName), restored: maps.Clone(s.overlay.restored)}
	}
	next.overlay = &over
	next.put(u)
	return &next
}

// flatten returns the same snapshot without an overlay.
func (s *Snapshot) flatten() *Snapshot {
	if s == nil || s.overlay == nil {
		return s
	}
	next := *s
	next.byKey, next.byName, next.removed = maps.Clone(s.byKey), maps.Clone(s.byName), maps.Clone(s.removed)
	next.overlay = nil
	for key, u := range s.overlay.byKey {
		next.setKey(key, u)
	}
	for name, u := range s.overlay.byName {
		next.setName(name, u)
	}
	for id := range s.overlay.restored {
		delete(next.removed, id)
	}
	return &next
}

// put adds a user whose answer is newer than the snapshot, and removes the
// previous holder of the name and the previous entry for the key.
func (s *Snapshot) put(u User) {
	name := store.FoldOwner(u.Name)
	if old, ok := s.ByKey(u.Key); ok {
		s.setName(store.FoldOwner(old.Name), User{})
	}
	if old, ok := s.findName(name); ok {
		s.setKey(old.Key, User{})
	}
	s.setKey(u.Key, u)
	s.setName(name, u)
	for _, id := range []string{u.Identity(), Identity(u.Name, "")} {
		if s.overlay != nil {
			s.overlay.restored[id] = true
		} else {
			delete(s.removed, id)
		}
	}
}

// merge adds a user who was looked up while the snapshot was being taken,
// unless the snapshot has a later answer. Groups from the snapshot's pages win;
// the looked-up groups apply only to users in none of these.
func (s *Snapshot) merge(u User) {
	if s.byName == nil {
		return
	}
	for _, id := range []string{u.Identity(), Identity(u.Name, "")} {
		if gone, ok := s.removedAt(id); ok && gone.After(u.Asked) {
			return
		}
	}
	byName, named := s.ByName(u.Name)
	byKey, keyed := s.ByKey(u.Key)
	if named && !byName.Asked.Before(u.Asked) || keyed && !byKey.Asked.Before(u.Asked) {
		return
	}
	if found := s.knownGroups(u); !s.allGroups && len(found.Names) > 0 {
		u.Groups = found
	}
	s.put(u)
}

// mergeGroups returns the groups in the snapshot and in a single-user answer
// together, because an answer about one user may omit nested groups.
func (s *Snapshot) mergeGroups(u User) Groups {
	groups := s.knownGroups(u)
	groups.Known = groups.Known || u.Groups.Known
	for _, name := range u.Groups.Names {
		if !groups.Has(name) {
			groups.Names = append(groups.Names, name)
		}
	}
	return groups
}

// knownGroups returns the user's groups in the snapshot, unknown if it has
// none.
func (s *Snapshot) knownGroups(u User) Groups {
	var found []Groups
	if same, ok := s.ByKey(u.Key); ok {
		found = append(found, same.Groups)
	}
	if same, ok := s.ByName(u.Name); ok && (same.Key == "" || u.Key == "") {
		found = append(found, same.Groups)
	}
	for _, id := range []string{u.Identity(), Identity(u.Name, "")} {
		if names, ok := s.otherMembers[id]; ok {
			found = append(found, Groups{Known: true, Names: names})
		}
	}
	var groups Groups
	for _, some := range found {
		groups.Known = groups.Known || some.Known
		groups.Names = append(groups.Names, slices.DeleteFunc(slices.Clone(some.Names), groups.Has)...)
	}
	return groups
}

// findName returns the user with a folded name.
func (s *Snapshot) findName(folded string) (User, bool) {
	if s.overlay != nil {
		if u, ok := s.overlay.byName[folded]; ok {
			return u, u.Name != ""
		}
	}
	u, ok := s.byName[folded]
	return u, ok
}

// findKey returns the user with a key.
func (s *Snapshot) findKey(key string) (User, bool) {
	if s.overlay != nil {
		if u, ok := s.overlay.byKey[key]; ok {
			return u, u.Name != ""
		}
	}
	u, ok := s.byKey[key]
	return u, ok
}

// setName assigns a folded name to a user; the zero User removes it.
func (s *Snapshot) setName(folded string, u User) {
	switch {
	case s.overlay != nil:
		s.overlay.byName[folded] = u
	case u.Name == "":
		delete(s.byName, folded)
	default:
		s.byName[folded] = u
	}
}

// setKey assigns a key to a user; the zero User removes it.
func (s *Snapshot) setKey(key string, u User) {
	switch {
	case key == "":
	case s.overlay != nil:
		s.overlay.byKey[key] = u
	case u.Name == "":
		delete(s.byKey, key)
	default:
		s.byKey[key] = u
	}
}

// removedAt returns the time of the answer that an identity does not exist.
func (s *Snapshot) removedAt(id string) (time.Time, bool) {
	if s.overlay != nil && s.overlay.restored[id] {
		return time.Time{}, false
	}
	at, ok := s.removed[id]
	return at, ok
}
