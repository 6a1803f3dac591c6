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

// Me is the caller's identity and rights. Package web adds the fields without a name
// in JSON.
type Me struct {
	Name          string        `json:"name"`
	DisplayName   string        `json:"displayName"` // empty unless the caller is a user
	From          string        `json:"from"`        // the client's address, or "admin socket"
	Administrator bool          `json:"administrator"`
	MayUse        bool          `json:"mayUse"` // may use tokens; false unless the caller is a user
	Terms         *policy.Terms `json:"-"`      // of tokens for themselves; nil: none may be created, or there are no limits
	MayCreate     bool          `json:"mayCreate"`
	ForOthers     bool          `json:"createsForOthers"` // may create tokens for others
	InForce       int           `json:"inForce"`          // own tokens
	MaxPerUser    int           `json:"maxPerUser"`
	MaxOverlap    time.Duration `json:"-"`
}

// Me returns the caller's identity and rights. It fails with ErrForbidden.
func (m *Manager) Me(ctx context.Context, c Caller) (me Me, err error) {
	err = m.perform(ctx, c, meAction, "", func(op *operation) error {
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
		owned, err := m.Tokens.Live(ctx, c.user.Name)
		me.InForce = len(op.inForce(owned, mine))
		return err
	})
	return me, err
}

// Explain returns how a request would be decided, and the result of each check. The
// request has no effects. With an id, it is decided as if sent with that token;
// otherwise with the credential that it holds. Only administrators may explain
// requests with tokens of others. Explain fails with ErrForbidden or ErrNotFound.
func (m *Manager) Explain(ctx context.Context, c Caller, r *authz.Request, id string, v authz.View) (d authz.Decision, checks []authz.CheckResult, err error) {
	err = m.perform(ctx, c, explainAction, id, func(op *operation) error {
		if id != "" {
			t, err := op.get(ctx, id)
			if err != nil {
				return err
			}
			d, checks = authz.ExplainFor(r, t.ID, v)
			return nil
		}
		d, checks = authz.Explain(r, v)
		if op.administrator {
			return nil
		}
		// Tokens of others do not exist for the caller.
		_, err := op.get(ctx, d.TokenID.String())
		if err != nil && !isRefusal(err) || errors.Is(err, ErrUnavailable) {
			d, checks = authz.Decision{}, nil
			return err
		}
		if err != nil || !d.Reason.SecretVerified() {
			d, checks = authz.Decision{}, nil
			return refused(Forbidden, "You may try requests with your own API tokens only.")
		}
		return nil
	})
	return d, checks, err
}

// ListSettings returns the settings in force. It fails with ErrForbidden.
func (m *Manager) ListSettings(ctx context.Context, c Caller) ([]policy.Setting, error) {
	return read(ctx, m, c, settingsAction, "", func(op *operation) ([]policy.Setting, error) {
		return op.settings.Access.Settings(), nil
	})
}

// PasswordUser is a user who still uses passwords on the REST API.
type PasswordUser struct {
	User string
	Uses []store.PasswordUse // by client and address, latest first; at least one
}

// Requests returns the number of requests.
func (u PasswordUser) Requests() (n uint64) {
	for _, use := range u.Uses {
		n += use.Requests()
	}
	return n
}

// Last returns the time of the last request.
func (u PasswordUser) Last() time.Time { return u.Uses[0].Last }

// Passwords returns the users who still use passwords on the REST API, latest first.
// Users unknown to the directory are left out. It fails with ErrForbidden.
func (m *Manager) Passwords(ctx context.Context, c Caller) ([]PasswordUser, error) {
	return read(ctx, m, c, passwordAction, "", func(*operation) ([]PasswordUser, error) {
		uses, err := m.Tokens.PasswordUses(ctx)
		return groupByUser(uses), err
	})
}

// groupByUser groups uses, which are sorted by user.
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

// UnknownPasswords is the totals' word for passwords of unknown users.
const UnknownPasswords = authz.PasswordUnknownUser

// IsDenialReason reports whether a word of the totals is the reason of a denied request.
func IsDenialReason(word string) bool {
	return word != authz.TokenAllowed.String() && word != authz.Password.String() && word != UnknownPasswords
}

// TotalDays is for how many days there are totals, today included.
const TotalDays = 30

// Totals returns the number of requests per day and reason. Days without requests
// are left out. It fails with ErrForbidden.
func (m *Manager) Totals(ctx context.Context, c Caller) ([]store.DayTotals, error) {
	return read(ctx, m, c, totalsAction, "", func(op *operation) ([]store.DayTotals, error) {
		return m.Tokens.Totals(ctx, store.DayOf(op.now)-TotalDays+1)
	})
}
