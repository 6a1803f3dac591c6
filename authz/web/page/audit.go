package page

import (
	"maps"
	"slices"
	"strconv"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web/query"
	"github.com/tokengate/tokengate/store"
)

// auditPage is a page of the audit log.
type auditPage struct {
	Filters query.Values
	Actions []string
	Rows    []auditRow
	Next    string
	First   string
	CSV     string
	Action  string
}

// auditRow is an audit record.
type auditRow struct {
	Time                timestamp
	Actor, From, Action string
	Refused             bool
	Reason              string
	TokenID, URL        string // empty: no token was created
	Owner               string
	Changes             []fieldChange
}

// fieldChange is a field before and after a change.
type fieldChange struct {
	Field, Before, After string
	New                  bool // the token did not exist before
}

// audit shows a page of the audit log, newest first.
func (s *Site) audit(r *Request, l *layout) (Answer, error) {
	wanted, err := query.Audit(r.Query)
	if err != nil {
		return Answer{}, err
	}
	wanted.Limit = pageSize
	found, err := s.Manager.AuditLog(r.HTTP.Context(), r.Caller, wanted)
	if err != nil {
		return Answer{}, err
	}
	filters := without(r.Query, "after")
	p := auditPage{
		Filters: visibleValues(filters), Actions: manage.Actions(), Action: s.url("audit"),
		CSV: s.API + "/audit?" + with(filters, "format", "csv"),
	}
	for _, record := range found.Records {
		p.Rows = append(p.Rows, s.auditRow(record))
	}
	if found.Next != 0 {
		p.Next = s.url("audit?" + with(filters, "after", strconv.FormatUint(found.Next, 10)))
	}
	if r.Query["after"] != "" {
		p.First = s.url("audit?" + with(filters))
	}
	return ok("audit", l, p)
}

func (s *Site) auditRow(a store.Audit) auditRow {
	row := auditRow{
		Time: when(a.Time, s.Now().UTC()), Actor: visible(a.Actor), From: visible(a.From), Action: a.Action,
		Refused: a.Outcome == "refused", Reason: a.Reason, TokenID: a.TokenID, Owner: visible(a.Owner),
	}
	if a.TokenID != "" {
		row.URL = s.url("token/" + a.TokenID)
	}
	_, created := a.Changes["type"] // a token's type never changes
	for _, field := range slices.Sorted(maps.Keys(a.Changes)) {
		c := a.Changes[field]
		if created && (field == "owner" || field == "ownerKey" || field == "type" && c.After == store.Ordinary.String()) {
			continue // shown beside the id, or the default
		}
		row.Changes = append(row.Changes, fieldChange{field, brief(c.Before), brief(c.After), created})
	}
	return row
}
