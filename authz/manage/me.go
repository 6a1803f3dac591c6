package manage

import (
	"context"
	"time"

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
