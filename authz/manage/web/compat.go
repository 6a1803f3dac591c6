package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
)

// OwnerTokens are a user's tokens in the answer to GET /all, which is an array of
// them. It has the fields that other API tokens for Jira have, and no others.
type OwnerTokens struct {
	Username string       `json:"username"`
	Count    int          `json:"count"`
	Tokens   []OwnedToken `json:"tokens"`
}

// OwnedToken is a token in OwnerTokens. Times are in UTC without saying so.
type OwnedToken struct {
	ID             uint64  `json:"id"` // the running number
	Label          string  `json:"label"`
	UsageCount     uint64  `json:"usageCount"`
	CreatedAt      string  `json:"createdAt"`
	LastAccessed   *string `json:"lastAccessed"`   // null: never
	ExpirationDate *string `json:"expirationDate"` // null: never
}

// zonelessTime is a time as GET /all has it.
func zonelessTime(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := t.UTC().Format("2006-01-02T15:04:05.000")
	return &text
}

// listOwn answers with the caller's own tokens; those that are revoked are
// deleted to whoever did it, and shown only if asked for.
func listOwn(m *manage.Manager) endpoint {
	return newReplyEndpoint[empty, []Token](http.MethodGet, "", func(c call[empty]) (reply, error) {
		state, err := query.Choice(c.query, "state", query.States)
		if err != nil {
			return reply{}, err
		}
		return arrayReply("[", "]\n", func(next func(any) error) error {
			return m.Own(c.ctx, c.caller, func(own []manage.Token) error {
				for _, t := range own {
					if t.State != state && (state != "" || t.State == manage.StateRevoked) {
						continue
					}
					if err := next(apiToken(t)); err != nil {
						return err
					}
				}
				return nil
			})
		}), nil
	}).withParameters([]string{"state"})
}

// listAll answers with everybody's tokens, one owner behind another as they come.
func listAll(m *manage.Manager) endpoint {
	return newReplyEndpoint[empty, []OwnerTokens](http.MethodGet, "all", func(c call[empty]) (reply, error) {
		return arrayReply("[", "]\n", func(next func(any) error) error {
			return m.All(c.ctx, c.caller, func(owner string, tokens []manage.Token) error {
				all := OwnerTokens{Username: owner, Count: len(tokens), Tokens: make([]OwnedToken, len(tokens))}
				for i, t := range tokens {
					all.Tokens[i] = OwnedToken{
						ID:             t.Number,
						Label:          t.Name,
						UsageCount:     t.Usage.Count,
						CreatedAt:      *zonelessTime(t.Created),
						LastAccessed:   zonelessTime(t.Usage.LastUsed),
						ExpirationDate: zonelessTime(t.Expires),
					}
				}
				return next(all)
			})
		}), nil
	})
}

// arrayReply answers with JSON whose array is written element by element: each calls
// next with each of them.
func arrayReply(before, behind string, each func(next func(any) error) error) reply {
	return reply{status: http.StatusOK, stream: func(w io.Writer) error {
		separator := before
		err := each(func(element any) error {
			body, err := json.Marshal(element)
			if err != nil {
				return fmt.Errorf("encode the answer: %w", err)
			}
			_, err = fmt.Fprintf(w, "%s%s", separator, body)
			separator = ",\n"
			return err
		})
		if err != nil {
			return err
		}
		if separator == before {
			behind = before + behind
		}
		_, err = io.WriteString(w, behind)
		return err
	}}
}
