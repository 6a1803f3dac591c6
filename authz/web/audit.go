package web

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/web/query"
	"github.com/tokengate/tokengate/store"
)

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
func listAudit(m *manage.Manager) endpoint {
	return newReplyEndpoint[empty, AuditPage](http.MethodGet, "audit", func(c call[empty]) (reply, error) {
		wanted, err := query.Audit(c.query)
		if err != nil {
			return reply{}, err
		}
		asCSV, err := asCSV(c.query)
		if err != nil {
			return reply{}, err
		}
		if asCSV {
			return auditCSV(c, m, wanted)
		}
		page, err := m.AuditLog(c.ctx, c.caller, wanted)
		if err != nil {
			return reply{}, err
		}
		answer := AuditPage{Values: make([]AuditRecord, len(page.Records))}
		if page.Next != 0 {
			answer.Next = cursor(strconv.FormatUint(page.Next, 10))
		}
		for i, a := range page.Records {
			answer.Values[i] = apiAudit(a)
		}
		return encode(answer)
	}).withParameters(query.AuditFilters, query.AuditPages, formatParameter)
}

// auditCSV answers with all selected records, read page by page.
func auditCSV(c call[empty], m *manage.Manager, wanted manage.AuditQuery) (reply, error) {
	if wanted.Limit != 0 || wanted.Before != 0 {
		return reply{}, badField("format", "CSV holds all records that match the filters. Leave limit and after out.")
	}
	wanted.Limit = manage.MaxPage
	header := []string{"sequence", "time", "actor", "from", "action", "tokenId", "user", "outcome", "reason", "changes"}
	return csvReply("audit.csv", header, func() (rows [][]string, more bool, err error) {
		page, err := m.AuditLog(c.ctx, c.caller, wanted)
		if err != nil {
			return nil, false, err
		}
		for _, a := range page.Records {
			b := apiAudit(a)
			rows = append(rows, []string{strconv.FormatUint(b.Sequence, 10), csvTime(a.Time), b.Actor, b.From, b.Action,
				b.TokenID, b.User, b.Outcome, b.Reason, changesText(b.Changes)})
		}
		wanted.Before = page.Next
		return rows, page.Next != 0, nil
	}), nil
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
