package web

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web/query"
)

// OwnerTokens are a user's tokens in the answer to GET /all, which is an array of
// them. Its fields are exactly those of other API tokens for Jira.
type OwnerTokens struct {
	Username string       `json:"username"`
	Count    int          `json:"count"`
	Tokens   []OwnedToken `json:"tokens"`
}

// OwnedToken is a token in OwnerTokens. Times are in UTC, without a zone.
type OwnedToken struct {
	ID             uint64  `json:"id"` // the running number
	Label          string  `json:"label"`
	UsageCount     uint64  `json:"usageCount"`
	CreatedAt      string  `json:"createdAt"`
	LastAccessed   *string `json:"lastAccessed"`   // null: never
	ExpirationDate *string `json:"expirationDate"` // null: never
}

// zonelessTime returns a time in the form of GET /all; nil for none.
func zonelessTime(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := t.UTC().Format("2006-01-02T15:04:05.000")
	return &text
}

// listOwn answers with the caller's own tokens. Revoked ones are included only on
// request: for compatible clients they are deleted.
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

// listAll streams all tokens, owner by owner.
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

// TokenPage answers GET /tokens.
type TokenPage struct {
	Values []Token `json:"values"`
	Total  int     `json:"total"` // on all pages
	Next   *string `json:"next"`  // the after parameter of the next page; null: this is the last
}

// listTokens answers with a page of all tokens, or with all of them as CSV.
func listTokens(m *manage.Manager) endpoint {
	return newReplyEndpoint[empty, TokenPage](http.MethodGet, "tokens", func(c call[empty]) (reply, error) {
		wanted, err := query.Tokens(c.query, m.Now().UTC())
		if err != nil {
			return reply{}, err
		}
		asCSV, err := asCSV(c.query)
		if err != nil {
			return reply{}, err
		}
		if asCSV {
			return tokensCSV(c, m, wanted)
		}
		page, err := m.List(c.ctx, c.caller, wanted)
		if err != nil {
			return reply{}, err
		}
		answer := TokenPage{Values: make([]Token, len(page.Tokens)), Total: page.Total, Next: cursor(string(page.Next))}
		for i, t := range page.Tokens {
			answer.Values[i] = apiToken(t)
		}
		return encode(answer)
	}).withParameters(query.TokenFilters, query.TokenPages, formatParameter)
}

// cursor returns the next field of a page; nil for the last.
func cursor(next string) *string {
	if next == "" {
		return nil
	}
	return &next
}

// tokensCSV answers with all selected tokens, read page by page.
func tokensCSV(c call[empty], m *manage.Manager, wanted manage.Query) (reply, error) {
	if wanted.Limit != 0 || wanted.After != "" {
		return reply{}, badField("format", "CSV holds all tokens that match the filters. Leave limit and after out.")
	}
	wanted.Limit = manage.MaxPage
	header := []string{"id", "number", "type", "label", "user", "purpose", "state", "createdAt", "createdBy", "expiresAt", "readOnly",
		"networks", "rate", "lastAccessed", "lastAddress", "usageCount", "writeCount", "revokedAt", "previousUntil"}
	return csvReply("tokens.csv", header, func() (rows [][]string, more bool, err error) {
		page, err := m.List(c.ctx, c.caller, wanted)
		if err != nil {
			return nil, false, err
		}
		for _, t := range page.Tokens {
			rows = append(rows, tokenRow(t))
		}
		wanted.After = page.Next
		return rows, page.Next != "", nil
	}), nil
}

func tokenRow(t manage.Token) []string {
	b := apiToken(t)
	rate, address := "", ""
	if b.Rate != nil {
		rate = strconv.Itoa(b.Rate.Requests) + " per " + strconv.Itoa(b.Rate.PerSeconds) + "s, " + strconv.Itoa(b.Rate.Burst) + " at once"
	}
	if b.LastAddress != nil {
		address = *b.LastAddress
	}
	return []string{b.ID, strconv.FormatUint(b.Number, 10), b.Type, b.Label, b.User, b.Purpose, b.State,
		csvTime(t.Created), b.CreatedBy, csvTime(t.Expires), strconv.FormatBool(b.ReadOnly), strings.Join(b.Networks, " "), rate,
		csvTime(t.Usage.LastUsed), address, strconv.FormatUint(b.UsageCount, 10), strconv.FormatUint(b.WriteCount, 10),
		csvTime(t.Revoked), csvTime(t.PreviousUntil)}
}
