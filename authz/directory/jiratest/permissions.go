package jiratest

import (
	"net/http"
	"strconv"
)

// Administrators is the group whose members administer Jira: they alone may
// see members of groups and other users, also by a native token or a session.
const Administrators = "jira-administrators"

// isAdministrator reports whether u is an administrator.
func isAdministrator(u *User) bool {
	for _, name := range u.Groups {
		if fold(name) == Administrators {
			return true
		}
	}
	return false
}

// requireAdministrator answers 403 to whoever is none.
func (s *Server) requireAdministrator(answer func(*call)) func(*call) {
	return s.requireUser(func(c *call) {
		if !isAdministrator(c.user) {
			sendError(c, http.StatusForbidden, "Only an administrator of Jira may do this.")
			return
		}
		answer(c)
	})
}

// myPermissions answers the permissions that tell administrators from others.
func (s *Server) myPermissions(c *call) {
	permissions := object{}
	for i, p := range []struct{ key, name string }{
		{"ADMINISTER", "Jira Administrators"},
		{"SYSTEM_ADMIN", "Jira System Administrators"},
		{"USER_PICKER", "Browse Users"},
	} {
		permissions[p.key] = object{
			"id":             strconv.Itoa(i),
			"key":            p.key,
			"name":           p.name,
			"type":           "GLOBAL",
			"description":    p.name,
			"havePermission": isAdministrator(c.user),
		}
	}
	send(c, http.StatusOK, object{"permissions": permissions})
}
