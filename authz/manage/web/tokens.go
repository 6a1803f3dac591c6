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
		newEndpoint(http.MethodPost, "", func(c call[CreateRequest]) (IssuedToken, error) { return create(c, m) }).asCostly(),
		listAll(m),
		newEndpoint(http.MethodDelete, "all", func(c call[empty]) (empty, error) {
			return empty{}, m.RevokeAll(c.ctx, c.caller, c.query["user"])
		}).withParameters([]string{"user"}),
		listTokens(m),
		listAudit(m),
		newEndpoint(http.MethodGet, "me", func(c call[empty]) (Me, error) { return me(c, m) }),
		newEndpoint(http.MethodGet, "settings", func(c call[empty]) (Settings, error) { return listSettings(c, m) }),
		listPasswords(m),
		newEndpoint(http.MethodGet, "totals", func(c call[empty]) (Totals, error) { return totals(c, m) }),
		newEndpoint(http.MethodPost, "explain", func(c call[ExplainRequest]) (Explanation, error) { return explain(c, m, view) }),
		describeAPI(),
		newEndpoint(http.MethodGet, "{id}", func(c call[empty]) (Token, error) {
			found, err := m.Get(c.ctx, c.caller, c.id)
			return apiToken(found), err
		}),
		newEndpoint(http.MethodPatch, "{id}", func(c call[ChangeRequest]) (Token, error) { return change(c, m) }),
		newEndpoint(http.MethodDelete, "{id}", func(c call[empty]) (empty, error) {
			return empty{}, m.Revoke(c.ctx, c.caller, c.id)
		}),
		newEndpoint(http.MethodPost, "{id}/rotate", func(c call[RotateRequest]) (IssuedToken, error) { return rotate(c, m) }).asCostly(),
		newEndpoint(http.MethodPost, "{id}/approve", func(c call[empty]) (empty, error) {
			return empty{}, m.Approve(c.ctx, c.caller, c.id)
		}),
		newEndpoint(http.MethodPost, "{id}/disable", func(c call[empty]) (empty, error) {
			return empty{}, m.Disable(c.ctx, c.caller, c.id)
		}),
		newEndpoint(http.MethodPost, "{id}/enable", func(c call[empty]) (empty, error) {
			return empty{}, m.Enable(c.ctx, c.caller, c.id)
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
