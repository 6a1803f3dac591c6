package jiratest

import (
	"fmt"
	"slices"
)

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
