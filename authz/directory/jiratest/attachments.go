package jiratest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// attachment is a file of an issue.
type attachment struct {
	id      string
	issue   *issue
	name    string
	kind    string // its media type
	author  string
	content []byte
}

// Bounds of the attachments that are kept.
const (
	maxAttachments = 100
	maxAttachment  = 1 << 20
)

// attachmentJSON returns what Jira says of an attachment.
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

// attachmentsJSON returns the attachments of an issue. s.mu is held.
func (s *Server) attachmentsJSON(c *call, i *issue) []object {
	found := []object{}
	for _, a := range s.attachments {
		if a.issue == i {
			found = append(found, s.attachmentJSON(c, a))
		}
	}
	return found
}

// attach keeps the file that a form carries, as clients send it. Of a body that is
// no form it answers the size and the SHA-256 without keeping it.
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

// attachForm keeps the field "file" of a form. Without the header X-Atlassian-Token
// Jira takes the form for one of another site.
func (s *Server) attachForm(c *call, i *issue) {
	if token := c.r.Header.Get("X-Atlassian-Token"); !strings.EqualFold(token, "no-check") && !strings.EqualFold(token, "nocheck") {
		c.w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(c.w, "XSRF check failed") // what fails now fails because the client is gone
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

// download answers with an attachment's content, and leads nobody to the login, as
// all pages of Jira do that want a user.
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
