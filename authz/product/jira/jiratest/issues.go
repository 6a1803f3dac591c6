package jiratest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// issue is an issue of the demo project.
type issue struct {
	id      int
	key     string
	summary string
	creator string
}

// issues are in the order of their creation.
type issues struct {
	all     []*issue
	created int
}

// maxIssues limits the stored issues.
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

// issueJSON returns Jira's representation of an issue. s.mu must be held.
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

// fields responds with the fields in issueJSON.
func (s *Server) fields(c *call) {
	all := []object{}
	for _, name := range []string{"summary", "creator", "attachment"} {
		all = append(all, object{"id": name, "name": strings.ToUpper(name[:1]) + name[1:], "custom": false, "navigable": true,
			"searchable": true, "clauseNames": []string{name}})
	}
	send(c, http.StatusOK, all)
}

// project responds with the demo project.
func (s *Server) project(c *call) {
	send(c, http.StatusOK, object{"self": s.self(c, "/rest/api/2/project/10000"), "id": "10000", "key": "DEMO", "name": "Demo"})
}

// fields is the body of a request about an issue.
type fields struct {
	Fields struct {
		Summary string `json:"summary"`
	} `json:"fields"`
}

// readFields reads the body, or responds with 400.
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
	creator := "anonymous"
	if c.user != nil {
		creator = c.user.Name
	}
	s.mu.Lock()
	s.issues.created++
	n := s.issues.created
	i := &issue{
		id:      firstID + n,
		key:     fmt.Sprintf("DEMO-%d", n+1),
		summary: f.Fields.Summary,
		creator: creator,
	}
	if len(s.issues.all) == maxIssues {
		s.issues.all = slices.Delete(s.issues.all, 0, 1)
	}
	s.issues.all = append(s.issues.all, i)
	body := s.issueJSON(c, i)
	s.mu.Unlock()
	delete(body, "fields") // Jira's response to a creation has none
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

// attachment is a file attached to an issue.
type attachment struct {
	id      string
	issue   *issue
	name    string
	kind    string // media type
	author  string
	content []byte
}

// Limits on stored attachments.
const (
	maxAttachments = 100
	maxAttachment  = 1 << 20
)

// attachmentJSON returns Jira's representation of an attachment.
func (s *Server) attachmentJSON(c *call, a *attachment) object {
	return object{
		"self":     s.self(c, "/rest/api/2/attachment/"+a.id),
		"id":       a.id,
		"filename": a.name,
		"author":   object{"name": a.author, "displayName": a.author, "active": true},
		"created":  "2026-03-01T12:00:00.000+0000",
		"size":     len(a.content),
		"mimeType": a.kind,
		"content":  s.self(c, "/secure/attachment/"+a.id+"/"+url.PathEscape(a.name)),
	}
}

// attachmentsJSON returns the attachments of an issue. s.mu must be held.
func (s *Server) attachmentsJSON(c *call, i *issue) []object {
	found := []object{}
	for _, a := range s.attachments {
		if a.issue == i {
			found = append(found, s.attachmentJSON(c, a))
		}
	}
	return found
}

// attach stores the file in a multipart form. For any other body it responds
// with the size and SHA-256 and stores nothing.
func (s *Server) attach(c *call) {
	s.mu.Lock()
	i := s.issues.find(c.r.PathValue("key"))
	s.mu.Unlock()
	if i == nil {
		sendError(c, http.StatusNotFound, "Issue Does Not Exist")
		return
	}
	kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if kind == "multipart/form-data" {
		s.attachForm(c, i)
		return
	}
	hash := sha256.New()
	size, err := io.Copy(hash, c.r.Body)
	if err != nil {
		sendError(c, http.StatusBadRequest, "Can't read the body: "+err.Error())
		return
	}
	send(c, http.StatusOK, []object{{
		"self":   s.self(c, "/rest/api/2/attachment/10000"),
		"author": object{"name": c.user.Name, "key": c.user.Key},
		"size":   size,
		"sha256": hex.EncodeToString(hash.Sum(nil)),
	}})
}

// attachForm stores the form field "file". Like Jira, it requires
// X-Atlassian-Token against forms from other sites.
func (s *Server) attachForm(c *call, i *issue) {
	if !hasAtlassianToken(c.r) {
		refuseXSRF(c)
		return
	}
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxAttachment)
	file, header, err := c.r.FormFile("file")
	var content []byte
	if err == nil {
		defer file.Close()
		content, err = io.ReadAll(file)
	}
	if err != nil {
		sendError(c, http.StatusBadRequest, "Can't read the form: "+err.Error())
		return
	}
	a := &attachment{issue: i, name: header.Filename, kind: header.Header.Get("Content-Type"), author: c.user.Name, content: content}
	s.mu.Lock()
	s.attached++
	a.id = strconv.Itoa(firstID + s.attached)
	if len(s.attachments) == maxAttachments {
		s.attachments = slices.Delete(s.attachments, 0, 1)
	}
	s.attachments = append(s.attachments, a)
	s.mu.Unlock()
	send(c, http.StatusOK, []object{s.attachmentJSON(c, a)})
}

// findAttachment returns the attachment with the id in the path, or nil.
func (s *Server) findAttachment(c *call) *attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.attachments, func(a *attachment) bool { return a.id == c.r.PathValue("id") })
	if at < 0 {
		return nil
	}
	return s.attachments[at]
}

func (s *Server) showAttachment(c *call) {
	a := s.findAttachment(c)
	if a == nil {
		sendError(c, http.StatusNotFound, "The attachment with id '"+c.r.PathValue("id")+"' does not exist")
		return
	}
	send(c, http.StatusOK, s.attachmentJSON(c, a))
}

// download responds with an attachment's content, and redirects anonymous
// clients to the login as Jira's pages do.
func (s *Server) download(c *call) {
	a := s.findAttachment(c)
	switch {
	case c.user == nil:
		s.redirect(c, "/login.jsp?os_destination="+url.QueryEscape(c.r.URL.Path))
	case a == nil:
		s.notFoundPage(c)
	default:
		c.w.Header().Set("Content-Type", a.kind)
		c.w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": a.name}))
		http.ServeContent(c.w, c.r, "", time.Time{}, bytes.NewReader(a.content))
	}
}
