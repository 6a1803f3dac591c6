package web

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
)

// CreateRequest asks for a token. Label and user are required.
type CreateRequest struct {
	Label   string `json:"label"`
	User    string `json:"user"` // whom the token acts as
	Purpose string `json:"purpose,omitempty"`
	Expiry
	ReadOnly bool     `json:"readOnly,omitempty"`
	Networks []string `json:"networks,omitempty"` // networks or addresses; none: any
}

// RotateRequest asks for a new secret. An expiry that is not asked for stays.
type RotateRequest struct {
	Overlap string `json:"overlap,omitempty"` // how long the old secret stays good, such as "1h"; none: not at all
	Expiry
}

// endpoints are all there is. A fixed segment comes before {id}, which it would
// match as well.
func endpoints(m *manage.Manager, view func() authz.View) []endpoint {
	return []endpoint{
		on(http.MethodPost, "", func(c call[CreateRequest]) (IssuedToken, error) {
			expires, err := c.body.Expiry.read()
			if err != nil {
				return IssuedToken{}, err
			}
			issued, err := m.Create(c.ctx, c.caller, manage.NewToken{
				Owner:    c.body.User,
				Name:     c.body.Label,
				Purpose:  c.body.Purpose,
				Expires:  expires,
				ReadOnly: c.body.ReadOnly,
				Networks: c.body.Networks,
			})
			return issuedBean(issued), err
		}),
		on(http.MethodPost, "explain", func(c call[ExplainRequest]) (Explanation, error) {
			return explain(c, m, view)
		}),
		on(http.MethodGet, "tokens", func(c call[none]) (TokenPage, error) {
			query, err := listQuery(c.http.URL.RawQuery)
			if err != nil {
				return TokenPage{}, err
			}
			page, err := m.List(c.ctx, c.caller, query)
			answer := TokenPage{Values: make([]Token, len(page.Tokens))}
			for i, t := range page.Tokens {
				answer.Values[i] = bean(t)
			}
			if page.Next != 0 {
				answer.Next = &page.Next
			}
			return answer, err
		}),
		on(http.MethodGet, "{id}", func(c call[none]) (Token, error) {
			found, err := m.Get(c.ctx, c.caller, c.http.PathValue("id"))
			return bean(found), err
		}),
		on(http.MethodPost, "{id}/rotate", func(c call[RotateRequest]) (IssuedToken, error) {
			expires, err := c.body.Expiry.read()
			if err != nil {
				return IssuedToken{}, err
			}
			overlap, err := readOverlap(c.body.Overlap)
			if err != nil {
				return IssuedToken{}, err
			}
			issued, err := m.Rotate(c.ctx, c.caller, c.http.PathValue("id"), manage.Rotation{Overlap: overlap, Expires: expires})
			return issuedBean(issued), err
		}),
		on(http.MethodDelete, "{id}", func(c call[none]) (none, error) {
			return none{}, m.Revoke(c.ctx, c.caller, c.http.PathValue("id"))
		}),
	}
}

// listQuery reads the query of GET /tokens. A parameter that is not known is
// refused: a filter with a typing error must not list everything.
func listQuery(raw string) (q manage.Query, err error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, badField("", "The query cannot be read: percent-encode it.")
	}
	for name, given := range values {
		if len(given) > 1 {
			return q, badField(short(name), "The parameter %q is given more than once.", short(name))
		}
		value := given[0]
		switch name {
		case "user":
			q.Owner = value
		case "name":
			q.Name = value
		case "state":
			q.State = manage.State(value)
		case "after":
			q.After, err = strconv.ParseUint(value, 10, 64)
		case "limit":
			q.Limit, err = strconv.Atoi(value)
			if err == nil && q.Limit < 1 {
				err = strconv.ErrRange // 0 would be the default
			}
		default:
			return q, badField(short(name), "There is no parameter %q here.", short(name))
		}
		if err != nil {
			return q, badField(name, "The parameter %q must be a positive whole number.", name)
		}
	}
	return q, nil
}
