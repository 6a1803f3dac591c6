package manage

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
)

// Me is what a caller is, and may do.
type Me struct {
	Name          string
	DisplayName   string // empty unless the caller is a person
	From          string // the client's address, or where else the caller came in
	Administrator bool
	MayUse        bool          // tokens of theirs are good; false unless the caller is a person
	Terms         *policy.Terms // of tokens they create for themselves; nil: none may be, or no rule binds
	MayCreate     bool
	ForOthers     bool // a rule, or being an administrator, lets them create tokens for others
	InForce       int  // tokens of theirs
	MaxPerUser    int
	MaxOverlap    time.Duration
}

// Me tells a caller who they are, and what they may do. It fails with
// ErrForbidden.
func (m *Manager) Me(ctx context.Context, c Caller) (me Me, err error) {
	err = m.perform(ctx, c, meAction, func(op *operation) error {
		me = Me{
			Name:          c.name,
			From:          c.from,
			Administrator: op.administrator,
			ForOthers:     op.administrator && !c.token.ReadOnly,
			MayCreate:     op.administrator && !c.token.ReadOnly,
			MaxPerUser:    op.settings.MaxPerUser,
			MaxOverlap:    op.settings.MaxOverlap,
		}
		if c.kind != kindUser {
			return nil
		}
		if !c.user.Groups.Known {
			return unavailable(errGroups)
		}
		access := op.settings.Access
		me.DisplayName = c.user.DisplayName
		me.MayUse = access.MayUse(op.groups())
		me.ForOthers = op.administrator || access.CreatesForOthers(op.groups())
		ts, err := op.termsOf()
		me.Terms, me.MayCreate = ts, err == nil && me.MayUse
		mine := store.Token{Owner: store.Owner{Name: c.user.Name, Key: c.user.Key}}
		owned, err := op.liveTokens(ctx, mine)
		me.InForce = len(op.inForce(owned, mine))
		return err
	})
	return me, err
}

// Explain tells how a request would be decided, and what each rule says of it.
// Nothing comes of the request. With an id it is as if the request came with
// that token; otherwise it is with the credential that it holds. Who is no
// administrator may ask about their own tokens only. Explain fails with
// ErrForbidden or ErrNotFound.
func (m *Manager) Explain(ctx context.Context, c Caller, r *authz.Request, id string, v authz.View) (d authz.Decision, verdicts []authz.CheckResult, err error) {
	err = m.performOn(ctx, c, explainAction, id, func(op *operation) error {
		if id != "" {
			t, err := op.get(ctx, id)
			if err != nil {
				return err
			}
			d, verdicts = authz.ExplainFor(r, t.ID, v)
			return nil
		}
		d, verdicts = authz.Explain(r, v)
		if op.administrator {
			return nil
		}
		// What is not the caller's own looks as if it were not there.
		_, err := op.get(ctx, d.TokenID.String())
		if err != nil && !isRefusal(err) || errors.Is(err, ErrUnavailable) {
			d, verdicts = authz.Decision{}, nil
			return err
		}
		if err != nil || !d.Reason.SecretVerified() {
			d, verdicts = authz.Decision{}, nil
			return refused(Forbidden, "You may try requests with your own API tokens only.")
		}
		return nil
	})
	return d, verdicts, err
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
