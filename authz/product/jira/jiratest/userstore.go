package jiratest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// User is a user of Jira. Names are compared without case. The zero User is
// inactive.
type User struct {
	Name        string   // login name in Jira's spelling
	Key         string   // such as JIRAUSER10100; if empty see Put
	Password    string   // if empty, every password is wrong
	DisplayName string   // if empty, the name
	Active      bool     // only active users are authenticated
	Groups      []string // compared without case
	PATs        []string // values of eternal PATs; any text without a blank

	id int // in the order of creation; a cursor of /user/list
}

// userStore holds and indexes the users and groups. A *User in it is never
// modified, only replaced, so callers may keep it.
type userStore struct {
	mu       sync.Mutex
	byName   map[string]*User // by folded name
	byKey    map[string]*User // by key
	pats     pats
	groups   map[string]*group // by folded name; empty groups stay
	allUsers userList
	usedKeys map[string]bool // keys ever used
	lastID   int
}

// group is a group and its members.
type group struct {
	name    string
	members map[string]*User // by key
	list    userList
}

// userList caches users in the order of responses. It is built on demand and
// dropped when a user changes; its slices are never modified. The zero value is
// not built.
type userList struct {
	built                       bool
	all, active, inactive, byID []*User
}

// build builds the list unless it is built.
func (l *userList) build(users map[string]*User) {
	if l.built {
		return
	}
	for _, u := range users {
		l.all = append(l.all, u)
	}
	l.byID = slices.Clone(l.all)
	slices.SortFunc(l.byID, func(a, b *User) int { return cmp.Compare(a.id, b.id) })
	slices.SortFunc(l.all, func(a, b *User) int { return strings.Compare(fold(a.Name), fold(b.Name)) })
	for _, u := range l.all {
		if u.Active {
			l.active = append(l.active, u)
		} else {
			l.inactive = append(l.inactive, u)
		}
	}
	l.built = true
}

// filter returns the active users, the inactive ones, both or none, by name.
func (l *userList) filter(active, inactive bool) []*User {
	switch {
	case active && inactive:
		return l.all
	case active:
		return l.active
	case inactive:
		return l.inactive
	}
	return nil
}

func newUserStore() *userStore {
	p := &userStore{
		byName:   make(map[string]*User),
		byKey:    make(map[string]*User),
		pats:     pats{make(map[string]*PAT), make(map[int64]*PAT), make(map[string][]*PAT), 0},
		groups:   make(map[string]*group),
		usedKeys: make(map[string]bool),
	}
	p.group(Administrators)
	return p
}

// group returns or creates the group with this name. p.mu must be held unless p
// is not shared yet.
func (s *userStore) group(name string) *group {
	g := s.groups[fold(name)]
	if g == nil {
		g = &group{name: name, members: make(map[string]*User)}
		s.groups[fold(name)] = g
	}
	return g
}

// add adds a user who is not in the store. p.mu must be held.
func (s *userStore) add(u *User) {
	s.byName[fold(u.Name)] = u
	s.byKey[u.Key] = u
	s.usedKeys[u.Key] = true
	for _, name := range u.Groups {
		g := s.group(name)
		g.members[u.Key] = u
		g.list = userList{}
	}
	s.allUsers = userList{}
}

// remove removes a user. p.mu must be held.
func (s *userStore) remove(u *User) {
	delete(s.byName, fold(u.Name))
	delete(s.byKey, u.Key)
	for _, name := range u.Groups {
		g := s.group(name)
		delete(g.members, u.Key)
		g.list = userList{}
	}
	s.allUsers = userList{}
}

// newKey returns an unused key. p.mu must be held.
func (s *userStore) newKey(name string) string {
	key := fold(name)
	for n := 10000 + len(s.usedKeys); s.usedKeys[key]; n++ {
		key = "JIRAUSER" + strconv.Itoa(n)
	}
	return key
}

// findByName returns the user with this name, or nil.
func (s *userStore) findByName(name string) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byName[fold(name)]
}

// findByKey returns the user with this key, or nil.
func (s *userStore) findByKey(key string) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byKey[key]
}

// list returns users by name.
func (s *userStore) list(active, inactive bool) []*User {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allUsers.build(s.byKey)
	return s.allUsers.filter(active, inactive)
}

// createdAfter returns the users created after the one with this id, oldest
// first.
func (s *userStore) createdAfter(id int) []*User {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allUsers.build(s.byKey)
	byID := s.allUsers.byID
	i, _ := slices.BinarySearchFunc(byID, id+1, func(u *User, id int) int { return cmp.Compare(u.id, id) })
	return byID[i:]
}

// members returns the members of a group by name, and false if the group does
// not exist.
func (s *userStore) members(name string, inactive bool) ([]*User, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[fold(name)]
	if g == nil {
		return nil, false
	}
	g.list.build(g.members)
	return g.list.filter(true, inactive), true
}

// change replaces the user returned by find with an edited copy.
func (s *userStore) change(find func() (*User, error), edit func(*User)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := find()
	if err != nil {
		return err
	}
	changed := *u
	edit(&changed)
	s.remove(u)
	s.add(&changed)
	return nil
}

// changeNamed changes the user with a name.
func (s *userStore) changeNamed(name string, edit func(*User)) error {
	return s.change(func() (*User, error) {
		u := s.byName[fold(name)]
		if u == nil {
			return nil, fmt.Errorf("jiratest: no user is named %q", name)
		}
		return u, nil
	}, edit)
}

// distinct removes names that differ from an earlier one only by case.
func distinct(names []string) []string {
	var kept []string
	seen := make(map[string]bool)
	for _, name := range names {
		if !seen[fold(name)] {
			seen[fold(name)] = true
			kept = append(kept, name)
		}
	}
	return kept
}

// Put adds or replaces a user. If another user has the same key, Put renames
// that user; if another user has the same name but a different key, Put deletes
// that user first.
//
// A User without a key replaces the one with the same name. If there is none,
// it gets the lower-case name as its key, or a key like JIRAUSER10100 if that
// key was ever used. Missing groups are created, and stay. So do PATs, until they or
// their user are deleted.
func (s *Server) Put(u User) {
	u.Groups = distinct(u.Groups)
	if u.DisplayName == "" {
		u.DisplayName = u.Name
	}
	p := s.users
	p.mu.Lock()
	defer p.mu.Unlock()
	named := p.byName[fold(u.Name)]
	if u.Key == "" && named != nil {
		u.Key = named.Key
	}
	if u.Key == "" {
		u.Key = p.newKey(u.Name)
	}
	if before := p.byKey[u.Key]; before != nil {
		u.id = before.id
		p.remove(before)
	} else {
		p.lastID++
		u.id = p.lastID
	}
	if named != nil && named.Key != u.Key {
		p.remove(named)
		p.deletePATs(named.Key)
	}
	for _, value := range u.PATs {
		if p.pats.byValue[value] == nil {
			p.addPAT(&PAT{User: u.Key, Name: "given", Created: s.millisecond(), Ends: Eternal, value: value})
		}
	}
	u.PATs = nil
	p.add(&u)
}

// Rename renames the user with this key, who keeps key, display name, sessions
// and tokens. It fails if the user does not exist or the name is taken.
func (s *Server) Rename(key, name string) error {
	p := s.users
	return p.change(func() (*User, error) {
		u := p.byKey[key]
		if u == nil {
			return nil, fmt.Errorf("jiratest: no user has the key %q", key)
		}
		if other := p.byName[fold(name)]; other != nil && other != u {
			return nil, fmt.Errorf("jiratest: the name %q is taken", name)
		}
		return u, nil
	}, func(u *User) { u.Name = name })
}

// Activate activates a user. It fails if the user does not exist.
func (s *Server) Activate(name string) error {
	return s.users.changeNamed(name, func(u *User) { u.Active = true })
}

// Deactivate deactivates a user until Activate. It fails if the user does not
// exist.
func (s *Server) Deactivate(name string) error {
	return s.users.changeNamed(name, func(u *User) { u.Active = false })
}

// SetGroups replaces a user's groups. Missing groups are created, and stay. It
// fails if the user does not exist.
func (s *Server) SetGroups(name string, groups ...string) error {
	groups = distinct(groups)
	return s.users.changeNamed(name, func(u *User) { u.Groups = groups })
}

// Delete deletes a user, and frees the name for a user with another key. It
// fails if the user does not exist.
func (s *Server) Delete(name string) error {
	s.mu.Lock()
	delete(s.failures, fold(name))
	s.mu.Unlock()
	p := s.users
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.byName[fold(name)]
	if u == nil {
		return fmt.Errorf("jiratest: no user is named %q", name)
	}
	p.remove(u)
	p.deletePATs(u.Key)
	return nil
}
