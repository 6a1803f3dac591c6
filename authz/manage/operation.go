package manage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tokengate/tokengate/store"
)

// action is something that a caller wants to do.
type action struct {
	name    string // as the audit log says it
	changes bool   // it changes something, so that each refusal is recorded
}

var (
	createAction  = action{"token.create", true}
	rotateAction  = action{"token.rotate", true}
	revokeAction  = action{"token.revoke", true}
	getAction     = action{"token.get", false}
	listAction    = action{"token.list", false}
	explainAction = action{"request.explain", false}
)

// subject is the token that an action is about, as far as it is known. It goes
// into the audit log, so it holds nothing that has not been checked.
type subject struct {
	id, owner string
}

// operation is one attempt of a caller at an action. It is the only way to
// change the store, and writes each change's audit record with it.
type operation struct {
	manager *Manager
	caller  Caller
	action  action
	subject subject
	now     time.Time
}

// recordTime bounds the writing of a refusal, which goes on when the caller
// has gone.
const recordTime = 5 * time.Second

// perform is the one place that every operation goes through: it checks
// whether the caller may, lets do make the attempt, and records a refusal. An
// attempt whose refusal cannot be recorded fails.
func (m *Manager) perform(ctx context.Context, c Caller, a action, do func(*operation) error) error {
	op := &operation{manager: m, caller: c, action: a, now: m.Now().UTC()}
	err := authorize(c)
	if err == nil {
		err = do(op)
	}
	refusal, isRefusal := errors.AsType[*Error](err)
	switch {
	case err == nil:
		return nil
	case !isRefusal:
		return fmt.Errorf("%s: %w", a.name, err)
	case !a.changes && refusal.Code != Forbidden:
		return refusal
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	if err := m.Store.AppendAudit(ctx, op.refusal(refusal)); err != nil {
		return fmt.Errorf("record that %s was refused: %w", a.name, err)
	}
	return refusal
}

// authorize says whether the caller may do anything: only administrators may.
func authorize(c Caller) error {
	if c.Name == "" || !c.Administrator {
		return refused(Forbidden, "Only administrators may manage API tokens here.")
	}
	return nil
}

// create adds a token, if admit has nothing against it beside the owner's
// tokens.
func (op *operation) create(ctx context.Context, t store.Token, admit func(owned []store.Token) error) (store.Token, error) {
	created, err := op.manager.Store.Create(ctx, t, func(owned []store.Token) (store.Audit, error) {
		if err := admit(owned); err != nil {
			return store.Audit{}, err
		}
		return op.done(store.Token{}, t), nil
	})
	return created, op.translate(err)
}

// update changes a token.
func (op *operation) update(ctx context.Context, id string, change func(*store.Token) error) (store.Token, error) {
	updated, err := op.manager.Store.Update(ctx, id, func(t *store.Token) (store.Audit, error) {
		op.subject.owner = t.Owner.Name
		before := *t
		if err := change(t); err != nil {
			return store.Audit{}, err
		}
		return op.done(before, *t), nil
	})
	return updated, op.translate(err)
}

// get reads a token.
func (op *operation) get(ctx context.Context, id string) (store.Token, error) {
	t, err := op.manager.Store.Get(ctx, id)
	return t, op.translate(err)
}

// translate makes refusals of the store's errors that are ones.
func (op *operation) translate(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return errUnknown()
	case errors.Is(err, store.ErrRevoked):
		return refused(Revoked, "This token has been revoked, which is final. Create another.")
	case errors.Is(err, store.ErrInvalid):
		return refused(Invalid, "%s", sentence(err))
	}
	return err
}

func errUnknown() error { return refused(NotFound, "There is no token with this id.") }

// done is the audit record of a change.
func (op *operation) done(before, after store.Token) store.Audit {
	a := op.record("done")
	a.TokenID, a.Owner = after.ID, after.Owner.Name
	a.Changes = changes(store.Normalize(before), store.Normalize(after))
	return a
}

// refusal is the audit record of a refused attempt.
func (op *operation) refusal(e *Error) store.Audit {
	a := op.record("refused")
	a.TokenID, a.Owner = op.subject.id, op.subject.owner
	a.Reason = string(e.Code)
	if e.Field != "" {
		a.Reason += ": " + string(e.Field)
	}
	return a
}

func (op *operation) record(outcome string) store.Audit {
	actor := op.caller.Name
	if actor == "" {
		actor = "unknown"
	}
	return store.Audit{Time: op.now, Actor: actor, From: op.caller.From, Action: op.action.name, Outcome: outcome}
}
