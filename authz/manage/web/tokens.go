package web

import (
	"net/http"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
	"github.com/tokengate/tokengate/store"
)

// CreateRequest asks for a token. Only the label is required, and of
// administrators without an account the user.
type CreateRequest struct {
	Label   string `json:"label"`
	User    string `json:"user,omitempty"` // whom the token acts as; empty: the caller
	Type    string `json:"type,omitempty"` // ordinary or management; empty: ordinary
	Purpose string `json:"purpose,omitempty"`
	Expiry
	ReadOnly bool     `json:"readOnly,omitempty"`
	Networks []string `json:"networks,omitempty"` // networks or addresses; none: any
	Rate     *Rate    `json:"rate,omitempty"`     // nil: the rule's, or none
}

// RotateRequest asks for a new secret. An expiry that is not asked for stays.
type RotateRequest struct {
	Overlap string `json:"overlap,omitempty"` // how long the old secret stays good, such as "1h"; none: not at all
	Expiry
}

// endpoints are all there is.
func endpoints(m *manage.Manager, view func() authz.View) []endpoint {
	return []endpoint{
		listOwn(m),
		route(http.MethodPost, "", func(c call[CreateRequest]) (IssuedToken, error) { return create(c, m) }).isCostly(),
		listAll(m),
		route(http.MethodDelete, "all", func(c call[none]) (none, error) {
			return none{}, m.RevokeAll(c.ctx, c.caller, c.query["user"])
		}).asks([]string{"user"}),
		listTokens(m),
		listAudit(m),
		route(http.MethodGet, "me", func(c call[none]) (Me, error) { return me(c, m) }),
		route(http.MethodGet, "settings", func(c call[none]) (Settings, error) { return listSettings(c, m) }),
		listPasswords(m),
		route(http.MethodGet, "totals", func(c call[none]) (Totals, error) { return totals(c, m) }),
		route(http.MethodPost, "explain", func(c call[ExplainRequest]) (Explanation, error) { return explain(c, m, view) }),
		describeAPI(),
		route(http.MethodGet, "{id}", func(c call[none]) (Token, error) {
			found, err := m.Get(c.ctx, c.caller, c.id)
			return apiToken(found), err
		}),
		route(http.MethodPatch, "{id}", func(c call[ChangeRequest]) (Token, error) { return change(c, m) }),
		route(http.MethodDelete, "{id}", func(c call[none]) (none, error) {
			return none{}, m.Revoke(c.ctx, c.caller, c.id)
		}),
		route(http.MethodPost, "{id}/rotate", func(c call[RotateRequest]) (IssuedToken, error) { return rotate(c, m) }).isCostly(),
		route(http.MethodPost, "{id}/approve", func(c call[none]) (none, error) {
			return none{}, m.Approve(c.ctx, c.caller, c.id)
		}),
		route(http.MethodPost, "{id}/disable", func(c call[none]) (none, error) {
			return none{}, m.Disable(c.ctx, c.caller, c.id)
		}),
		route(http.MethodPost, "{id}/enable", func(c call[none]) (none, error) {
			return none{}, m.Enable(c.ctx, c.caller, c.id)
		}),
	}
}

func create(c call[CreateRequest], m *manage.Manager) (IssuedToken, error) {
	expires, err := c.body.Expiry.read()
	if err != nil {
		return IssuedToken{}, err
	}
	rate, err := c.body.Rate.read()
	if err != nil {
		return IssuedToken{}, err
	}
	kind, ok := query.Types[c.body.Type]
	if !ok && c.body.Type != "" {
		return IssuedToken{}, badField("type", "The type is one of %s.", query.Words(query.Types))
	}
	issued, err := m.Create(c.ctx, c.caller, manage.NewToken{
		Management: kind == store.Management,
		Owner:      c.body.User,
		Name:       c.body.Label,
		Purpose:    c.body.Purpose,
		Expires:    expires,
		ReadOnly:   c.body.ReadOnly,
		Networks:   c.body.Networks,
		Rate:       rate,
	})
	if err != nil {
		return IssuedToken{}, err
	}
	return apiIssued(issued), nil
}

func rotate(c call[RotateRequest], m *manage.Manager) (IssuedToken, error) {
	expires, err := c.body.Expiry.read()
	if err != nil {
		return IssuedToken{}, err
	}
	overlap, err := readOverlap(c.body.Overlap)
	if err != nil {
		return IssuedToken{}, err
	}
	issued, err := m.Rotate(c.ctx, c.caller, c.id, manage.Rotation{Overlap: overlap, Expires: expires})
	if err != nil {
		return IssuedToken{}, err
	}
	return apiIssued(issued), nil
}
