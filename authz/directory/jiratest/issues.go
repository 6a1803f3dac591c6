package jiratest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// issue is one issue. Only its summary matters.
type issue struct {
	id      int
	key     string
	summary string
	creator string
}

// issues are kept in the order of their creation.
type issues struct {
	all     []*issue
	created int
}

// maxIssues bounds the issues that are kept.
const maxIssues = 1000

// firstID is the id of DEMO-1.
const firstID = 10000

func newIssues() issues {
	return issues{all: []*issue{{id: firstID, key: "DEMO-1", summary: "Try a token", creator: "admin"}}}
}

// find returns the issue with this key or id, or nil.
func (x *issues) find(key string) *issue {
	for _, i := range x.all {
		if strings.EqualFold(i.key, key) || strconv.Itoa(i.id) == key {
			return i
		}
	}
	return nil
}

// issueJSON returns the issue as Jira shows it. s.mu is held.
func (s *Server) issueJSON(c *call, i *issue) object {
	return object{
		"id":   strconv.Itoa(i.id),
		"key":  i.key,
		"self": s.self(c, "/rest/api/2/issue/"+strconv.Itoa(i.id)),
		"fields": object{
			"summary":    i.summary,
			"creator":    object{"name": i.creator},
			"attachment": s.attachmentsJSON(c, i),
		},
	}
}

// fields answers with what issueJSON has.
func (s *Server) fields(c *call) {
	all := []object{}
	for _, name := range []string{"summary", "creator", "attachment"} {
		all = append(all, object{"id": name, "name": strings.ToUpper(name[:1]) + name[1:], "custom": false, "navigable": true,
			"searchable": true, "clauseNames": []string{name}})
	}
	send(c, http.StatusOK, all)
}

// project answers with the one that the issues are in.
func (s *Server) project(c *call) {
	send(c, http.StatusOK, object{"self": s.self(c, "/rest/api/2/project/10000"), "id": "10000", "key": "DEMO", "name": "Demo"})
}

// fields are what a request says of an issue.
type fields struct {
	Fields struct {
		Summary string `json:"summary"`
	} `json:"fields"`
}

// readFields reads them, or answers 400.
func readFields(c *call) (fields, bool) {
	var f fields
	if err := json.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, maxBody)).Decode(&f); err != nil {
		sendError(c, http.StatusBadRequest, "Can't read the issue: "+err.Error())
		return f, false
	}
	return f, true
}

func (s *Server) createIssue(c *call) {
	f, ok := readFields(c)
	if !ok {
		return
	}
	if f.Fields.Summary == "" {
		send(c, http.StatusBadRequest, object{
			"errorMessages": []string{},
			"errors":        map[string]string{"summary": "You must specify a summary of the issue."},
		})
		return
	}
	s.mu.Lock()
	s.issues.created++
	n := s.issues.created
	i := &issue{
		id:      firstID + n,
		key:     fmt.Sprintf("DEMO-%d", n+1),
		summary: f.Fields.Summary,
		creator: c.user.Name,
	}
	if len(s.issues.all) == maxIssues {
		s.issues.all = slices.Delete(s.issues.all, 0, 1)
	}
	s.issues.all = append(s.issues.all, i)
	body := s.issueJSON(c, i)
	s.mu.Unlock()
	delete(body, "fields") // Jira's answer to a creation has none
	send(c, http.StatusCreated, body)
}

func (s *Server) getIssue(c *call) {
	s.mu.Lock()
	i := s.issues.find(c.r.PathValue("key"))
	var body object
	if i != nil {
		body = s.issueJSON(c, i)
	}
	s.mu.Unlock()
	if i == nil {
		sendError(c, http.StatusNotFound, "Issue Does Not Exist")
		return
	}
	send(c, http.StatusOK, body)
}

func (s *Server) updateIssue(c *call) {
	f, ok := readFields(c)
	if !ok {
		return
	}
	s.mu.Lock()
	i := s.issues.find(c.r.PathValue("key"))
	if i != nil && f.Fields.Summary != "" {
		i.summary = f.Fields.Summary
	}
	s.mu.Unlock()
	if i == nil {
		sendError(c, http.StatusNotFound, "Issue Does Not Exist")
		return
	}
	c.w.WriteHeader(http.StatusNoContent)
}

func (s *Server) deleteIssue(c *call) {
	s.mu.Lock()
	i := s.issues.find(c.r.PathValue("key"))
	s.issues.all = slices.DeleteFunc(s.issues.all, func(o *issue) bool { return o == i })
	s.mu.Unlock()
	if i == nil {
		sendError(c, http.StatusNotFound, "Issue Does Not Exist")
		return
	}
	c.w.WriteHeader(http.StatusNoContent)
}

func (s *Server) search(c *call) {
	s.mu.Lock()
	found := make([]object, 0, len(s.issues.all))
	for _, i := range s.issues.all {
		found = append(found, s.issueJSON(c, i))
	}
	s.mu.Unlock()
	send(c, http.StatusOK, object{
		"expand":     "schema,names",
		"startAt":    0,
		"maxResults": len(found),
		"total":      len(found),
		"issues":     found,
	})
}
