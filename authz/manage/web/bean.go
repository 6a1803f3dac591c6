package web

import (
	"time"

	"github.com/tokengate/tokengate/authz/manage"
)

// Token is a token in answers. Times are milliseconds since 1970 in UTC, as
// Jira's REST API has them.
type Token struct {
	ID            string   `json:"id"`
	Number        uint64   `json:"number"`
	Label         string   `json:"label"`
	User          string   `json:"user"`
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
	State         string   `json:"state"`         // pending, active, disabled, expired or revoked
	RevokedAt     *int64   `json:"revokedAt"`     // null: it is not revoked
	PreviousUntil *int64   `json:"previousUntil"` // how long the secret before the last rotation is good; null: not any more
}

// about returns the token's id, for the log.
func (t Token) about() string { return t.ID }

// IssuedToken answers a creation and a rotation: it alone holds a token's
// value.
type IssuedToken struct {
	PasswordValue string `json:"passwordValue"`
	Token
}

// TokenPage answers GET /tokens.
type TokenPage struct {
	Values []Token `json:"values"`
	Next   *uint64 `json:"next"` // the after of the next page; null: this was the last
}

func bean(t manage.Token) Token {
	b := Token{
		ID:            t.ID,
		Number:        t.Number,
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

func issuedBean(i manage.Issued) IssuedToken {
	return IssuedToken{PasswordValue: i.Value.Reveal(), Token: bean(i.Token)}
}

func millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}
