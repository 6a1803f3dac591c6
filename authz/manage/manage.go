// Package manage creates, lists, rotates and revokes tokens on behalf of
// people.
//
// Every operation of a Manager is given its Caller, and goes through one place
// that checks whether the caller may do it and sees that the audit log gets its
// record: a change and its record are written in one transaction, and a refused
// attempt is recorded on its own. Reading is not recorded unless it is refused.
//
// A token's value exists only in what Create and Rotate return. The store gets
// a salt and a hash.
package manage

import (
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

const (
	// DefaultLifetime is the lifetime of a token whose creator asks for none.
	DefaultLifetime = 365 * 24 * time.Hour

	// MaxOverlap bounds how long a rotated secret stays good.
	MaxOverlap = 7 * 24 * time.Hour

	// DefaultPage and MaxPage are how many tokens a page holds if nothing is
	// asked for, and at most.
	DefaultPage = 100
	MaxPage     = 1000
)

// Manager manages the tokens in a store. All fields are set before the first
// call and required. Its methods are safe for concurrent use.
type Manager struct {
	Store      store.Store          // of which no other Manager makes changes
	Usage      *store.UsageRecorder // of the same store
	MaxPerUser func() int           // how many tokens in force one owner may have, now
	Now        func() time.Time
	Random     io.Reader // token.Random but in tests

	// admission is held from the look at the tokens that an owner has in force
	// to the write that adds one.
	admission sync.Mutex
}

// Caller is who asks for an operation. Whoever makes one has verified it. The
// zero Caller may do nothing.
type Caller struct {
	Name          string // as the audit log names them, such as "uid:0"
	From          string // where they came in, such as "admin socket"
	Administrator bool   // may do everything
}

// Token is what is told of a token: all but its secrets.
type Token struct {
	ID        string // public; 12 letters and digits
	Number    uint64 // running number
	Owner     string
	Name      string
	Purpose   string
	Created   time.Time
	CreatedBy string
	Expires   time.Time // zero: never
	ReadOnly  bool
	Networks  []netip.Prefix
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

// State is a token's state as people see it: the store's states, and expired
// where a token that is not revoked has reached its end.
type State string

// The states.
const (
	StatePending  State = "pending"
	StateActive   State = "active"
	StateDisabled State = "disabled"
	StateExpired  State = "expired"
	StateRevoked  State = "revoked"
)

// stateOf returns a token's state at now.
func stateOf(t store.Token, now time.Time) State {
	if t.State != store.Revoked && expired(t, now) {
		return StateExpired
	}
	return State(t.State.String())
}

func expired(t store.Token, now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires)
}

// tell returns what may be told of a token.
func tell(t store.Token, u store.Usage, now time.Time) Token {
	told := Token{
		ID:        t.ID,
		Number:    t.Number,
		Owner:     t.Owner.Name,
		Name:      t.Name,
		Purpose:   t.Purpose,
		Created:   t.Created,
		CreatedBy: t.CreatedBy,
		Expires:   t.Expires,
		ReadOnly:  t.ReadOnly,
		Networks:  t.Networks,
		State:     stateOf(t, now),
		Revoked:   t.Revoked,
		Usage:     u,
	}
	if now.Before(t.Previous.Until) {
		told.PreviousUntil = t.Previous.Until
	}
	return told
}
