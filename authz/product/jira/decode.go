package jira

import (
	"encoding/json"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
)

// apiUser is a user in any of Jira's responses. The fields differ between
// versions.
type apiUser struct {
	Key         string `json:"key"`
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
	Active      *bool  `json:"active"`
	Deleted     bool   `json:"deleted"`
	Groups      *struct {
		Size  int `json:"size"`
		Items []struct {
			Name string `json:"name"`
		} `json:"items"`
	} `json:"groups"`
}

// toUser converts to a User. It reports false if the user has no active field
// or a name that can't own tokens.
func (a apiUser) toUser(asked time.Time) (directory.User, bool) {
	u := a.loggedInUser(asked)
	u.Active = a.Active != nil && *a.Active && !a.Deleted
	return u, a.Active != nil && u.Check() == nil
}

// loggedInUser converts a user who has logged in. active may be missing, since
// inactive users can't log in.
func (a apiUser) loggedInUser(asked time.Time) directory.User {
	u := directory.User{
		Key:         a.Key,
		Name:        a.Name,
		DisplayName: directory.CleanDisplayName(a.DisplayName),
		Active:      (a.Active == nil || *a.Active) && !a.Deleted,
		Asked:       asked,
	}
	// Unless expanded, groups have a size and no items.
	if g := a.Groups; g != nil && g.Items != nil && len(g.Items) >= g.Size {
		u.Groups.Known = true
		for _, item := range g.Items {
			u.Groups.Names = append(u.Groups.Names, item.Name)
		}
	}
	return u
}

// decode reads a response. An answer that is not valid is an error.
func decode[T any](r response, valid func(T) bool) (v T, err error) {
	if !r.isJSON() || json.Unmarshal(r.body, &v) != nil || !valid(v) {
		return *new(T), r.unexpected()
	}
	return v, nil
}

func isUser(a apiUser) bool { return a.Name != "" }

// memberPage is a page of a group's members.
type memberPage struct {
	Total    *int      `json:"total"`
	IsLast   *bool     `json:"isLast"`
	NextPage string    `json:"nextPage"`
	Values   []apiUser `json:"values"`
}

// isLast reports whether this is the last page; end is the index after its last
// member.
func (p memberPage) isLast(end int) bool {
	switch {
	case p.IsLast != nil:
		return *p.IsLast
	case p.Total != nil:
		return end >= *p.Total
	}
	return p.NextPage == ""
}

// listPage is a page of the list of all users.
type listPage struct {
	IsLast     bool            `json:"isLast"`
	NextCursor json.RawMessage `json:"nextCursor"` // a string, or a number in some versions
	Values     []apiUser       `json:"values"`
}

// cursor returns the cursor of the next page, or "" if there is none.
func (p listPage) cursor() string {
	var text string
	if json.Unmarshal(p.NextCursor, &text) == nil {
		return text
	}
	var number json.Number
	if json.Unmarshal(p.NextCursor, &number) == nil {
		return number.String()
	}
	return ""
}

// isNotFound reports whether a 404 means that the user or group does not exist,
// as opposed to an unknown path.
func isNotFound(r response) bool {
	var body struct {
		ErrorMessages []string `json:"errorMessages"`
	}
	return r.status == 404 && r.isJSON() && json.Unmarshal(r.body, &body) == nil && len(body.ErrorMessages) > 0
}

// errorMessage returns the message field of a response, or "".
func errorMessage(r response) string {
	var body struct {
		Message string `json:"message"`
	}
	if !r.isJSON() || json.Unmarshal(r.body, &body) != nil {
		return ""
	}
	return body.Message
}
