package directory

import (
	"encoding/json"
	"fmt"
	"time"
)

// apiUser is what Jira says of a user, in each of its answers. Versions differ in
// the fields that they send.
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

// toUser makes a User of what was said at a time. It reports false unless the
// apiUser has a name that an owner of tokens can have, and says whether it is
// active.
func (b apiUser) toUser(asked time.Time) (User, bool) {
	u := b.loggedInUser(asked)
	u.Active = b.Active != nil && *b.Active && !b.Deleted
	return u, b.Active != nil && u.check() == nil
}

// loggedInUser makes a User of somebody who has logged in. What only says who is
// active may be missing there, since an inactive user can't log in.
func (b apiUser) loggedInUser(asked time.Time) User {
	u := User{
		Key:         b.Key,
		Name:        b.Name,
		DisplayName: cleanDisplayName(b.DisplayName),
		Active:      (b.Active == nil || *b.Active) && !b.Deleted,
		Asked:       asked,
	}
	// Unless they are asked for, groups have a size and no items.
	if g := b.Groups; g != nil && g.Items != nil && len(g.Items) >= g.Size {
		u.Groups.Known = true
		for _, item := range g.Items {
			u.Groups.Names = append(u.Groups.Names, item.Name)
		}
	}
	return u
}

// decodeUser reads one user.
func decodeUser(r jiraResponse, path string) (apiUser, error) {
	var b apiUser
	if !r.isJSON() || json.Unmarshal(r.body, &b) != nil || b.Name == "" {
		return apiUser{}, r.unexpected(path)
	}
	return b, nil
}

// memberPage is a page of a group's members.
type memberPage struct {
	Total    *int      `json:"total"`
	IsLast   *bool     `json:"isLast"`
	NextPage string    `json:"nextPage"`
	Values   []apiUser `json:"values"`
}

// isLast reports whether no page follows this one, which ends before the member
// with the number end.
func (p memberPage) isLast(end int) bool {
	switch {
	case p.IsLast != nil:
		return *p.IsLast
	case p.Total != nil:
		return end >= *p.Total
	}
	return p.NextPage == ""
}

func decodeMembers(r jiraResponse, path string) (memberPage, error) {
	var p memberPage
	if !r.isJSON() || json.Unmarshal(r.body, &p) != nil || p.Values == nil {
		return memberPage{}, r.unexpected(path)
	}
	return p, nil
}

// listPage is a page of the stream of all users.
type listPage struct {
	IsLast     bool            `json:"isLast"`
	NextCursor json.RawMessage `json:"nextCursor"` // text, and a number where it is sent back
	Values     []apiUser       `json:"values"`
}

// cursor returns what to ask the next page with; empty: there is none.
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

func decodeList(r jiraResponse, path string) (listPage, error) {
	var p listPage
	if !r.isJSON() || json.Unmarshal(r.body, &p) != nil || p.Values == nil {
		return listPage{}, r.unexpected(path)
	}
	return p, nil
}

// decodeSearch reads what a search for users found.
func decodeSearch(r jiraResponse, path string) ([]apiUser, error) {
	var found []apiUser
	if !r.isJSON() || json.Unmarshal(r.body, &found) != nil {
		return nil, r.unexpected(path)
	}
	return found, nil
}

// isNotFound reports whether a 404 is Jira's word that somebody or something
// does not exist, and not that of who knows no such path.
func isNotFound(r jiraResponse) bool {
	var said struct {
		ErrorMessages []string `json:"errorMessages"`
	}
	return r.status == 404 && r.isJSON() && json.Unmarshal(r.body, &said) == nil && len(said.ErrorMessages) > 0
}

// errorMessage returns what a short answer says to people; empty if nothing.
func errorMessage(r jiraResponse) string {
	var said struct {
		Message string `json:"message"`
	}
	if !r.isJSON() || json.Unmarshal(r.body, &said) != nil {
		return ""
	}
	return said.Message
}

// errOtherUser says that Jira answered with another user than was asked for.
func errOtherUser(path string) error {
	return fmt.Errorf("%w: GET %s: the answer is about another user", ErrUnavailable, path)
}
