package manage

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
)

// AuditQuery selects records of the audit log. The zero AuditQuery selects all.
type AuditQuery struct {
	Actor       string // part of it, compared without case; empty: any
	Action      string // the whole, such as "token.create"; empty: any
	TokenID     string // empty: any
	Owner       string // compared without case; empty: any
	Outcome     string // "done" or "refused"; empty: both
	From, Until time.Time
	Before      uint64 // the Next of the page before; 0: from the newest
	Limit       int    // at most MaxPage; 0: DefaultPage
}

// AuditPage is a page of the audit log, newest first.
type AuditPage struct {
	Records []store.Audit
	// Next is the Before of the next page; 0: this was the last. A page may hold
	// fewer records than asked for and still have a next one: looking for few
	// among very many takes several.
	Next uint64
}

// maxAuditScan is how many records one page of the audit log looks at.
const maxAuditScan = 20_000

// maxReorder is by how much, at the most, a record's time is before that of one
// that was written before it: a record has the time at which its operation began.
const maxReorder = time.Hour

// AuditLog returns a page of the audit log. It fails with ErrInvalid or
// ErrForbidden.
func (m *Manager) AuditLog(ctx context.Context, c Caller, q AuditQuery) (found AuditPage, err error) {
	err = m.perform(ctx, c, auditAction, func(op *operation) error {
		limit, err := pageLimit(q.Limit)
		if err != nil {
			return err
		}
		if q.Action != "" && !slices.Contains(Actions(), q.Action) {
			return invalid(FieldAction, "There is no such action. There are %s.", strings.Join(Actions(), ", "))
		}
		before := q.Before
		for looked := 0; looked < maxAuditScan; looked += MaxPage {
			records, err := m.Tokens.AuditLog(ctx, before, MaxPage)
			if err != nil {
				return err
			}
			for _, r := range records {
				if !q.From.IsZero() && r.Time.Before(q.From.Add(-maxReorder)) {
					return nil // older ones follow
				}
				if !q.selects(r) {
					continue
				}
				found.Records = append(found.Records, r)
				if len(found.Records) == limit {
					found.Next = r.Sequence
					return nil
				}
			}
			if len(records) < MaxPage {
				return nil
			}
			before = records[len(records)-1].Sequence
		}
		found.Next = before
		return nil
	})
	return found, err
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

// ListSettings returns the rules as the configuration has them. It fails with
// ErrForbidden.
func (m *Manager) ListSettings(ctx context.Context, c Caller) (found []policy.Setting, err error) {
	err = m.perform(ctx, c, settingsAction, func(op *operation) error {
		found = op.settings.Access.Settings()
		return nil
	})
	return found, err
}

// PasswordUser is a user who still uses passwords on REST.
type PasswordUser struct {
	User string
	Uses []store.PasswordUse // by client and address, whichever came last being the first; at least one
}

// Requests returns how many requests there were.
func (u PasswordUser) Requests() (n uint64) {
	for _, use := range u.Uses {
		n += use.Requests()
	}
	return n
}

// Last returns when the last request was.
func (u PasswordUser) Last() time.Time { return u.Uses[0].Last }

// Passwords returns who still uses passwords on REST, whoever came last being the
// first: only users whom the directory knows. It fails with ErrForbidden.
func (m *Manager) Passwords(ctx context.Context, c Caller) (found []PasswordUser, err error) {
	err = m.perform(ctx, c, passwordAction, func(op *operation) error {
		uses, err := m.Tokens.PasswordUses(ctx)
		found = groupByUser(uses)
		return err
	})
	return found, err
}

// groupByUser divides uses, which come user by user, by their users.
func groupByUser(uses []store.PasswordUse) (users []PasswordUser) {
	for len(uses) > 0 {
		n := slices.IndexFunc(uses, func(u store.PasswordUse) bool { return u.User != uses[0].User })
		if n < 0 {
			n = len(uses)
		}
		slices.SortFunc(uses[:n], func(a, b store.PasswordUse) int { return b.Last.Compare(a.Last) })
		users, uses = append(users, PasswordUser{uses[0].User, uses[:n]}), uses[n:]
	}
	slices.SortFunc(users, func(a, b PasswordUser) int { return cmp.Or(b.Last().Compare(a.Last()), cmp.Compare(a.User, b.User)) })
	return users
}

// UnknownPasswords is the word by which totals count passwords whose user is not on
// record.
const UnknownPasswords = authz.PasswordUnknownUser

// IsRefusal reports whether a word of the totals is the reason of a refusal.
func IsRefusal(word string) bool {
	return word != authz.TokenAllowed.String() && word != authz.Password.String() && word != UnknownPasswords
}

// TotalDays is of how many days there are totals, today's included.
const TotalDays = 30

// Totals returns how many requests were decided on each day, by reason; days
// without any are left out. It fails with ErrForbidden.
func (m *Manager) Totals(ctx context.Context, c Caller) (found []store.DayTotals, err error) {
	err = m.perform(ctx, c, totalsAction, func(op *operation) error {
		found, err = m.Tokens.Totals(ctx, store.DayOf(op.now)-TotalDays+1)
		return err
	})
	return found, err
}
