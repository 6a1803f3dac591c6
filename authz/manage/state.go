package manage

import (
	"context"
	"errors"

	"github.com/tokengate/tokengate/store"
)

// Revoke ends a token for ever. It fails with ErrNotFound, with ErrRevoked if
// it was revoked before, with ErrInvalid or ErrForbidden.
func (m *Manager) Revoke(ctx context.Context, c Caller, id string) error {
	return m.performOn(ctx, c, revokeAction, id, func(op *operation) error {
		_, err := op.update(ctx, id, op.revoke)
		return err
	})
}

func (op *operation) revoke(t *store.Token) error {
	t.State, t.Revoked = store.Revoked, op.now
	return nil
}

// RevokeAll ends all of a user's tokens for ever: the caller's own if owner is
// empty, which they must be for everyone but administrators. Each of them ends
// on its own: after an error some may have ended, and the next call ends the
// others. It fails with ErrNotFound where somebody else than the caller has never had
// a token, since the name is likely to be mistyped, with ErrInvalid or ErrForbidden.
func (m *Manager) RevokeAll(ctx context.Context, c Caller, owner string) error {
	return m.perform(ctx, c, revokeAction, func(op *operation) error {
		mine := op.caller.kind == kindUser && (owner == "" || store.FoldOwner(owner) == store.FoldOwner(op.caller.user.Name))
		switch {
		case mine:
			owner = op.caller.user.Name
		case !op.administrator:
			return refused(Forbidden, "Only administrators may revoke other people's API tokens (access.admin).")
		case owner == "":
			return invalid(FieldOwner, "Say whose tokens are to be revoked.")
		}
		if err := checkOwner(owner); err != nil {
			return err
		}
		op.subject.owner = owner
		found := mine
		err := op.eachOwned(ctx, owner, func(owned []store.Token) error {
			found = found || len(owned) > 0
			for _, t := range owned {
				if t.State == store.Revoked || mine && !op.caller.owns(t) {
					continue
				}
				_, err := op.update(ctx, t.ID, op.revoke)
				if err != nil && !errors.Is(err, ErrRevoked) && !errors.Is(err, ErrNotFound) {
					return err
				}
			}
			return nil
		})
		if err == nil && !found {
			err = refused(NotFound, "%s has no API tokens, and had none. Look whether this is the user name, as Jira spells it.", owner)
		}
		return err
	})
}

// Approve lets a pending token come into force. Nobody approves what they
// created or own, not by a management token of theirs either. It fails with
// ErrNotFound, ErrRevoked, ErrState or ErrForbidden.
func (m *Manager) Approve(ctx context.Context, c Caller, id string) error {
	return m.performOn(ctx, c, approveAction, id, func(op *operation) error {
		_, err := op.update(ctx, id, func(t *store.Token) error {
			switch {
			case op.caller.created(*t), op.caller.actsFor(t.Owner):
				return refused(Forbidden, "Somebody else has to approve this token: you created it, or it is yours.")
			case expired(*t, op.now):
				return refused(BadState, "This token expired at %s, before it was approved. Its owner has to create another.", timeText(t.Expires))
			case t.State != store.Pending:
				return refused(BadState, "This token is %s; only a pending one is approved.", t.State)
			}
			t.State = store.Active
			return op.checkExposure(*t)
		})
		return err
	})
}

// Disable switches an active token off. It fails with ErrNotFound, ErrRevoked,
// ErrState or ErrForbidden.
func (m *Manager) Disable(ctx context.Context, c Caller, id string) error {
	return m.performOn(ctx, c, disableAction, id, func(op *operation) error {
		return op.setState(ctx, id, store.Active, store.Disabled)
	})
}

// Enable switches a disabled token on again. It fails with ErrNotFound,
// ErrRevoked, ErrState or ErrForbidden.
func (m *Manager) Enable(ctx context.Context, c Caller, id string) error {
	return m.performOn(ctx, c, enableAction, id, func(op *operation) error {
		return op.setState(ctx, id, store.Disabled, store.Active)
	})
}

func (op *operation) setState(ctx context.Context, id string, from, to store.State) error {
	_, err := op.update(ctx, id, func(t *store.Token) error {
		if t.State != from {
			return refused(BadState, "This token is %s; only one that is %s can be made %s.", t.State, from, to)
		}
		if to == store.Active {
			if err := op.checkEscalation(t.Kind); err != nil {
				return err
			}
			if err := op.checkExposure(*t); err != nil {
				return err
			}
		}
		t.State = to
		return nil
	})
	return err
}
