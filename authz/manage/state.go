package manage

import (
	"context"
	"errors"

	"github.com/tokengate/tokengate/store"
)

// Revoke ends a token permanently. It fails with ErrNotFound, with ErrRevoked if it
// was already revoked, with ErrInvalid or ErrForbidden.
func (m *Manager) Revoke(ctx context.Context, c Caller, id string) error {
	return m.perform(ctx, c, revokeAction, id, func(op *operation) error {
		_, err := op.update(ctx, id, op.revoke)
		return err
	})
}

func (op *operation) revoke(t *store.Token, _ store.LiveFunc) error {
	t.State, t.Revoked = store.Revoked, op.now
	return nil
}

// RevokeAll revokes all of a user's tokens: the caller's own if owner is empty. Only
// administrators may name another owner. The tokens are revoked one by one: after an
// error some may be revoked, and the next call revokes the rest. If a user other
// than the caller never had a token, it fails with ErrNotFound, since the name is
// probably mistyped; otherwise with ErrInvalid or ErrForbidden.
func (m *Manager) RevokeAll(ctx context.Context, c Caller, owner string) error {
	return m.perform(ctx, c, revokeAction, "", func(op *operation) error {
		mine := op.caller.kind == kindUser && (owner == "" || store.FoldOwner(owner) == store.FoldOwner(op.caller.user.Name))
		switch {
		case mine:
			owner = op.caller.user.Name
		case !op.administrator:
			return refused(Forbidden, "Only administrators may revoke other users' API tokens (access.admin).")
		case owner == "":
			return invalid(FieldOwner, "Name the user whose tokens to revoke.")
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
			err = refused(NotFound, "%s has never had an API token. Check the spelling of the user name.", owner)
		}
		return err
	})
}

// Approve activates a pending token. Nobody approves tokens that they created or
// own, not with a management token either. It fails with ErrNotFound, ErrRevoked,
// ErrState or ErrForbidden.
func (m *Manager) Approve(ctx context.Context, c Caller, id string) error {
	return m.perform(ctx, c, approveAction, id, func(op *operation) error {
		_, err := op.update(ctx, id, func(t *store.Token, _ store.LiveFunc) error {
			switch {
			case op.caller.created(*t), op.caller.actsFor(t.Owner):
				return refused(Forbidden, "Another administrator has to approve this token, because you created or own it.")
			case t.Expired(op.now):
				return refused(BadState, "This token expired at %s, before it was approved. Its owner has to create another.", timeText(t.Expires))
			case t.State != store.Pending:
				return refused(BadState, "This token is %s; only pending tokens can be approved.", t.State)
			}
			t.State = store.Active
			return op.checkExposure(*t)
		})
		return err
	})
}

// Disable disables an active token. It fails with ErrNotFound, ErrRevoked, ErrState
// or ErrForbidden.
func (m *Manager) Disable(ctx context.Context, c Caller, id string) error {
	return m.perform(ctx, c, disableAction, id, func(op *operation) error {
		return op.setState(ctx, id, store.Active, store.Disabled)
	})
}

// Enable enables a disabled token. It fails with ErrNotFound, ErrRevoked, ErrState
// or ErrForbidden.
func (m *Manager) Enable(ctx context.Context, c Caller, id string) error {
	return m.perform(ctx, c, enableAction, id, func(op *operation) error {
		return op.setState(ctx, id, store.Disabled, store.Active)
	})
}

func (op *operation) setState(ctx context.Context, id string, from, to store.State) error {
	_, err := op.update(ctx, id, func(t *store.Token, _ store.LiveFunc) error {
		if t.State != from {
			return refused(BadState, "This token is %s; only tokens that are %s can be made %s.", t.State, from, to)
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
