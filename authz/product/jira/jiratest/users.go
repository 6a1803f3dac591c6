package jiratest

import (
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Omit leaves fields out of every user from now on, as older versions of Jira
// do: "active", "key", "deleted" and so on, and "groups.items" for groups with
// only a size. It replaces earlier calls.
func (s *Server) Omit(fields ...string) {
	fields = slices.Clone(fields)
	s.omit.Store(&fields)
}

// email returns the address of a user.
func email(u *User) string { return fold(u.Name) + "@example.com" }

// applyOmit removes the fields named by Omit.
func (s *Server) applyOmit(user object) object {
	if fields := s.omit.Load(); fields != nil {
		for _, field := range *fields {
			delete(user, field)
			if groups, ok := user["groups"].(object); ok && field == "groups.items" {
				delete(groups, "items")
			}
		}
	}
	return user
}

// userJSON returns Jira's representation of a user in a list.
func (s *Server) userJSON(c *call, u *User) object {
	return object{
		"self":         s.self(c, "/rest/api/2/user?username="+url.QueryEscape(u.Name)),
		"key":          u.Key,
		"name":         u.Name,
		"emailAddress": email(u),
		"displayName":  u.DisplayName,
		"active":       u.Active,
		"deleted":      false,
		"timeZone":     "UTC",
		"locale":       "en_US",
	}
}

// usersJSON returns a list of users.
func (s *Server) usersJSON(c *call, users []*User) []object {
	list := make([]object, len(users))
	for i, u := range users {
		list[i] = s.applyOmit(s.userJSON(c, u))
	}
	return list
}

// showUser responds with one user, with group names if expanded.
func (s *Server) showUser(c *call, u *User) {
	groups := []object{}
	if strings.Contains(","+c.query.Get("expand")+",", ",groups,") {
		for _, name := range u.Groups {
			groups = append(groups, object{
				"name": name,
				"self": s.self(c, "/rest/api/2/group?groupname="+url.QueryEscape(name)),
			})
		}
	}
	user := s.userJSON(c, u)
	user["lastLoginTime"] = "2024-06-03T17:13:59+0000"
	user["groups"] = object{"size": len(u.Groups), "items": groups}
	user["applicationRoles"] = object{"size": 1, "items": []object{}}
	user["expand"] = "groups,applicationRoles"
	send(c, http.StatusOK, s.applyOmit(user))
}

func (s *Server) myself(c *call) { s.showUser(c, c.user) }

// getUser responds with the user who has a name or a key.
func (s *Server) getUser(c *call) {
	name, key := c.query.Get("username"), c.query.Get("key")
	if name == "" && key == "" {
		sendError(c, http.StatusNotFound, "The username query parameter was not provided")
		return
	}
	if name != "" && key != "" {
		sendError(c, http.StatusBadRequest, "Either the username or the key may be given, not both")
		return
	}
	var u *User
	missing := "The user with the key '" + key + "' does not exist"
	if name != "" {
		u, missing = s.users.findByName(name), "The user named '"+name+"' does not exist"
	} else {
		u = s.users.findByKey(key)
	}
	// Users who may not browse users don't learn who exists.
	if !isAdministrator(c.user) && (u == nil || u.Key != c.user.Key) {
		sendError(c, http.StatusForbidden, "You do not have the permission to browse users.")
		return
	}
	if u == nil {
		sendError(c, http.StatusNotFound, missing)
		return
	}
	s.showUser(c, u)
}

// findUsers responds with a page of the matching users: "." matches all, ""
// matches none. As in Jira, users who may not browse users get an empty page
// (JRASERVER-27212).
func (s *Server) findUsers(c *call) {
	if !c.query.Has("username") {
		sendError(c, http.StatusBadRequest, "The username query parameter was not provided")
		return
	}
	start, most, ok := pageParameters(c, 50, s.maxSearch)
	if !ok {
		return
	}
	var found []*User
	if isAdministrator(c.user) {
		found = s.users.list(c.query.Get("includeActive") != "false", c.query.Get("includeInactive") == "true")
		if query := fold(c.query.Get("username")); query != "." {
			found = slices.DeleteFunc(slices.Clone(found), func(u *User) bool { return !matches(u, query) })
		}
	}
	if s.searchWindow > 0 {
		found = found[:min(len(found), s.searchWindow)]
	}
	send(c, http.StatusOK, s.usersJSON(c, slicePage(found, start, most)))
}

// matches reports whether a word in the name, display name or address of u
// begins with a folded query.
func matches(u *User, query string) bool {
	if query == "" {
		return false
	}
	for _, text := range []string{u.Name, u.DisplayName, email(u)} {
		text = fold(text)
		begins := true // a word begins here
		for i, r := range text {
			if begins && strings.HasPrefix(text[i:], query) {
				return true
			}
			begins = !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != utf8.RuneError
		}
	}
	return false
}

// listUsers responds with all users from a cursor on, including inactive ones.
// Any number is a valid cursor.
func (s *Server) listUsers(c *call) {
	// Cursors begin at 0, which also stands for invalid ones.
	cursor, _ := strconv.Atoi(c.query.Get("cursor"))
	_, most, ok := pageParameters(c, 2000, math.MaxInt)
	if !ok {
		return
	}
	var left []*User
	if isAdministrator(c.user) {
		left = s.users.createdAfter(cursor)
	}
	page := slicePage(left, 0, most)
	at := func(cursor int) string {
		return s.self(c, "/rest/api/2/user/list?cursor="+strconv.Itoa(cursor)+"&maxResults="+strconv.Itoa(most))
	}
	body := object{
		"self":       at(cursor),
		"maxResults": most,
		"isLast":     len(page) == len(left),
		"values":     s.usersJSON(c, page),
	}
	if len(page) > 0 && len(page) < len(left) {
		next := page[len(page)-1].id
		body["nextCursor"], body["nextPage"] = strconv.Itoa(next), at(next)
	}
	send(c, http.StatusOK, body)
}

// pageParameters reads startAt and maxResults, capped at limit, or responds
// with 400.
func pageParameters(c *call, fallback, limit int) (start, most int, ok bool) {
	start, err := intParameter(c, "startAt", 0)
	if err == nil {
		most, err = intParameter(c, "maxResults", min(fallback, limit))
	}
	if err != nil {
		sendError(c, http.StatusBadRequest, err.Error())
		return 0, 0, false
	}
	return start, min(most, limit), true
}

// slicePage returns a page of users.
func slicePage(users []*User, start, most int) []*User {
	users = users[min(start, len(users)):]
	return users[:min(most, len(users))]
}

// maxMembersPage limits the members in a page.
const maxMembersPage = 50

// groupMembers responds with a page of a group's members, by name.
func (s *Server) groupMembers(c *call) {
	name := c.query.Get("groupname")
	if name == "" {
		sendError(c, http.StatusBadRequest, "The group name was not provided")
		return
	}
	inactive := c.query.Get("includeInactiveUsers") == "true"
	start, most, ok := pageParameters(c, maxMembersPage, maxMembersPage)
	if !ok {
		return
	}
	members, ok := s.users.members(name, inactive)
	if !ok {
		sendError(c, http.StatusNotFound, "The group named '"+name+"' does not exist.")
		return
	}
	page := slicePage(members, start, most)
	at := func(start int) string {
		return s.self(c, "/rest/api/2/group/member?"+url.Values{
			"groupname":            {name},
			"includeInactiveUsers": {strconv.FormatBool(inactive)},
			"startAt":              {strconv.Itoa(start)},
			"maxResults":           {strconv.Itoa(most)},
		}.Encode())
	}
	end := min(start, len(members)) + len(page)
	body := object{
		"self":       at(start),
		"maxResults": most,
		"startAt":    start,
		"total":      len(members),
		"isLast":     end == len(members),
		"values":     s.usersJSON(c, page),
	}
	if end < len(members) {
		body["nextPage"] = at(end)
	}
	send(c, http.StatusOK, body)
}
