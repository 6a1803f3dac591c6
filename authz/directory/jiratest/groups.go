package jiratest

import (
	"net/http"
	"net/url"
	"strconv"
)

// groupMembers answers a page of the members of a group, by name.
func (s *Server) groupMembers(c *call) {
	name := c.query.Get("groupname")
	if name == "" {
		sendError(c, http.StatusBadRequest, "The group name was not provided")
		return
	}
	inactive := c.query.Get("includeInactiveUsers") == "true"
	start, most, ok := pageParameters(c, 50, s.maxMembers)
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
