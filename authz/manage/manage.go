// Package manage creates, lists, rotates, approves and revokes tokens on behalf
// of people.
//
// Every operation of a Manager is given its Caller, and goes through one place
// that checks whether the caller may do it and sees that the audit log gets its
// record: a change and its record are written in one transaction, and a refused
// attempt is recorded on its own. Reading is not recorded unless it is refused.
//
// Administrators may do everything, but not approve what they created or own,
// and only people and operators among them may make management tokens. Other
// people have their own tokens, on the terms of the rules in force; what is not
// theirs looks to them as if it were not there.
//
// A token's value exists only in what Create and Rotate return. The store gets
// a salt and a hash.
package manage

import (
	"context"
	"hash/maphash"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage/limit"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

const (
	// DefaultLifetime is the lifetime of a token whose creator asks for none,
	// where no rule has one.
	DefaultLifetime = 365 * 24 * time.Hour

	// DefaultPage and MaxPage are how many tokens or records a page holds if
	// nothing is asked for, and at most.
	DefaultPage = 100
	MaxPage     = 1000
)

// Manager manages the tokens in a store. All fields are set before the first
// call and required. Its methods are safe for concurrent use.
type Manager struct {
	Tokens    *store.Cached        // of which no other Manager makes changes
	Usage     *store.UsageRecorder // of the same store
	Directory Directory
	Settings  func() Settings // in force now
	Now       func() time.Time
	Random    io.Reader // token.Random but in tests

	// The lockOwner of an owner is held from the look at the tokens that the
	// owner has in force to the write that adds one, or gives one another name.
	// Owners share locks; that costs a wait, never more.
	ownerLocks [64]sync.Mutex

	writes limit.Keyed // by Caller.budgetKey

	statusMu sync.Mutex // held while the owners are judged, so that the last word is the newest
}

// lockOwner takes the lock of a token's owner; the caller calls the result.
func (m *Manager) lockOwner(t store.Token) (unlock func()) {
	// By name, as tokens are found, and by key, which outlives a rename.
	locks := []uint64{maphash.String(seed, "name "+store.FoldOwner(t.Owner.Name)) % uint64(len(m.ownerLocks))}
	if t.Owner.Key != "" {
		locks = append(locks, maphash.String(seed, "key "+t.Owner.Key)%uint64(len(m.ownerLocks)))
	}
	slices.Sort(locks) // in one order, or two would wait for each other
	locks = slices.Compact(locks)
	for _, n := range locks {
		m.ownerLocks[n].Lock()
	}
	return func() {
		for _, n := range locks {
			m.ownerLocks[n].Unlock()
		}
	}
}

var seed = maphash.MakeSeed()

// Directory knows people: see directory.Directory.
type Directory interface {
	Lookup(ctx context.Context, name string) (directory.User, error)
	Owner(name, key string) (directory.User, error)
}

// Settings are the part of the configuration that binds people.
type Settings struct {
	Access     *policy.Access
	Groups     []string        // that the rules name
	MaxPerUser int             // tokens in force that one owner may have
	MaxOverlap time.Duration   // how long a rotated secret may stay good
	Retention  config.Lifetime // how long revoked and expired tokens are kept
	MaxEnded   int             // of one owner that are kept

	Writes      store.Rate // the changes of one person; zero: unlimited
	AdminWrites store.Rate // those of an administrator; zero: unlimited

	Audit config.Audit // how much of the audit log is kept
}

// NewSettings returns the rules of a checked configuration.
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

// Token is what is told of a token: all but its secrets.
type Token struct {
	ID        string // public; 12 letters and digits
	Number    uint64 // running number
	Kind      store.Kind
	Owner     string // empty if Kind is Management
	Mine      bool   // it is the caller's own
	Name      string
	Purpose   string
	Created   time.Time
	CreatedBy string
	Expires   time.Time // zero: never
	ReadOnly  bool
	Networks  []netip.Prefix
	Rate      store.Rate // zero: none
	State     State
	Revoked   time.Time // when it was revoked; zero unless it is
	// PreviousUntil is when the secret before the last rotation ends; zero if
	// none is good any more.
	PreviousUntil time.Time
	Usage         store.Usage
}

// Issued is a token together with its value, which is shown this once.
type Issued struct {
	Token Token
	Value token.Value
}

// Expiry says when a token is to expire: at an instant or after a lifetime,
// but not both. The zero Expiry leaves it to the operation.
type Expiry struct {
	At time.Time
	In config.Lifetime // from now; may be unlimited
}

// State is a token's state as people see it: the store's states; expired where
// a token that is not revoked has reached its end; and suspended where an active
// one is refused because of its owner, or a management token because of who made
// it, and comes back when they do.
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

// States are all of them.
var States = []State{StatePending, StateActive, StateSuspended, StateDisabled, StateExpired, StateRevoked}

func expired(t store.Token, now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires)
}

// stateOf returns a token's state.
func (op *operation) stateOf(t store.Token) State {
	switch {
	case t.State != store.Revoked && expired(t, op.now):
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

// suspended reports whether an owner's tokens are refused. While nothing is
// known of an owner, they are as they were. Management tokens have none.
func (op *operation) suspended(o store.Owner) bool {
	if o == (store.Owner{}) {
		return false
	}
	s := op.manager.Tokens.Index().OwnerStatus(o)
	return s != store.OwnerPermitted && s != store.OwnerUnknown
}

// describe returns what may be told of a token.
func (op *operation) describe(t store.Token, u store.Usage) Token {
	told := Token{
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
		Rate:      t.Rate,
		State:     op.stateOf(t),
		Revoked:   t.Revoked,
		Usage:     u,
	}
	if op.now.Before(t.Previous.Until) {
		told.PreviousUntil = t.Previous.Until
	}
	return told
}

// describeAll returns what may be told of tokens, their use included.
func (op *operation) describeAll(ctx context.Context, ts []store.Token) ([]Token, error) {
	ids := make([]string, len(ts))
	for i, t := range ts {
		ids[i] = t.ID
	}
	usage, err := op.manager.Usage.Usage(ctx, ids)
	if err != nil {
		return nil, err
	}
	told := make([]Token, len(ts))
	for i, t := range ts {
		told[i] = op.describe(t, usage[t.ID])
	}
	return told, nil
}
