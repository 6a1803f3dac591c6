package jiratest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// User is someone who may be authenticated. Names are compared without case.
// The zero User is inactive.
type User struct {
	Name        string   // login name, in the spelling that Jira answers
	Key         string   // such as JIRAUSER10100; empty: see Put
	Password    string   // empty: no password is good
	DisplayName string   // empty: the name
	Active      bool     // only active users are authenticated
	Groups      []string // names of groups, compared without case
	PATs        []string // native personal access tokens, sent as Bearer

	id int // in the order of creation; what a cursor of /user/list says
}

// userStore are the users and groups, found without looking through all of them.
// A *User in here is never changed, only replaced: whoever got one may go on
// reading it.
type userStore struct {
	mu       sync.Mutex
	byName   map[string]*User  // by folded name
	byKey    map[string]*User  // by key
	byPAT    map[string]*User  // by native token
	groups   map[string]*group // by folded name; one without members stays
	allUsers userList
	usedKeys map[string]bool // keys that somebody has or had
	lastID   int
}

// group is a group and its members.
type group struct {
	name    string
	members map[string]*User // by key
	list    userList
}

// userList keeps users in the order in which they are answered. It is made when
// somebody asks, and thrown away when a user changes; its slices are never
// changed. The zero roll is one to be made.
type userList struct {
	built                       bool
	all, active, inactive, byID []*User
}

// build makes the roll of these users if there is none.
func (r *userList) build(users map[string]*User) {
	if r.built {
		return
	}
	for _, u := range users {
		r.all = append(r.all, u)
	}
	r.byID = slices.Clone(r.all)
	slices.SortFunc(r.byID, func(a, b *User) int { return cmp.Compare(a.id, b.id) })
	slices.SortFunc(r.all, func(a, b *User) int { return strings.Compare(fold(a.Name), fold(b.Name)) })
	for _, u := range r.all {
		if u.Active {
			r.active = append(r.active, u)
		} else {
			r.inactive = append(r.inactive, u)
		}
	}
	r.built = true
}

// filter returns the active users, the inactive ones, both or none, by name.
func (r *userList) filter(active, inactive bool) []*User {
	switch {
	case active && inactive:
		return r.all
	case active:
		return r.active
	case inactive:
		return r.inactive
	}
	return nil
}

func newUserStore() *userStore {
	p := &userStore{
		byName:   make(map[string]*User),
		byKey:    make(map[string]*User),
		byPAT:    make(map[string]*User),
		groups:   make(map[string]*group),
		usedKeys: make(map[string]bool),
	}
	p.group(Administrators)
	return p
}

// group returns the group with this name, which is made if there is none.
// p.mu is held, or nobody else has p.
func (p *userStore) group(name string) *group {
	g := p.groups[fold(name)]
	if g == nil {
		g = &group{name: name, members: make(map[string]*User)}
		p.groups[fold(name)] = g
	}
	return g
}

// add makes a user known, who is not. p.mu is held.
func (p *userStore) add(u *User) {
	p.byName[fold(u.Name)] = u
	p.byKey[u.Key] = u
	p.usedKeys[u.Key] = true
	for _, pat := range u.PATs {
		p.byPAT[pat] = u
	}
	for _, name := range u.Groups {
		g := p.group(name)
		g.members[u.Key] = u
		g.list = userList{}
	}
	p.allUsers = userList{}
}

// remove makes a known user unknown. p.mu is held.
func (p *userStore) remove(u *User) {
	delete(p.byName, fold(u.Name))
	delete(p.byKey, u.Key)
	for _, pat := range u.PATs {
		if p.byPAT[pat] == u {
			delete(p.byPAT, pat)
		}
	}
	for _, name := range u.Groups {
		g := p.group(name)
		delete(g.members, u.Key)
		g.list = userList{}
	}
	p.allUsers = userList{}
}

// newKey returns a key that nobody ever had. p.mu is held.
func (p *userStore) newKey(name string) string {
	key := fold(name)
	for n := 10000 + len(p.usedKeys); p.usedKeys[key]; n++ {
		key = "JIRAUSER" + strconv.Itoa(n)
	}
	return key
}

// findByName returns the user with this name, or nil.
func (p *userStore) findByName(name string) *User {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byName[fold(name)]
}

// findByKey returns the user with this key, or nil.
func (p *userStore) findByKey(key string) *User {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byKey[key]
}

// findByPAT returns the user with this native token, or nil.
func (p *userStore) findByPAT(pat string) *User {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byPAT[pat]
}

// list returns users by name.
func (p *userStore) list(active, inactive bool) []*User {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allUsers.build(p.byKey)
	return p.allUsers.filter(active, inactive)
}

// createdAfter returns the users who were created after one with this id, the oldest
// first.
func (p *userStore) createdAfter(id int) []*User {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allUsers.build(p.byKey)
	byID := p.allUsers.byID
	i, _ := slices.BinarySearchFunc(byID, id+1, func(u *User, id int) int { return cmp.Compare(u.id, id) })
	return byID[i:]
}

// members returns the members of a group by name; false if there is no such
// group.
func (p *userStore) members(name string, inactive bool) ([]*User, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.groups[fold(name)]
	if g == nil {
		return nil, false
	}
	g.list.build(g.members)
	return g.list.filter(true, inactive), true
}

// change replaces the user that find finds by an edited copy.
func (p *userStore) change(find func() (*User, error), edit func(*User)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	u, err := find()
	if err != nil {
		return err
	}
	changed := *u
	edit(&changed)
	p.remove(u)
	p.add(&changed)
	return nil
}

// changeNamed is change of the user with a name.
func (p *userStore) changeNamed(name string, edit func(*User)) error {
	return p.change(func() (*User, error) {
		u := p.byName[fold(name)]
		if u == nil {
			return nil, fmt.Errorf("jiratest: no user is named %q", name)
		}
		return u, nil
	}, edit)
}

// distinct returns names without those that differ from an earlier one only by
// case.
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

// Put adds a user, or replaces whoever has the key or the name: with the key of
// a user and another name it renames them, with the name of a user and another
// key it is as if that user had been deleted before.
//
// A User without key is the one with that name, or a new one, whose key is the
// name in lower case or, if somebody ever had that, one like JIRAUSER10100.
// Groups that are not there are made, and stay.
func (s *Server) Put(u User) {
	u.Groups = distinct(u.Groups)
	u.PATs = slices.Clone(u.PATs)
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
	}
	p.add(&u)
}

// Rename gives the user with this key another name. Key, display name,
// sessions and tokens stay. It fails if there is no such user, or somebody
// else has the name.
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

// Activate makes a user active. It fails if nobody has the name.
func (s *Server) Activate(name string) error {
	return s.users.changeNamed(name, func(u *User) { u.Active = true })
}

// Deactivate makes a user inactive, from the next request on; Activate gives
// everything back. It fails if nobody has the name.
func (s *Server) Deactivate(name string) error {
	return s.users.changeNamed(name, func(u *User) { u.Active = false })
}

// SetGroups makes a user a member of these groups and no others. Groups that
// are not there are made, and stay. It fails if nobody has the name.
func (s *Server) SetGroups(name string, groups ...string) error {
	groups = distinct(groups)
	return s.users.changeNamed(name, func(u *User) { u.Groups = groups })
}

// Delete deletes a user. Their name is free for somebody with another key, who
// gets nothing of theirs. It fails if nobody has the name.
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
	return nil
}
