package manage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// action is something that a caller wants to do.
type action struct {
	name      string // as the audit log says it
	changes   bool   // it changes something, so that each refusal is recorded
	unmetered bool   // it is bounded by itself, so that only refused attempts count as writes
	audience  audience
}

// audience may do something at all.
type audience uint8

const (
	administrators audience = iota // the zero who
	everyone                       // with an account; with their own tokens
	users                          // with an account, and nobody else
)

var (
	createAction   = newChange("token.create", everyone)
	changeAction   = newChange("token.change", everyone)
	rotateAction   = newChange("token.rotate", everyone)
	revokeAction   = newChange("token.revoke", everyone).withoutBudget() // once for each token that was created
	approveAction  = newChange("token.approve", administrators)
	disableAction  = newChange("token.disable", administrators)
	enableAction   = newChange("token.enable", administrators)
	syncAction     = newChange("token.owner", administrators)
	pruneAction    = newChange("token.prune", administrators)
	getAction      = newRead("token.get", everyone)
	ownAction      = newRead("token.own", users)
	listAction     = newRead("token.list", administrators)
	auditAction    = newRead("audit.list", administrators)
	settingsAction = newRead("rules.list", administrators)
	passwordAction = newRead("passwords.list", administrators)
	totalsAction   = newRead("totals.list", administrators)
	meAction       = newRead("me", everyone)
	explainAction  = newRead("request.explain", everyone)
)

// actions are all of them.
var actions []string

func newChange(name string, by audience) action {
	actions = append(actions, name)
	return action{name: name, changes: true, audience: by}
}

// withoutBudget takes what succeeds out of the callers' budgets.
func (a action) withoutBudget() action {
	a.unmetered = true
	return a
}

func newRead(name string, by audience) action {
	actions = append(actions, name)
	return action{name: name, audience: by}
}

// Actions returns the words for actions in the audit log.
func Actions() []string { return slices.Sorted(slices.Values(actions)) }

// subject is the token that an action is about, as far as it is known. It goes
// into the audit log, so it holds nothing that has not been checked.
type subject struct {
	id, owner string
}

// operation is one attempt of a caller at an action. It is the only way to
// change the store. It shows a caller no token that is not theirs, unless they are
// an administrator, and writes each change's audit record with it.
type operation struct {
	manager       *Manager
	caller        Caller
	action        action
	subject       subject
	settings      Settings
	administrator bool
	now           time.Time
}

// recordTimeout bounds the writing of a refusal, which goes on when the caller
// has gone.
const recordTimeout = 5 * time.Second

// perform is the one place that every operation goes through: it checks
// whether the caller may, lets do make the attempt, and records a refusal. An
// attempt whose refusal cannot be recorded fails. Each attempt at a change, and each
// other attempt that leaves a record, counts against the caller's budget.
func (m *Manager) perform(ctx context.Context, c Caller, a action, do func(*operation) error) error {
	return m.performOn(ctx, c, a, "", do)
}

// performOn is perform for an action on the token with an id, which its record
// names, whatever comes of it.
func (m *Manager) performOn(ctx context.Context, c Caller, a action, id string, do func(*operation) error) error {
	op := &operation{manager: m, caller: c, action: a, settings: m.Settings(), now: m.Now().UTC()}
	if token.ValidID(id) {
		op.subject.id = id
	}
	err := op.authorize()
	counted := err == nil && a.changes && !a.unmetered
	if counted {
		err = op.spendBudget()
	}
	if err == nil {
		err = do(op)
	}
	refusal, isRefusal := errors.AsType[*Error](err)
	switch {
	case err == nil:
		return nil
	case !isRefusal:
		return fmt.Errorf("%s: %w", a.name, err)
	case refusal.Code == Unavailable && c.kind == kindOperator:
		return &Error{Code: Unavailable, Message: refusal.Error()} // who may know the cause
	case !a.changes && refusal.Code != Forbidden, refusal.Code == Unavailable, refusal.Code == TooMany:
		return refusal
	}
	if !counted {
		if err := op.spendBudget(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if err := m.Tokens.AppendAudit(ctx, op.refusedRecord(refusal)); err != nil {
		return fmt.Errorf("record that %s was refused: %w", a.name, err)
	}
	return refusal
}

func (op *operation) isAdministrator() (bool, error) {
	switch op.caller.kind {
	case kindOperator, kindSystem:
		return true, nil
	case kindManagementToken:
		t := op.caller.token
		if expired(t, op.now) || t.State != store.Active {
			return false, nil
		}
		has, err := op.creatorsAreAdmins(t)
		if err != nil {
			return false, unavailable(err)
		}
		return has, nil
	case kindUser:
		return op.settings.Access.IsAdmin(op.groups()), nil
	}
	return false, nil
}

// authorize says whether the caller may try the action at all.
func (op *operation) authorize() (err error) {
	c := op.caller
	if op.administrator, err = op.isAdministrator(); err != nil {
		return err
	}
	switch {
	case c.kind == kindNone:
		return refused(Forbidden, "Log in, to manage API tokens.")
	case op.action.audience == users && c.kind != kindUser:
		return refused(Forbidden, "Only somebody with an account has API tokens of their own.")
	case c.kind == kindManagementToken && c.token.ReadOnly && op.action.changes:
		return refused(Forbidden, "This management token is read-only.")
	case op.administrator, op.action.audience != administrators && c.kind == kindUser:
		return nil
	case c.kind == kindManagementToken:
		return refused(Forbidden, "This management token is over, or whoever created it or was told its value is no administrator any more. An administrator has to create another.")
	}
	return op.orUnavailable(refused(Forbidden, "Only administrators may do this (access.admin)."))
}

// groups are the caller's, if the caller is a person.
func (op *operation) groups() policy.Member { return groups(op.caller.user.Groups) }

// checkAccess refuses a token that is not the caller's as if there were none.
func (op *operation) checkAccess(t store.Token) error {
	if op.administrator || op.caller.owns(t) {
		return nil
	}
	return errNoToken()
}

// checkEscalation refuses management tokens the making of others, and of themselves.
func (op *operation) checkEscalation(kind store.Kind) error {
	if kind == store.Management && op.caller.kind == kindManagementToken {
		return refused(Forbidden, "A management token cannot create, rotate or extend management tokens. An administrator has to log in for that.")
	}
	return nil
}

// get reads a token of the caller's, or any for an administrator, by its id or
// its running number.
func (op *operation) get(ctx context.Context, id string) (store.Token, error) {
	t, err := op.find(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Token{}, op.orUnavailable(errNoToken())
	}
	if err != nil {
		return store.Token{}, op.translate(err)
	}
	if err := op.checkAccess(t); err != nil {
		return store.Token{}, op.orUnavailable(err)
	}
	op.subject = subject{t.ID, t.Owner.Name}
	return t, nil
}

func (op *operation) find(ctx context.Context, id string) (store.Token, error) {
	if number, ok := parseNumber(id); ok {
		page, err := op.manager.Tokens.List(ctx, "", number-1, 1)
		if err != nil {
			return store.Token{}, err
		}
		if len(page.Tokens) == 0 || page.Tokens[0].Number != number {
			return store.Token{}, store.ErrNotFound
		}
		return page.Tokens[0], nil
	}
	if err := checkID(id); err != nil {
		return store.Token{}, err
	}
	return op.manager.Tokens.Get(ctx, id)
}

// parseNumber reads a running number. None is as long as an id, which may have
// nothing but digits, too.
func parseNumber(text string) (number uint64, ok bool) {
	const least = 12
	number, err := strconv.ParseUint(text, 10, 64)
	return number, err == nil && number > 0 && len(text) < least
}

// create adds a token, if admit has nothing against it beside the owner's
// tokens.
func (op *operation) create(ctx context.Context, t store.Token, admit func(owned []store.Token) error) (store.Token, error) {
	created, err := op.manager.Tokens.Create(ctx, t, func(owned []store.Token) (store.Audit, error) {
		if err := admit(owned); err != nil {
			return store.Audit{}, err
		}
		return op.doneRecord(store.Token{}, t), nil
	})
	return created, op.translate(err)
}

// update changes a token. It looks first whether the caller may see it: of a
// revoked one the store would say so to anybody.
func (op *operation) update(ctx context.Context, id string, change func(*store.Token) error) (store.Token, error) {
	seen, err := op.get(ctx, id)
	if err != nil {
		return store.Token{}, err
	}
	updated, err := op.manager.Tokens.Update(ctx, seen.ID, func(t *store.Token) (store.Audit, error) {
		before := *t
		if err := change(t); err != nil {
			return store.Audit{}, err
		}
		return op.doneRecord(before, *t), nil
	})
	return updated, op.translate(err)
}

// translate makes refusals of the store's errors that are ones.
func (op *operation) translate(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return errNoToken()
	case errors.Is(err, store.ErrRevoked):
		return refused(Revoked, "This token has been revoked, which is final. Create another.")
	case errors.Is(err, store.ErrInvalid):
		return refused(Invalid, "%s", sentence(err))
	}
	return err
}

func errNoToken() error { return refused(NotFound, "There is no token with this id.") }
