package web

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

// TokenPage answers GET /tokens.
type TokenPage struct {
	Values []Token `json:"values"`
	Total  int     `json:"total"` // on all pages
	Next   *string `json:"next"`  // the after of the next page; null: this was the last
}

// columns are what a listing is sorted by.
var columns = map[string]store.Column{
	"created": store.ByNumber,
	"user":    store.ByOwner,
	"name":    store.ByName,
	"expires": store.ByExpires,
	"used":    store.ByLastUsed,
	"uses":    store.ByUses,
}

// listTokens answers with a page of all tokens, or with all of them as CSV.
func listTokens(m *manage.Manager) endpoint {
	return answering[none, TokenPage](http.MethodGet, "tokens", func(c call[none]) (reply, error) {
		wanted, err := listQuery(c.query, m.Now().UTC())
		if err != nil {
			return reply{}, err
		}
		asCSV, err := c.query.asCSV()
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
			answer.Values[i] = bean(t)
		}
		return encode(answer)
	}).asks("user", "userPart", "name", "id", "state", "type", "scope",
		"createdFrom", "createdUntil", "usedFrom", "usedUntil", "expiresFrom", "expiresUntil",
		"neverExpires", "neverUsed", "unusedSince", "expiringWithin",
		"sort", "order", "after", "limit", "format")
}

// cursor returns what an answer says of where its page ended.
func cursor(next string) *string {
	if next == "" {
		return nil
	}
	return &next
}

// listQuery reads the filters, the order and the page of a listing.
func listQuery(q query, now time.Time) (wanted manage.Query, err error) {
	wanted.Owner, wanted.OwnerPart = q["user"], q["userPart"]
	wanted.Name, wanted.ID = q["name"], q["id"]
	wanted.After = store.Cursor(q["after"])
	if wanted.State, err = choice(q, "state", states); err != nil {
		return wanted, err
	}
	if kind, err := choice(q, "type", types); err != nil {
		return wanted, err
	} else if q["type"] != "" {
		wanted.Kind = &kind
	}
	if readOnly, err := choice(q, "scope", map[string]bool{"read": true, "write": false}); err != nil {
		return wanted, err
	} else if q["scope"] != "" {
		wanted.ReadOnly = &readOnly
	}
	if wanted.Sort, err = choice(q, "sort", columns); err != nil {
		return wanted, err
	}
	if wanted.Descending, err = choice(q, "order", map[string]bool{"asc": false, "desc": true}); err != nil {
		return wanted, err
	}
	if wanted.Limit, err = q.number("limit"); err != nil {
		return wanted, err
	}
	if wanted.NeverExpires, err = q.flag("neverExpires"); err != nil {
		return wanted, err
	}
	if wanted.NeverUsed, err = q.flag("neverUsed"); err != nil {
		return wanted, err
	}
	return wanted, listTimes(q, now, &wanted)
}

// listTimes reads the filters by time.
func listTimes(q query, now time.Time, wanted *manage.Query) (err error) {
	for _, span := range []struct {
		name  string
		whole bool
		to    *time.Time
	}{
		{"createdFrom", false, &wanted.CreatedFrom}, {"createdUntil", true, &wanted.CreatedUntil},
		{"usedFrom", false, &wanted.UsedFrom}, {"usedUntil", true, &wanted.UsedUntil},
		{"expiresFrom", false, &wanted.ExpiresFrom}, {"expiresUntil", true, &wanted.ExpiresUntil},
	} {
		if *span.to, err = q.time(span.name, span.whole); err != nil {
			return err
		}
	}
	if ago, err := q.lifetime("unusedSince"); err == nil && ago > 0 {
		wanted.UnusedSince = now.Add(-ago)
	} else if wanted.UnusedSince, err = q.time("unusedSince", false); err != nil {
		return badField("unusedSince", "The parameter \"unusedSince\" must be a time such as 90d, or a date such as 2030-01-31.")
	}
	within, err := q.lifetime("expiringWithin")
	if err != nil {
		return err
	}
	if within > 0 {
		if q["expiresFrom"] != "" || q["expiresUntil"] != "" {
			return badField("expiringWithin", "Give expiringWithin, or expiresFrom and expiresUntil, but not both.")
		}
		wanted.ExpiresFrom, wanted.ExpiresUntil = now, now.Add(within)
	}
	return nil
}

// tokensCSV answers with all tokens that are asked for, read page by page.
func tokensCSV(c call[none], m *manage.Manager, wanted manage.Query) (reply, error) {
	if wanted.Limit != 0 || wanted.After != "" {
		return reply{}, badField("format", "CSV holds all tokens that the filters select. Leave limit and after out.")
	}
	wanted.Limit = manage.MaxPage
	header := []string{"id", "number", "type", "label", "user", "purpose", "state", "createdAt", "createdBy", "expiresAt", "readOnly",
		"networks", "rate", "lastAccessed", "lastAddress", "usageCount", "writeCount", "revokedAt", "previousUntil"}
	return table("tokens.csv", header, func() (rows [][]string, more bool, err error) {
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
	b := bean(t)
	rate, address := "", ""
	if b.Rate != nil {
		rate = strconv.Itoa(b.Rate.Requests) + " per " + strconv.Itoa(b.Rate.PerSeconds) + "s, " + strconv.Itoa(b.Rate.Burst) + " at once"
	}
	if b.LastAddress != nil {
		address = *b.LastAddress
	}
	return []string{b.ID, strconv.FormatUint(b.Number, 10), b.Type, b.Label, b.User, b.Purpose, b.State,
		stamp(t.Created), b.CreatedBy, stamp(t.Expires), strconv.FormatBool(b.ReadOnly), strings.Join(b.Networks, " "), rate,
		stamp(t.Usage.LastUsed), address, strconv.FormatUint(b.UsageCount, 10), strconv.FormatUint(b.WriteCount, 10),
		stamp(t.Revoked), stamp(t.PreviousUntil)}
}
