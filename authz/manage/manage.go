// Package manage creates, lists, rotates, approves and revokes tokens on behalf of
// users.
//
// Every operation of a Manager takes its Caller and goes through perform
// (operation.go), which checks whether the caller may do it and writes the audit
// record: a change and its record in one transaction, a refused attempt on its own.
// Reads are recorded only when refused.
//
// Administrators may do everything, except approve tokens that they created or own.
// Management tokens cannot create management tokens. Other users manage their own
// tokens, within the policies in force; for them, tokens of others do not exist.
//
// A token's value is only in the results of Create and Rotate. The store gets a salt
// and a hash.
package manage

import (
	"context"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage/limit"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/index"
)

const (
	// DefaultLifetime is the lifetime of a token that is created without an expiry and
	// without a policy.
	DefaultLifetime = 365 * 24 * time.Hour

	// DefaultPage and MaxPage are the default and the largest page size of listings.
	DefaultPage = 100
	MaxPage     = 1000
)

// Manager manages the tokens in a store, and users' upstream credentials. All exported
// fields except Upstream and UnknownOwner are required, and all are set before the first
// call. Its methods are safe for concurrent use.
type Manager struct {
	Tokens    *cached.Store
	Usage     *cached.UsageRecorder // of the same store
	Upstream  *upstream.Credentials // nil: users have no upstream credentials
	Directory Directory
	Settings  func() Settings // now in force
	Now       func() time.Time
	Random    io.Reader // token.Random, except in tests

	// UnknownOwner is told of an owner of a new or changed token for whom the directory has no
	// answer, such as one whom another server has looked up. It must return at once.
	UnknownOwner func(store.Owner)

	writes limit.Keyed // by Caller.budgetKey

	statusMu sync.Mutex // so that the newest update of the owners' status wins
}

// Directory looks up users: see directory.Directory.
type Directory interface {
	Lookup(ctx context.Context, name string) (directory.User, error)
	Owner(name, key string) (directory.User, error)
}

// Settings are the part of the configuration that applies to users and their tokens.
type Settings struct {
	Access     *policy.Access
	Groups     []string        // named by the settings
	MaxPerUser int             // tokens in force that one owner may have
	MaxOverlap time.Duration   // of a rotated secret
	Retention  config.Lifetime // how long revoked and expired tokens are kept
	MaxEnded   int             // revoked and expired tokens kept per owner

	Writes      store.Rate // changes of a user; zero: unlimited
	AdminWrites store.Rate // changes of an administrator; zero: unlimited

	Audit config.Audit // retention of the audit log
}

// NewSettings returns the settings of a validated configuration.
func NewSettings(c config.Config) Settings {
	return Settings{
		Access:     policy.NewAccess(c),
		Groups:     c.Groups(),
		MaxPerUser: c.Tokens.MaxPerUser,
		MaxOverlap: c.Tokens.MaxOverlap,
		Retention:  c.Tokens.Retention,
		MaxEnded:   c.Tokens.MaxEnded,

		Writes:      storeRate(c.Access.Writes),
		AdminWrites: storeRate(c.Access.AdminWrites),

		Audit: c.Audit,
	}
}

// Token describes a token without its secrets.
type Token struct {
	ID        string // public; 12 letters and digits
	Number    uint64 // running number
	Kind      store.Kind
	Owner     string // empty if Kind is Management
	Mine      bool   // owned by the caller
	Name      string
	Purpose   string
	Created   time.Time
	CreatedBy string
	Expires   time.Time // zero: never
	ReadOnly  bool
	Networks  []netip.Prefix
	Rate      config.Rate // zero: none
	State     State
	Revoked   time.Time // when it was revoked; zero unless it is
	// PreviousUntil is when the secret before the last rotation expires; zero if it has
	// expired.
	PreviousUntil time.Time
	Usage         store.Usage
}

// Issued is a token with its value, which is shown only once.
type Issued struct {
	Token Token
	Value token.Value
}

// Expiry is when a token expires: at a time or after a lifetime, not both. The zero
// Expiry is the operation's default.
type Expiry struct {
	At time.Time
	In config.Lifetime // from now; may be unlimited
}

// State is a token's state as users see it: a state of the store; expired, if a
// token that is not revoked has expired; or suspended, if an active token is denied
// because of its owner, or a management token because of its creator, until that
// changes.
type State string

// The states.
const (
	StatePending   State = "pending"
	StateActive    State = "active"
	StateSuspended State = "suspended"
	StateDisabled  State = "disabled"
	StateExpired   State = "expired"
	StateRevoked   State = "revoked"
)

// States are all states.
var States = []State{StatePending, StateActive, StateSuspended, StateDisabled, StateExpired, StateRevoked}

// stateOf returns a token's state.
func (op *operation) stateOf(t store.Token) State {
	switch {
	case t.State != store.Revoked && t.Expired(op.now):
		return StateExpired
	case t.State == store.Active && t.Kind == store.Management:
		if has, err := op.creatorsAreAdmins(t); err == nil && !has {
			return StateSuspended
		}
	case t.State == store.Active && op.suspended(t.Owner):
		return StateSuspended
	}
	return State(t.State.String())
}

// suspended reports whether an owner's tokens are denied, because of the owner's status or connection. An
// owner of unknown status is not suspended. Management tokens have no owner.
func (op *operation) suspended(o store.Owner) bool {
	if o == (store.Owner{}) {
		return false
	}
	x := op.manager.Tokens.Index()
	if s := x.OwnerStatus(o); s != index.OwnerPermitted && s != index.OwnerUnknown {
		return true
	}
	if op.manager.Upstream == nil {
		return false
	}
	u := x.Upstream(o.Key)
	return u == nil || u == index.BrokenUpstream
}

// describe returns a token as the caller may see it.
func (op *operation) describe(t store.Token, u store.Usage) Token {
	described := Token{
		ID:        t.ID,
		Number:    t.Number,
		Kind:      t.Kind,
		Owner:     t.Owner.Name,
		Mine:      op.caller.owns(t),
		Name:      t.Name,
		Purpose:   t.Purpose,
		Created:   t.Created,
		CreatedBy: t.CreatedBy,
		Expires:   t.Expires,
		ReadOnly:  t.ReadOnly,
		Networks:  t.Networks,
		Rate:      configRate(t.Rate),
		State:     op.stateOf(t),
		Revoked:   t.Revoked,
		Usage:     u,
	}
	if op.now.Before(t.Previous.Until) {
		described.PreviousUntil = t.Previous.Until
	}
	return described
}

// describeAll returns tokens as the caller may see them, with their usage.
func (op *operation) describeAll(ctx context.Context, ts []store.Token) ([]Token, error) {
	ids := make([]string, len(ts))
	for i, t := range ts {
		ids[i] = t.ID
	}
	usage, err := op.manager.Usage.Usage(ctx, ids)
	if err != nil {
		return nil, err
	}
	described := make([]Token, len(ts))
	for i, t := range ts {
		described[i] = op.describe(t, usage[t.ID])
	}
	return described, nil
}
