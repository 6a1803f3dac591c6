package manage

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokengate/tokengate/store"
)

// AuditQuery selects records of the audit log. The zero AuditQuery selects all.
type AuditQuery struct {
	Actor       string // a part, ignoring case; empty: any
	Action      string // such as "token.create"; empty: any
	TokenID     string // empty: any
	Owner       string // ignoring case; empty: any
	Outcome     string // "done" or "refused"; empty: both
	From, Until time.Time
	Before      uint64 // the Next of the previous page; 0: from the newest
	Limit       int    // at most MaxPage; 0: DefaultPage
}

// AuditPage is a page of the audit log, newest first.
type AuditPage struct {
	Records []store.Audit
	// Next is the Before of the next page; 0: this is the last. A page may hold fewer
	// records than requested and still have a next one, because one page searches a
	// limited number of records.
	Next uint64
}

// maxAuditScan is how many records a page searches.
const maxAuditScan = 20_000

// maxReorder is how much older a record may be than its predecessor: a record's time
// is when its operation began.
const maxReorder = time.Hour

// AuditLog returns a page of the audit log. It fails with ErrInvalid or
// ErrForbidden.
func (m *Manager) AuditLog(ctx context.Context, c Caller, q AuditQuery) (AuditPage, error) {
	return read(ctx, m, c, auditAction, "", func(*operation) (found AuditPage, err error) {
		limit, err := pageLimit(q.Limit)
		if err != nil {
			return found, err
		}
		if q.Action != "" && !slices.Contains(Actions(), q.Action) {
			return found, invalid(FieldAction, "There is no such action. There are %s.", strings.Join(Actions(), ", "))
		}
		before := q.Before
		for scanned := 0; scanned < maxAuditScan; scanned += MaxPage {
			records, err := m.Tokens.AuditLog(ctx, before, MaxPage)
			if err != nil {
				return found, err
			}
			for _, r := range records {
				if !q.From.IsZero() && r.Time.Before(q.From.Add(-maxReorder)) {
					return found, nil // the rest is older
				}
				if !q.selects(r) {
					continue
				}
				found.Records = append(found.Records, r)
				if len(found.Records) == limit {
					found.Next = r.Sequence
					return found, nil
				}
			}
			if len(records) < MaxPage {
				return found, nil
			}
			before = records[len(records)-1].Sequence
		}
		found.Next = before
		return found, nil
	})
}

func (q *AuditQuery) selects(r store.Audit) bool {
	return (q.From.IsZero() || !r.Time.Before(q.From)) &&
		(q.Until.IsZero() || r.Time.Before(q.Until)) &&
		(q.Action == "" || q.Action == r.Action) &&
		(q.TokenID == "" || q.TokenID == r.TokenID) &&
		(q.Outcome == "" || q.Outcome == r.Outcome) &&
		(q.Owner == "" || store.FoldOwner(q.Owner) == store.FoldOwner(r.Owner)) &&
		(q.Actor == "" || strings.Contains(strings.ToLower(r.Actor), strings.ToLower(q.Actor)))
}

// doneRecord returns the audit record of a change.
func (op *operation) doneRecord(before, after store.Token) store.Audit {
	a := op.newRecord("done")
	a.TokenID, a.Owner = after.ID, after.Owner.Name
	a.Changes = diff(store.Normalize(before), store.Normalize(after))
	return a
}

// refusedRecord returns the audit record of a refused attempt.
func (op *operation) refusedRecord(e *Error) store.Audit {
	a := op.newRecord("refused")
	a.TokenID, a.Owner = op.subject.id, op.subject.owner
	a.Reason = string(e.Code)
	if e.Field != "" {
		a.Reason += ": " + string(e.Field)
	}
	return a
}

func (op *operation) newRecord(outcome string) store.Audit {
	return store.Audit{Time: op.now, Actor: op.caller.actor(), From: op.caller.from, Action: op.action.name, Outcome: outcome}
}

// neverText is the expiry of tokens that never expire, in the audit log.
const neverText = "never"

// diff returns the changed fields of a token, without secrets. Fields of the zero
// Token are empty.
func diff(before, after store.Token) map[string]store.Change {
	found := make(map[string]store.Change)
	was, is := auditFields(before), auditFields(after)
	for field, value := range is {
		if old := was[field]; old != value {
			found[field] = store.Change{Before: old, After: value}
		}
	}
	return found
}

// auditFields returns a record's fields as text; none for the zero Token.
func auditFields(t store.Token) map[string]string {
	if t.ID == "" {
		return nil
	}
	expires := neverText
	if !t.Expires.IsZero() {
		expires = timeText(t.Expires)
	}
	return map[string]string{
		"name":          t.Name,
		"purpose":       t.Purpose,
		"expires":       expires,
		"readOnly":      strconv.FormatBool(t.ReadOnly),
		"networks":      joinNetworks(t.Networks),
		"rate":          rateText(t.Rate),
		"type":          t.Kind.String(),
		"owner":         t.Owner.Name,
		"ownerKey":      t.Owner.Key,
		"state":         t.State.String(),
		"previousUntil": timeText(t.Previous.Until),
	}
}

// timeText returns a time in RFC 3339, or "" for the zero time.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// rateText returns a rate in words, or "" for none.
func rateText(r store.Rate) string {
	if r == (store.Rate{}) {
		return ""
	}
	return configRate(r).String()
}

func joinNetworks(networks []netip.Prefix) string {
	texts := make([]string, len(networks))
	for i, n := range networks {
		texts[i] = n.String()
	}
	return strings.Join(texts, " ")
}
