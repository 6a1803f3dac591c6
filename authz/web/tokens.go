package web

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/web/query"
	"github.com/tokengate/tokengate/store"
)

// api answers the endpoints of the API.
type api struct {
	*manage.Manager
	view func() authz.View // what a decision made now consults
}

func (a api) endpoints() []endpoint {
	const get, post, put, patch, remove = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	return []endpoint{
		newReplyEndpoint[empty, []Token](get, "", a.listOwn).withParameters([]string{"state"}),
		newEndpoint(post, "", a.create).asCostly(),
		newReplyEndpoint[empty, []OwnerTokens](get, "all", a.listAll),
		newEndpoint(remove, "all", a.revokeAll).withParameters([]string{"user"}).asRevocation(),
		newReplyEndpoint[empty, TokenPage](get, "tokens", a.listTokens).withParameters(query.TokenFilters, query.TokenPages, formatParameter),
		newReplyEndpoint[empty, AuditPage](get, "audit", a.listAudit).withParameters(query.AuditFilters, query.AuditPages, formatParameter),
		newEndpoint(get, "me", a.me),
		newEndpoint(get, "settings", a.listSettings),
		newReplyEndpoint[empty, PasswordUsers](get, "passwords", a.listPasswords),
		newEndpoint(get, "totals", a.listTotals),
		newEndpoint(post, "explain", a.explain),
		newReplyEndpoint[empty, UpstreamConnections](get, "upstream", a.listUpstream),
		newEndpoint(put, "upstream", a.setUpstream).asCostly(),
		newEndpoint(remove, "upstream", a.disconnectUpstream).withParameters(connectedParameters),
		newEndpoint(post, "upstream/check", a.checkUpstream).withParameters(connectedParameters).asCostly(),
		newEndpoint(post, "upstream/purge", a.purgeUpstream).asCostly(),
		newEndpoint(get, "connection", a.connection),
		newEndpoint(post, "connection", a.connect).asCostly(),
		newEndpoint(remove, "connection", a.disconnect).asCostly(),
		newEndpoint(post, "seal/rotate", a.rotateSeal).asCostly(),
		newReplyEndpoint[empty, empty](get, "openapi.json", describe),
		newEndpoint(get, "{id}", a.show),
		newEndpoint(patch, "{id}", a.change),
		newAction(remove, "{id}", a.Revoke).asRevocation(),
		newEndpoint(post, "{id}/rotate", a.rotate).asCostly(),
		newAction(post, "{id}/approve", a.Approve),
		newAction(post, "{id}/disable", a.Disable),
		newAction(post, "{id}/enable", a.Enable),
	}
}

func (a api) show(c call[empty]) (Token, error) {
	found, err := a.Get(c.ctx, c.caller, c.id)
	return apiToken(found), err
}

func (a api) revokeAll(c call[empty]) (empty, error) {
	return empty{}, a.RevokeAll(c.ctx, c.caller, c.query["user"])
}

// Token is a token in answers. Times are milliseconds since 1970 in UTC, like in
// Jira's REST API.
type Token struct {
	ID            string   `json:"id"`
	Number        uint64   `json:"number"`
	Type          string   `json:"type"` // ordinary or management
	Label         string   `json:"label"`
	User          string   `json:"user"` // empty for a management token
	Purpose       string   `json:"purpose"`
	CreatedAt     int64    `json:"createdAt"`
	CreatedBy     string   `json:"createdBy"`
	ExpiresAt     *int64   `json:"expiresAt"`    // null: never
	LastAccessed  *int64   `json:"lastAccessed"` // null: never
	LastAddress   *string  `json:"lastAddress"`  // the client's address at LastAccessed; null: unknown
	UsageCount    uint64   `json:"usageCount"`   // allowed requests
	WriteCount    uint64   `json:"writeCount"`   // those that may have written
	ReadOnly      bool     `json:"readOnly"`
	Networks      []string `json:"networks"`      // none: any
	Rate          *Rate    `json:"rate"`          // null: none
	State         string   `json:"state"`         // one of manage.States
	RevokedAt     *int64   `json:"revokedAt"`     // null: not revoked
	PreviousUntil *int64   `json:"previousUntil"` // when the secret before the last rotation expires; null: it has
}

// logID returns the token's id for the log.
func (t Token) logID() string { return t.ID }

// IssuedToken answers a creation or rotation. No other answer holds a token's value.
type IssuedToken struct {
	PasswordValue string `json:"passwordValue"`
	Token
}

// Rate is a limit on a token's requests.
type Rate struct {
	Requests   int `json:"requests"`
	PerSeconds int `json:"perSeconds"`
	Burst      int `json:"burst,omitempty"` // at once; default all
}

func apiToken(t manage.Token) Token {
	b := Token{
		ID:            t.ID,
		Number:        t.Number,
		Type:          t.Kind.String(),
		Label:         t.Name,
		User:          t.Owner,
		Purpose:       t.Purpose,
		CreatedAt:     t.Created.UnixMilli(),
		CreatedBy:     t.CreatedBy,
		ExpiresAt:     millis(t.Expires),
		LastAccessed:  millis(t.Usage.LastUsed),
		UsageCount:    t.Usage.Count,
		WriteCount:    t.Usage.Writes,
		ReadOnly:      t.ReadOnly,
		Networks:      make([]string, len(t.Networks)),
		Rate:          apiRate(t.Rate),
		State:         string(t.State),
		RevokedAt:     millis(t.Revoked),
		PreviousUntil: millis(t.PreviousUntil),
	}
	if address := t.Usage.LastAddress; address.IsValid() {
		b.LastAddress = new(address.String())
	}
	for i, n := range t.Networks {
		b.Networks[i] = n.String()
	}
	return b
}

// apiRate returns a rate, or nil for none.
func apiRate(r config.Rate) *Rate {
	if r == (config.Rate{}) {
		return nil
	}
	return &Rate{Requests: r.Requests, PerSeconds: int(r.Per / time.Second), Burst: r.Burst}
}

// read returns the requested rate; none for nil.
func (r *Rate) read() (config.Rate, error) {
	if r == nil {
		return config.Rate{}, nil
	}
	if most := int(store.MaxRatePer / time.Second); r.PerSeconds < 1 || r.PerSeconds > most {
		return config.Rate{}, badField("rate", "A rate's perSeconds must be 1 to %d.", most)
	}
	return config.Rate{Requests: r.Requests, Per: time.Duration(r.PerSeconds) * time.Second, Burst: r.Burst}, nil
}

func millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.UnixMilli())
}

// CreateRequest is a request to create a token. Only the label is required, and the
// user if the caller has no account.
type CreateRequest struct {
	Label   string `json:"label"`
	User    string `json:"user,omitempty"` // as whom the token acts; empty: the caller
	Type    string `json:"type,omitempty"` // ordinary or management; empty: ordinary
	Purpose string `json:"purpose,omitempty"`
	Expiry
	ReadOnly bool     `json:"readOnly,omitempty"`
	Networks []string `json:"networks,omitempty"` // networks or addresses; none: any
	Rate     *Rate    `json:"rate,omitempty"`     // nil: the policy's, or none
}

// RotateRequest is a request for a new secret. Without an expiry the token keeps its
// own.
type RotateRequest struct {
	Overlap string `json:"overlap,omitempty"` // how long the old secret stays valid, such as "1h"; empty: not at all
	Expiry
}

func (a api) create(c call[CreateRequest]) (IssuedToken, error) {
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
	issued, err := a.Create(c.ctx, c.caller, manage.NewToken{
		Management: kind == store.Management,
		Owner:      c.body.User,
		Name:       c.body.Label,
		Purpose:    c.body.Purpose,
		Expires:    expires,
		ReadOnly:   c.body.ReadOnly,
		Networks:   c.body.Networks,
		Rate:       rate,
	})
	return IssuedToken{PasswordValue: issued.Value.Reveal(), Token: apiToken(issued.Token)}, err
}

func (a api) rotate(c call[RotateRequest]) (IssuedToken, error) {
	expires, err := c.body.Expiry.read()
	if err != nil {
		return IssuedToken{}, err
	}
	overlap, err := readOverlap(c.body.Overlap)
	if err != nil {
		return IssuedToken{}, err
	}
	issued, err := a.Rotate(c.ctx, c.caller, c.id, manage.Rotation{Overlap: overlap, Expires: expires})
	return IssuedToken{PasswordValue: issued.Value.Reveal(), Token: apiToken(issued.Token)}, err
}

// ChangeRequest is a request to change a token. Nil and empty fields stay unchanged,
// except that an empty list of networks means any.
type ChangeRequest struct {
	Label   *string `json:"label,omitempty"`
	Purpose *string `json:"purpose,omitempty"`
	Expiry
	ReadOnly *bool      `json:"readOnly,omitempty"`
	Networks *[]string  `json:"networks,omitempty"` // the whole list
	Rate     RateChange `json:"rate,omitzero"`
}

func (*ChangeRequest) nullable() []string { return []string{"rate"} }

// RateChange is a new rate: in JSON the rate, or null for none. The zero RateChange
// keeps the rate.
type RateChange struct {
	Given bool
	Rate  *Rate // nil: none
}

// MarshalJSON implements json.Marshaler.
func (c RateChange) MarshalJSON() ([]byte, error) { return json.Marshal(c.Rate) }

// UnmarshalJSON implements json.Unmarshaler.
func (c *RateChange) UnmarshalJSON(data []byte) error {
	c.Given = true
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(&c.Rate)
}

func (a api) change(c call[ChangeRequest]) (Token, error) {
	expires, err := c.body.Expiry.read()
	if err != nil {
		return Token{}, err
	}
	wanted := manage.Change{
		Name:     c.body.Label,
		Purpose:  c.body.Purpose,
		Expires:  expires,
		ReadOnly: c.body.ReadOnly,
		Networks: c.body.Networks,
	}
	if c.body.Rate.Given {
		rate, err := c.body.Rate.Rate.read()
		if err != nil {
			return Token{}, err
		}
		wanted.Rate = &rate
	}
	changed, err := a.Change(c.ctx, c.caller, c.id, wanted)
	return apiToken(changed), err
}

// Expiry is when a token expires, in one of three forms.
type Expiry struct {
	ExpiresIn     string `json:"expiresIn,omitempty"`     // such as "90d", "1d12h" or "unlimited"
	ExpiresInDays *int64 `json:"expiresInDays,omitempty"` // days of 24 hours, at least 1
	ExpiresAt     string `json:"expiresAt,omitempty"`     // RFC 3339, such as "2030-01-31T12:00:00Z"
}

const (
	day     = 24 * time.Hour
	maxDays = math.MaxInt64 / int64(day)
)

// read returns the expiry; the zero Expiry if none is given.
func (e Expiry) read() (asked manage.Expiry, err error) {
	ways := 0
	if e.ExpiresIn != "" {
		ways++
		if asked.In, err = config.ParseLifetime(e.ExpiresIn); err != nil {
			return asked, badField("expiresIn", "expiresIn: %s.", token.Excerpt(err.Error()))
		}
	}
	if e.ExpiresInDays != nil {
		ways++
		days := *e.ExpiresInDays
		if days < 1 || days > maxDays {
			return asked, badField("expiresInDays", "expiresInDays must be 1 to %d.", maxDays)
		}
		asked.In = config.Lifetime{Duration: time.Duration(days) * day}
	}
	if e.ExpiresAt != "" {
		ways++
		if asked.At, err = time.Parse(time.RFC3339, e.ExpiresAt); err != nil || asked.At.IsZero() {
			return asked, badField("expiresAt", "expiresAt must be a time in RFC 3339, such as 2030-01-31T12:00:00Z.")
		}
	}
	if ways > 1 {
		return asked, badField("expiresIn", "Give only one of expiresIn, expiresInDays and expiresAt.")
	}
	return asked, nil
}

// readOverlap reads how long an old secret stays valid.
func readOverlap(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	overlap, err := config.ParseLifetime(text)
	switch {
	case err != nil:
		return 0, badField("overlap", "overlap: %s.", token.Excerpt(err.Error()))
	case overlap.Unlimited:
		return 0, badField("overlap", "An overlap cannot be unlimited. Give a duration such as 1h.")
	}
	return overlap.Duration, nil
}
