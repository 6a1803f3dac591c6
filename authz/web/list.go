package web

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/web/query"
	"github.com/tokengate/tokengate/store"
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
	return new(t.UTC().Format("2006-01-02T15:04:05.000"))
}

// listOwn answers with the caller's own tokens. Revoked ones are included only on
// request: for compatible clients they are deleted.
func (a api) listOwn(c call[empty]) (reply, error) {
	state, err := query.Choice(c.query, "state", query.States)
	if err != nil {
		return reply{}, err
	}
	return arrayReply("[", "]\n", func(next func(any) error) error {
		return a.Own(c.ctx, c.caller, func(own []manage.Token) error {
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
}

// listAll streams all tokens, owner by owner.
func (a api) listAll(c call[empty]) (reply, error) {
	return arrayReply("[", "]\n", func(next func(any) error) error {
		return a.All(c.ctx, c.caller, func(owner string, tokens []manage.Token) error {
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
}

// TokenPage answers GET /tokens.
type TokenPage struct {
	Values []Token `json:"values"`
	Total  int     `json:"total"` // on all pages
	Next   *string `json:"next"`  // the after parameter of the next page; null: this is the last
}

// listTokens answers with a page of all tokens, or with all of them as CSV.
func (a api) listTokens(c call[empty]) (reply, error) {
	wanted, err := query.Tokens(c.query, a.Now().UTC())
	if err != nil {
		return reply{}, err
	}
	asCSV, err := asCSV(c.query, wanted.Limit != 0 || wanted.After != "")
	if err != nil {
		return reply{}, err
	}
	if asCSV {
		return a.tokensCSV(c, wanted), nil
	}
	page, err := a.List(c.ctx, c.caller, wanted)
	if err != nil {
		return reply{}, err
	}
	answer := TokenPage{Values: make([]Token, len(page.Tokens)), Total: page.Total, Next: cursor(string(page.Next))}
	for i, t := range page.Tokens {
		answer.Values[i] = apiToken(t)
	}
	return encode(answer)
}

// cursor returns the next field of a page; nil for the last.
func cursor(next string) *string {
	if next == "" {
		return nil
	}
	return &next
}

// tokensCSV answers with all selected tokens, read page by page.
func (a api) tokensCSV(c call[empty], wanted manage.Query) reply {
	wanted.Limit = manage.MaxPage
	header := []string{"id", "number", "type", "label", "user", "purpose", "state", "createdAt", "createdBy", "expiresAt", "readOnly",
		"networks", "rate", "lastAccessed", "lastAddress", "usageCount", "writeCount", "revokedAt", "previousUntil"}
	return csvReply("tokens.csv", header, func() (rows [][]string, more bool, err error) {
		page, err := a.List(c.ctx, c.caller, wanted)
		for _, t := range page.Tokens {
			rows = append(rows, tokenRow(t))
		}
		wanted.After = page.Next
		return rows, page.Next != "", err
	})
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

// AuditPage answers GET /audit, newest first. A page may have fewer records than
// requested and still have a next one.
type AuditPage struct {
	Values []AuditRecord `json:"values"`
	Next   *string       `json:"next"` // the after parameter of the next page; null: this is the last
}

// AuditRecord is one attempt at an action.
type AuditRecord struct {
	Sequence uint64            `json:"sequence"` // its place in the log
	Time     int64             `json:"time"`     // milliseconds since 1970
	Actor    string            `json:"actor"`
	From     string            `json:"from"`    // the client's address, or "admin socket"
	Action   string            `json:"action"`  // such as token.revoke
	TokenID  string            `json:"tokenId"` // empty: none was created
	User     string            `json:"user"`    // the token's owner
	Outcome  string            `json:"outcome"` // done or refused
	Reason   string            `json:"reason"`  // of a refusal
	Changes  map[string]Change `json:"changes"` // by field
}

// Change is a field's value before and after.
type Change struct {
	Before string `json:"before"`
	After  string `json:"after"`
}

func apiAudit(a store.Audit) AuditRecord {
	b := AuditRecord{
		Sequence: a.Sequence,
		Time:     a.Time.UnixMilli(),
		Actor:    a.Actor,
		From:     a.From,
		Action:   a.Action,
		TokenID:  a.TokenID,
		User:     a.Owner,
		Outcome:  a.Outcome,
		Reason:   a.Reason,
		Changes:  make(map[string]Change, len(a.Changes)),
	}
	for field, c := range a.Changes {
		b.Changes[field] = Change{token.Redact(c.Before), token.Redact(c.After)}
	}
	return b
}

// listAudit answers with a page of the audit log, or with all of it as CSV.
func (a api) listAudit(c call[empty]) (reply, error) {
	wanted, err := query.Audit(c.query)
	if err != nil {
		return reply{}, err
	}
	asCSV, err := asCSV(c.query, wanted.Limit != 0 || wanted.Before != 0)
	if err != nil {
		return reply{}, err
	}
	if asCSV {
		return a.auditCSV(c, wanted), nil
	}
	page, err := a.AuditLog(c.ctx, c.caller, wanted)
	if err != nil {
		return reply{}, err
	}
	answer := AuditPage{Values: make([]AuditRecord, len(page.Records))}
	if page.Next != 0 {
		answer.Next = cursor(strconv.FormatUint(page.Next, 10))
	}
	for i, record := range page.Records {
		answer.Values[i] = apiAudit(record)
	}
	return encode(answer)
}

// auditCSV answers with all selected records, read page by page.
func (a api) auditCSV(c call[empty], wanted manage.AuditQuery) reply {
	wanted.Limit = manage.MaxPage
	header := []string{"sequence", "time", "actor", "from", "action", "tokenId", "user", "outcome", "reason", "changes"}
	return csvReply("audit.csv", header, func() (rows [][]string, more bool, err error) {
		page, err := a.AuditLog(c.ctx, c.caller, wanted)
		for _, record := range page.Records {
			b := apiAudit(record)
			rows = append(rows, []string{strconv.FormatUint(b.Sequence, 10), csvTime(record.Time), b.Actor, b.From, b.Action,
				b.TokenID, b.User, b.Outcome, b.Reason, changesText(b.Changes)})
		}
		wanted.Before = page.Next
		return rows, page.Next != 0, err
	})
}

// changesText returns changes as one cell, one per line.
func changesText(changes map[string]Change) string {
	var lines []string
	for _, field := range slices.Sorted(maps.Keys(changes)) {
		c := changes[field]
		lines = append(lines, field+": "+strconv.Quote(c.Before)+" → "+strconv.Quote(c.After))
	}
	return strings.Join(lines, "\n")
}
