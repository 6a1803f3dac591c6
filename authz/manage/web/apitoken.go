package web

import (
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
	"github.com/tokengate/tokengate/store"
)

// Token is a token in answers. Times are milliseconds since 1970 in UTC, as
// Jira's REST API has them.
type Token struct {
	ID            string   `json:"id"`
	Number        uint64   `json:"number"`
	Type          string   `json:"type"` // ordinary or management
	Label         string   `json:"label"`
	User          string   `json:"user"` // empty: nobody, of a management token
	Purpose       string   `json:"purpose"`
	CreatedAt     int64    `json:"createdAt"`
	CreatedBy     string   `json:"createdBy"`
	ExpiresAt     *int64   `json:"expiresAt"`    // null: never
	LastAccessed  *int64   `json:"lastAccessed"` // null: never
	LastAddress   *string  `json:"lastAddress"`  // the client's address at LastAccessed; null: not known
	UsageCount    uint64   `json:"usageCount"`   // allowed requests
	WriteCount    uint64   `json:"writeCount"`   // those of them that may have written
	ReadOnly      bool     `json:"readOnly"`
	Networks      []string `json:"networks"`      // none: any
	Rate          *Rate    `json:"rate"`          // null: none
	State         string   `json:"state"`         // one of manage.States
	RevokedAt     *int64   `json:"revokedAt"`     // null: it is not revoked
	PreviousUntil *int64   `json:"previousUntil"` // how long the secret before the last rotation is good; null: not any more
}

// logID returns the token's id, for the log.
func (t Token) logID() string { return t.ID }

// IssuedToken answers a creation and a rotation: it alone holds a token's
// value.
type IssuedToken struct {
	PasswordValue string `json:"passwordValue"`
	Token
}

// Rate is how many requests a token may make.
type Rate struct {
	Requests   int `json:"requests"`
	PerSeconds int `json:"perSeconds"`
	Burst      int `json:"burst,omitempty"` // how many of them at once; asked for without one: all
}

func apiToken(t manage.Token) Token {
	b := Token{
		ID:            t.ID,
		Number:        t.Number,
		Type:          query.TypeNames[t.Kind],
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
		text := address.String()
		b.LastAddress = &text
	}
	for i, n := range t.Networks {
		b.Networks[i] = n.String()
	}
	return b
}

// apiRate returns a rate; nil for none.
func apiRate(r store.Rate) *Rate {
	if r == (store.Rate{}) {
		return nil
	}
	return &Rate{Requests: int(r.Requests), PerSeconds: int(r.Per / time.Second), Burst: int(r.Burst)}
}

// read returns the rate that is asked for; none for nil.
func (r *Rate) read() (config.Rate, error) {
	if r == nil {
		return config.Rate{}, nil
	}
	if most := int(store.MaxRatePer / time.Second); r.PerSeconds < 1 || r.PerSeconds > most {
		return config.Rate{}, badField("rate", "A rate's perSeconds must be 1 to %d.", most)
	}
	return config.Rate{Requests: r.Requests, Per: time.Duration(r.PerSeconds) * time.Second, Burst: r.Burst}, nil
}

func apiIssued(i manage.Issued) IssuedToken {
	return IssuedToken{PasswordValue: i.Value.Reveal(), Token: apiToken(i.Token)}
}

func millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}
