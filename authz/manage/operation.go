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
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/backup"
)

// action is an operation as the audit log names it.
type action struct {
	name      string // in the audit log
	changes   bool   // every refusal is recorded
	unmetered bool   // only refused attempts count as writes
	audience  audience
}

// audience is who may try an action at all.
type audience uint8

const (
	administrators audience = iota // the zero audience
	everyone                       // with an account, for their own tokens
	users                          // with an account, excluding the socket and management tokens
)

var (
	createAction   = newChange("token.create", everyone)
	changeAction   = newChange("token.change", everyone)
	rotateAction   = newChange("token.rotate", everyone)
	revokeAction   = newChange("token.revoke", everyone).withoutBudget() // at most once per token created
	approveAction  = newChange("token.approve", administrators)
	disableAction  = newChange("token.disable", administrators)
	enableAction   = newChange("token.enable", administrators)
	syncAction     = newChange("token.owner", administrators)
	pruneAction    = newChange("token.prune", administrators)
	getAction      = newRead("token.get", everyone)
	ownAction      = newRead("token.own", users)
	listAction     = newRead("token.list", administrators)
	auditAction    = newRead("audit.list", administrators)
	settingsAction = newRead("settings.list", administrators)
	passwordAction = newRead("passwords.list", administrators)
	totalsAction   = newRead("totals.list", administrators)
	meAction       = newRead("me", everyone)
	explainAction  = newRead("request.explain", everyone)

	upstreamListAction       = newRead("upstream.list", administrators)
	upstreamSetAction        = newChange("upstream.set", administrators)
	upstreamCheckAction      = newChange(upstream.CheckAction, administrators).withoutBudget()      // writes at most a changed state
	upstreamDisconnectAction = newChange(upstream.DisconnectAction, administrators).withoutBudget() // at most once per credential set
	upstreamPurgeAction      = newChange("upstream.purge", administrators)
	connectionAction         = newRead("connection", users)
	connectAction            = newChange("upstream.connect", users)
	disconnectAction         = action{name: upstream.DisconnectAction, changes: true, unmetered: true, audience: users}
	sealRotateAction         = newChange("seal.rotate", administrators)
	backupAction             = newChange("store.backup", administrators)
)

// actions are the names of all actions, first those of tokengate itself and of commands without a server.
var actions = []string{upstream.RenewAction, upstream.DeleteAction, backup.CopyAction, backup.RestoreAction}

func newChange(name string, by audience) action {
	actions = append(actions, name)
	return action{name: name, changes: true, audience: by}
}

// withoutBudget exempts successful attempts from the write budget.
func (a action) withoutBudget() action {
	a.unmetered = true
	return a
}

func newRead(name string, by audience) action {
	actions = append(actions, name)
	return action{name: name, audience: by}
}

// Actions returns the names of the actions in the audit log, sorted.
func Actions() []string { return slices.Sorted(slices.Values(actions)) }

// subject is the token that an action is about, as far as known. It goes into the
// audit log, so it holds only checked values.
type subject struct {
	id, owner string
}

// operation is one attempt of a caller at an action, and the only way to change the
// store. It shows a caller other owners' tokens only if the caller is an
// administrator, and writes an audit record with each change.
type operation struct {
	manager       *Manager
	caller        Caller
	action        action
	subject       subject
	settings      Settings
	administrator bool
	now           time.Time
}

// recordTimeout bounds the writing of a refusal's record, which continues when the
// caller disconnects.
const recordTimeout = 5 * time.Second

// perform runs an operation on the token with the given id, or on none if the id is
// empty: it checks whether the caller may try it, runs do, and records a refusal
// under the id. If the record of a refusal cannot be written, it returns that error.
// Every attempt at a change, and every other attempt that leaves a record, counts
// against the caller's write budget.
func (m *Manager) perform(ctx context.Context, c Caller, a action, id string, do func(*operation) error) error {
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
		return &Error{Code: Unavailable, Message: refusal.Error()} // operators may see the cause
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

// read performs an operation that returns a result.
func read[T any](ctx context.Context, m *Manager, c Caller, a action, id string, do func(*operation) (T, error)) (found T, err error) {
	err = m.perform(ctx, c, a, id, func(op *operation) (err error) {
		found, err = do(op)
		return err
	})
	return found, err
}

func (op *operation) isAdministrator() (bool, error) {
	switch op.caller.kind {
	case kindOperator, kindSystem:
		return true, nil
	case kindManagementToken:
		t := op.caller.token
		if t.Expired(op.now) || t.State != store.Active {
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

// authorize checks whether the caller may try the action at all.
func (op *operation) authorize() (err error) {
	c := op.caller
	if op.administrator, err = op.isAdministrator(); err != nil {
		return err
	}
	switch {
	case c.kind == kindNone:
		return refused(Forbidden, "Log in to manage API tokens.")
	case op.action.audience == users && c.kind != kindUser:
		return refused(Forbidden, "Only users with an account have API tokens of their own.")
	case c.kind == kindManagementToken && c.token.ReadOnly && op.action.changes:
		return refused(Forbidden, "This management token is read-only.")
	case op.administrator, op.action.audience != administrators && c.kind == kindUser:
		return nil
	case c.kind == kindManagementToken:
		return refused(Forbidden, "This management token has expired or is disabled, or the user who created or received it is no longer an administrator. An administrator has to create another.")
	}
	return op.orUnavailable(refused(Forbidden, "Only administrators may do this (access.admin)."))
}

// groups returns a user's groups.
func (op *operation) groups() policy.Member { return groups(op.caller.user.Groups) }

// checkAccess hides tokens that are not the caller's.
func (op *operation) checkAccess(t store.Token) error {
	if op.administrator || op.caller.owns(t) {
		return nil
	}
	return errNoToken()
}

// checkEscalation stops management tokens from creating or extending management
// tokens, themselves included.
func (op *operation) checkEscalation(kind store.Kind) error {
	if kind == store.Management && op.caller.kind == kindManagementToken {
		return refused(Forbidden, "A management token cannot create, rotate or extend management tokens. An administrator has to log in for that.")
	}
	return nil
}

// get returns a token that the caller may see, by its id or its running number.
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

// parseNumber reads a running number. Numbers are shorter than ids, which may be all
// digits.
func parseNumber(text string) (number uint64, ok bool) {
	number, err := strconv.ParseUint(text, 10, 64)
	return number, err == nil && number > 0 && len(text) < store.IDLength
}

// create adds a token if admit accepts it beside the owner's tokens.
func (op *operation) create(ctx context.Context, t store.Token, admit func(owned []store.Token) error) (store.Token, error) {
	created, err := op.manager.Tokens.Create(ctx, t, func(owned []store.Token) (store.Audit, error) {
		if err := admit(owned); err != nil {
			return store.Audit{}, err
		}
		return op.doneRecord(store.Token{}, t), nil
	})
	return created, op.translate(err)
}

// update changes a token. It checks the caller's access first, because the store
// tells anyone that a token is revoked.
func (op *operation) update(ctx context.Context, id string, change func(*store.Token, store.LiveFunc) error) (store.Token, error) {
	seen, err := op.get(ctx, id)
	if err != nil {
		return store.Token{}, err
	}
	updated, err := op.manager.Tokens.Update(ctx, seen.ID, func(t *store.Token, live store.LiveFunc) (store.Audit, error) {
		before := *t
		if err := change(t, live); err != nil {
			return store.Audit{}, err
		}
		return op.doneRecord(before, *t), nil
	})
	return updated, op.translate(err)
}

// translate turns the store's errors about the request into refusals.
func (op *operation) translate(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return errNoToken()
	case errors.Is(err, store.ErrRevoked):
		return refused(Revoked, "This token has been revoked, which is final. Create another.")
	case errors.Is(err, store.ErrInvalid):
		return refused(Invalid, "%s", Sentence(err))
	}
	return err
}

func errNoToken() error { return refused(NotFound, "There is no token with this id.") }
