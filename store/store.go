// Package store keeps the tokens.
//
// A Store is durable: what a call has acknowledged survives a crash. An Index
// is the same tokens in memory, in the shape that a decision needs, and
// Indexed ties the two together: a write that it has acknowledged is in force
// for the very next lookup.
//
// The package knows nothing of requests, rules or Envoy. It never sees a
// secret, only salts and hashes.
package store

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"
)

// Errors that a Store returns. They arrive wrapped: match with errors.Is.
var (
	// ErrNotFound says that no token has this id, or that it has been pruned.
	ErrNotFound = errors.New("token not found")
	// ErrRevoked says that an update met a token whose state is final.
	ErrRevoked = errors.New("token is revoked")
	// ErrExists says that a token with this id is there already.
	ErrExists = errors.New("token exists")
	// ErrInvalid says that the record breaks a rule of the store (see Token).
	ErrInvalid = errors.New("invalid token record")
	// ErrClosed says that the store has been closed.
	ErrClosed = errors.New("store is closed")
)

// State is where a token stands in its life. The zero State is no state: a
// record that carries it is invalid, and a decision that meets it refuses.
type State uint8

// The states of a token. Revoked is final: no update leaves it. Their numbers
// stand in records, and are for ever.
const (
	Pending  State = iota + 1 // waits for an administrator's approval
	Active                    // good until it expires
	Disabled                  // switched off, may be switched on again
	Revoked                   // ended for ever; kept for the record, without its hash
)

// Kind is what a token opens. Its numbers stand in records, and are for ever.
type Kind uint8

// The kinds of token.
const (
	Ordinary   Kind = iota // opens Jira, as its owner
	Management             // opens the management API, for automation; it has no owner
)

// Owner is the user a token acts as. The zero Owner is that of management
// tokens.
type Owner struct {
	Name string // Jira's own spelling of the user name; see ValidOwnerName
	Key  string // Jira's user key, such as JIRAUSER10100; empty where unknown
}

// MayBecome reports whether an owner may be written anew as next: Jira has
// renamed the user, which the key outlives, or the key has become known. No
// token ever goes from one user to another.
func (o Owner) MayBecome(next Owner) bool {
	if o.Key == "" {
		return FoldOwner(o.Name) == FoldOwner(next.Name)
	}
	return o.Key == next.Key
}

// FoldOwner returns the form in which two spellings of one owner name are
// equal. Jira compares user names without case.
func FoldOwner(name string) string { return strings.ToLower(name) }

// Secret is what the store knows of a token's secret: a random salt and the
// SHA-256 of salt and secret. The zero Secret matches nothing.
type Secret struct {
	Salt [16]byte
	Hash [32]byte
}

// Previous is a rotated secret that stays good for a while. The zero Previous
// is none.
type Previous struct {
	Secret Secret
	Until  time.Time // good before this instant
}

// Token is the record of one token.
//
// Times are UTC in whole seconds; a Store truncates what it is given.
type Token struct {
	ID           string // 12 characters of [0-9A-Za-z]; public
	Number       uint64 // running number, set by Create, never used twice
	Kind         Kind
	Owner        Owner  // whom the token acts as; zero if Kind is Management
	Name         string // the label its owner gave it
	Purpose      string // free text
	Created      time.Time
	CreatedBy    string // who created it, as the audit log names them
	CreatedByKey string // the user key of whoever created it; empty where there is none
	IssuedBy     string // who was told the value, as the audit log names them
	IssuedByKey  string // their user key; empty where there is none

	// PreviousIssuedBy and PreviousIssuedByKey are who was told the value of
	// Previous.
	PreviousIssuedBy    string
	PreviousIssuedByKey string

	Expires  time.Time      // refused from this instant on; zero: never
	ReadOnly bool           // good for reading requests only
	Networks []netip.Prefix // client networks it is good from, at most MaxNetworks; none: any
	Rate     Rate           // the zero Rate: as many requests as come
	State    State
	Revoked  time.Time // when it was revoked; zero unless State is Revoked
	Secret   Secret    // zero once revoked
	Previous Previous  // the secret before the last rotation, while it is still good
}

// MaxNetworks bounds the networks of one token.
const MaxNetworks = 64

// Usage is what is known of a token's use. It is kept apart from the token so
// that counting a request never rewrites a token.
type Usage struct {
	Count       uint64     // allowed requests
	Writes      uint64     // those of them that were no reads
	LastUsed    time.Time  // UTC, whole seconds; zero: never
	LastAddress netip.Addr // the client's address at LastUsed; invalid: none
}

// Audit is one record of the append-only audit log: who did what to which
// token, and what came of it. It never holds a secret or a hash.
type Audit struct {
	Sequence uint64            // order in the log, set by the store
	Time     time.Time         // UTC
	Actor    string            // who, such as "uid:0" on the admin socket
	From     string            // where from, such as "admin socket"
	Action   string            // what, such as "token.revoke"
	TokenID  string            // which token; empty where none came to be
	Owner    string            // the token's owner
	Outcome  string            // "done" or "refused"
	Reason   string            // why it was refused; empty when done
	Changes  map[string]Change // field by field, before and after
}

// Change is a field's value before and after, as text.
type Change struct {
	Before string
	After  string
}

// AuditPruned is how many audit records a PruneAudit has removed.
type AuditPruned struct {
	Old int // because of their age
	Cut int // because the log was too large
}

// Size is the size of some records.
type Size struct {
	Records int64
	Bytes   int64 // of keys and values
}

// Page is one page of a listing.
type Page struct {
	Tokens []Token // ordered by Number
	Next   uint64  // pass as after to get the page behind; 0: this was the last
}

// Store keeps tokens, their usage, the audit log, and two records of requests for
// administrators: totals, and the use of passwords. All methods are safe for
// concurrent use. A write that returned nil is on disk. A context that ends
// before the write leaves nothing behind.
//
// Every implementation passes storetest.Run.
type Store interface {
	// Create adds a token and one audit record in one transaction, and
	// returns the token with its Number. admit is given those tokens of the
	// same owner that Live returns and that have not expired at t.Created, and
	// says whether one more may come, by a nil error; no other Create or Update
	// that would change them comes between its look and the write. It may be
	// called more than once and must not call the store. Its error is returned
	// as it is, and nothing is written.
	Create(ctx context.Context, t Token, admit func(owned []Token) (Audit, error)) (Token, error)

	// Get returns one token, revoked ones included, or ErrNotFound.
	Get(ctx context.Context, id string) (Token, error)

	// Update changes one token and adds one audit record in one transaction,
	// and returns the token as it is now. change edits the record it is
	// given; it may be called more than once, each time with a fresh record,
	// and must not call the store. Its error is returned as it is, and
	// nothing is written. ID, Number, Kind, Created, CreatedBy and CreatedByKey
	// cannot change, and Owner only as Owner.MayBecome says.
	//
	// A revoked token is never handed to change: Update returns ErrRevoked,
	// or ErrNotFound once it has been pruned. When change sets State to
	// Revoked, and Revoked to the time, the store wipes Secret and Previous.
	Update(ctx context.Context, id string, change func(t *Token) (Audit, error)) (Token, error)

	// List returns the tokens of an owner, whose name is compared without case,
	// or of all if owner is empty: those with a Number above after, at most
	// limit.
	List(ctx context.Context, owner string, after uint64, limit int) (Page, error)

	// Live returns the tokens of an owner, whose name is compared without case,
	// that are not revoked, by Number; the management tokens if owner is empty.
	// However many of the owner's tokens have ended, it takes no longer.
	//
	// Expired ones may be among them. A store may leave one out as soon as a later
	// Create for the owner has a Created that is not before its Expires; an
	// update that sets a later Expires or none brings it back. So Live is for
	// limits: should the clock behind a Created have been ahead, a token in force
	// is missing. Whoever must meet each token uses List.
	Live(ctx context.Context, owner string) ([]Token, error)

	// All calls visit with every token, each once, in no particular order, as
	// of one instant. It may call visit from several goroutines at once, and
	// returns when all of them have ended. When visit returns an error, All
	// calls it for no more than the few tokens at hand and returns one of the
	// errors.
	All(ctx context.Context, visit func(Token) error) error

	// Prune removes the tokens that were revoked or expired before the given
	// instant, together with their usage, and returns their ids, also beside
	// an error. A token that an update has meanwhile extended stays. record
	// gives the audit record of each removal; it may be called more than once
	// for a token and must not call the store.
	Prune(ctx context.Context, before time.Time, record func(Token) Audit) ([]string, error)

	// PruneEnded removes, of each owner's tokens that were revoked or had expired at
	// the given instant, those that ended first, until no more than most are left. An
	// owner is known by the key, or by the name where there is no key; the management
	// tokens count as those of one owner. Otherwise it is as Prune.
	PruneEnded(ctx context.Context, at time.Time, most int, record func(Token) Audit) ([]string, error)

	// AddUsage adds counts to what is stored, and moves LastUsed and
	// LastAddress forward, never back. Ids that are gone are skipped.
	AddUsage(ctx context.Context, usage map[string]Usage) error

	// AllUsage calls visit with the usage of every token that was ever used,
	// each once, in no particular order, as of one instant before the first
	// call. It is made to go on beside requests and takes its time. When visit
	// returns an error, AllUsage ends and returns it.
	AllUsage(ctx context.Context, visit func(id string, u Usage) error) error

	// Usage returns the usage of the given ids; ids never used are absent.
	Usage(ctx context.Context, ids []string) (map[string]Usage, error)

	// AppendAudit adds a record that no write goes with, such as a refusal. This
	// record, and those of the writes, are stored as BoundAudit returns them.
	AppendAudit(ctx context.Context, a Audit) error

	// PruneAudit removes the oldest audit records: those at the beginning of the
	// log that are from before an instant, and then as many as it takes until the
	// records have no more than maxBytes bytes; 0: however many. The newest record
	// stays. It returns what was removed, also beside an error.
	PruneAudit(ctx context.Context, before time.Time, maxBytes int64) (AuditPruned, error)

	// AuditLog returns at most limit records with a Sequence below before,
	// newest first; before 0 begins at the newest.
	AuditLog(ctx context.Context, before uint64, limit int) ([]Audit, error)

	// AddTotals adds counts to what is stored of a day. Of the days it has, the
	// store keeps the latest KeepDays. A call is applied whole or not at all.
	AddTotals(ctx context.Context, day Day, counts map[string]uint64) error

	// Totals returns the totals of each day that has some, from the given one
	// on, in their order.
	Totals(ctx context.Context, from Day) ([]DayTotals, error)

	// AddPasswordUses adds uses to what is stored, each to the one with the
	// same User, Client and Address: the counts are added, First moves back and
	// Last forward, never the other way. What goes beyond MaxPasswordClients of
	// a user is added to that user's without Client and Address. Users beyond
	// MaxPasswordUsers are left out; left is the number of their requests, also
	// beside an error.
	AddPasswordUses(ctx context.Context, uses []PasswordUse) (left uint64, err error)

	// PasswordUses returns all uses, those of a user one behind another.
	PasswordUses(ctx context.Context) ([]PasswordUse, error)

	// PrunePasswordUses removes the uses whose Last is before the given instant.
	PrunePasswordUses(ctx context.Context, before time.Time) error

	// Health writes, reads and removes a record of its own.
	Health(ctx context.Context) error

	// Close flushes and closes. Later calls return ErrClosed.
	Close() error
}
