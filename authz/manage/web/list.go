package web

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
)

// TokenPage answers GET /tokens.
type TokenPage struct {
	Values []Token `json:"values"`
	Total  int     `json:"total"` // on all pages
	Next   *string `json:"next"`  // the after of the next page; null: this was the last
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

// cursor returns what an answer says of where its page ended.
func cursor(next string) *string {
	if next == "" {
		return nil
	}
	return &next
}

// tokensCSV answers with all tokens that are asked for, read page by page.
func tokensCSV(c call[empty], m *manage.Manager, wanted manage.Query) (reply, error) {
	if wanted.Limit != 0 || wanted.After != "" {
		return reply{}, badField("format", "CSV holds all tokens that the filters select. Leave limit and after out.")
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
