// Package store keeps API tokens, their usage and the audit log.
//
// Store is the contract of a durable store; package store/badger implements it, and store/open
// picks the one that the configuration names. Packages store/index and store/listing hold the
// tokens in memory, for decisions and for administrators' searches, and store/cached keeps both
// up to date with a Store. Start reading at Token and Store.
//
// The package depends on no request, policy or Envoy type, and never sees a secret, only
// salts and hashes.
package store

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"time"
)

// Errors that a Store returns. They are wrapped: match them with errors.Is.
var (
	// ErrNotFound means that no token has this id, or that it was pruned.
	ErrNotFound = errors.New("token not found")
	// ErrRevoked means that an update was asked for a revoked token.
	ErrRevoked = errors.New("token is revoked")
	// ErrExists means that a token with this id exists already.
	ErrExists = errors.New("token exists")
	// ErrInvalid means that a record fails validation (see Validate).
	ErrInvalid = errors.New("invalid token record")
	// ErrNoSpace means that the store has too little space left for this write.
	ErrNoSpace = errors.New("disk is almost full")
	// ErrUnavailable means that the store does not answer; it may do so later.
	ErrUnavailable = errors.New("the store does not answer")
	// ErrClosed means that the store has been closed.
	ErrClosed = errors.New("store is closed")
)

// AuditPruned is the number of audit records that PruneAudit removed.
type AuditPruned struct {
	Old int // because of their age
	Cut int // because the log was too large
}

// Size is the size of a set of records.
type Size struct {
	Records int64
	Bytes   int64 // of keys and values
}

// Page is one page of a listing.
type Page struct {
	Tokens []Token // ordered by Number
	Next   uint64  // the after argument for the next page; 0 on the last page
}

// Forever is an instant that no decision reaches. Its UnixNano is defined.
var Forever = time.Unix(0, math.MaxInt64)

// Feed receives the tokens of a store and their changes from Watch. Every change of a token has a
// higher revision than all changes before it. The methods must return soon and must not call the
// store. A token's Networks may be shared with other users of the store.
type Feed interface {
	// Snapshot receives a token of the snapshot. It may be called from several goroutines at
	// once.
	Snapshot(t Token)

	// Complete ends the snapshot, which has the state at a revision: tokens that it does not
	// contain and whose Revision is not higher were removed.
	Complete(revision uint64)

	// Changed receives a new token or a new version.
	Changed(t Token)

	// Removed receives the id of a token that was pruned. The id is never used again.
	Removed(id string, revision uint64)

	// Fresh reports that every change that any process made before the instant was delivered.
	Fresh(at time.Time)
}

// Versioned is a Store whose tokens a copy in memory is compared with, because other processes change
// them.
type Versioned interface {
	// Revisions calls visit with the id and the revision of every token of one snapshot, and returns
	// the snapshot's revision. It leaves the store time for other requests.
	Revisions(ctx context.Context, visit func(id string, revision uint64)) (at uint64, err error)

	// CompareEvery returns the time from one comparison to the next, about.
	CompareEvery() time.Duration
}

// The functions that a Store calls within its transactions.
type (
	AdmitFunc  = func(owned []Token) (Audit, error)           // see Create
	ChangeFunc = func(t *Token, live LiveFunc) (Audit, error) // see Update
	LiveFunc   = func() ([]Token, error)                      // see Update
	RecordFunc = func(removed Token) Audit                    // see Prune
)

// Store keeps tokens, their usage, the audit log, and two statistics for administrators: daily
// totals and password uses. All methods are safe for concurrent use. A write that returns nil
// is on disk, except AddUsage. If the context ends before the write, nothing is written.
//
// Every implementation passes storetest.Run.
type Store interface {
	Coordinator

	// Create adds a token and one audit record in one transaction, and returns the token with
	// its Number. admit receives the owner's tokens that Live returns, without those expired at
	// t.Created, and decides whether another may be added. No concurrent Create or Update
	// changes these tokens between admit and the write. admit may be called more than once and
	// must not call the store. If it returns an error, nothing is written and Create returns
	// that error unchanged.
	Create(ctx context.Context, t Token, admit AdmitFunc) (Token, error)

	// Get returns one token, which may be revoked, or ErrNotFound.
	Get(ctx context.Context, id string) (Token, error)

	// Update changes one token and adds one audit record in one transaction, and returns the
	// updated token. change edits the record it receives; it may be called more than once, each
	// time with a fresh record, and must not call the store. If it returns an error, nothing is
	// written and Update returns that error unchanged. ID, Number, Kind, Created, CreatedBy and
	// CreatedByKey cannot change, and Owner only as Owner.MayBecome allows.
	//
	// live, which only change may call, returns the tokens that Live returns for the owner,
	// before the change. If change calls it, no concurrent Create or Update changes these tokens
	// until the write.
	//
	// change never receives a revoked token: Update returns ErrRevoked, or ErrNotFound once the
	// token is pruned. When change sets State to Revoked, and Revoked to the time, the store
	// wipes Secret and Previous.
	Update(ctx context.Context, id string, change ChangeFunc) (Token, error)

	// List returns at most limit tokens with a Number above after: those of the owner, whose
	// name is compared case-insensitively, or all tokens if owner is empty.
	List(ctx context.Context, owner string, after uint64, limit int) (Page, error)

	// Live returns the owner's tokens that are not revoked, ordered by Number. The owner's name
	// is compared case-insensitively; an empty owner means the management tokens. The cost does
	// not depend on the number of ended tokens.
	//
	// Expired tokens may be included. A store may omit one as soon as a later Create for the
	// owner has a Created at or after its Expires; an update that extends or removes the expiry
	// brings it back. Live is therefore only for limits: if the clock behind a Created was
	// ahead, a valid token is missing. Use List to find every token.
	Live(ctx context.Context, owner string) ([]Token, error)

	// All calls visit once for every token of one snapshot, in no particular order. It may call
	// visit from several goroutines at once, and returns after all of them have ended. After
	// visit returns an error, All makes at most a few more calls and returns one of the errors.
	All(ctx context.Context, visit func(Token) error) error

	// Watch delivers a snapshot of all tokens to the feed, and then each change, in the order of the
	// revisions, and how fresh that is: Forever, if no other process changes the store. It
	// returns the context's error, ErrClosed, or why it cannot continue, such as changes that
	// were lost; then a new Watch delivers a new snapshot. It calls no method of the feed after
	// it has returned.
	Watch(ctx context.Context, to Feed) error

	// Prune removes the tokens that were revoked or expired before the given instant, with
	// their usage. It returns the removed ids, even with an error. A token that is extended
	// concurrently stays. record returns the audit record of each removal; it may be called
	// more than once for a token and must not call the store.
	Prune(ctx context.Context, before time.Time, record RecordFunc) ([]string, error)

	// PruneEnded removes each owner's tokens that were revoked or expired at the given instant,
	// those that ended first, until at most most of them are left. Owners are told apart by key, or
	// by name if the key is empty; management tokens count as one owner's. Otherwise it works
	// like Prune.
	PruneEnded(ctx context.Context, at time.Time, most int, record RecordFunc) ([]string, error)

	// AddUsage adds counts to the stored usage, and moves LastUsed and LastAddress forward,
	// never back. Unknown ids are skipped. A power failure may lose what was added shortly before.
	AddUsage(ctx context.Context, usage map[string]Usage) error

	// AllUsage calls visit once for every token that was ever used, in no particular order,
	// with its usage in a snapshot taken before the first call. It yields to requests and may
	// take long. If visit returns an error, AllUsage stops and returns it.
	AllUsage(ctx context.Context, visit func(id string, u Usage) error) error

	// Usage returns the usage of the given ids; ids that were never used are absent.
	Usage(ctx context.Context, ids []string) (map[string]Usage, error)

	// AppendAudit adds an audit record of an action that writes nothing else, such as a refusal.
	// A Store passes every audit record through BoundAudit.
	AppendAudit(ctx context.Context, a Audit) error

	// PruneAudit removes the oldest audit records: those from before the given instant at the
	// start of the log, and then as many more as needed for the log to have at most maxBytes
	// bytes; 0 means no limit. The newest record always stays. It returns the number of removed
	// records, even with an error.
	PruneAudit(ctx context.Context, before time.Time, maxBytes int64) (AuditPruned, error)

	// AuditLog returns at most limit records with a Sequence below before, newest first. If
	// before is 0, it starts at the newest.
	AuditLog(ctx context.Context, before uint64, limit int) ([]Audit, error)

	// AddTotals atomically adds counts to a day's totals. The store keeps the latest KeepDays
	// days that have totals.
	AddTotals(ctx context.Context, day Day, counts map[string]uint64) error

	// Totals returns the totals from the given day on, in order, without empty days.
	Totals(ctx context.Context, from Day) ([]DayTotals, error)

	// AddPasswordUses adds each use to the stored one with the same User, Client and Address:
	// counts are added, First only moves back and Last only forward. A user's uses beyond
	// MaxPasswordClients are added to the user's entry without Client and Address. Users beyond
	// MaxPasswordUsers are dropped; left is the number of their requests, even with an error.
	AddPasswordUses(ctx context.Context, uses []PasswordUse) (left uint64, err error)

	// PasswordUses returns all uses, grouped by user.
	PasswordUses(ctx context.Context) ([]PasswordUse, error)

	// PrunePasswordUses removes the uses whose Last is before the given instant.
	PrunePasswordUses(ctx context.Context, before time.Time) error

	// UpdateUpstream changes the upstream credentials of the user with this key and adds audit
	// records in one transaction. change receives those stored, none if they cannot be read, and
	// returns those to store, at most MaxUpstreamCredentials; none removes the user's record. At
	// most one of them is active or broken. change may be called more than once, each time with
	// fresh values, and must not call the store. If it returns an error, nothing is written and
	// UpdateUpstream returns that error unchanged. It returns what is stored.
	UpdateUpstream(ctx context.Context, user string, change UpstreamFunc) ([]UpstreamCredential, error)

	// Upstream returns the upstream credentials of the user with this key, none if there are none.
	Upstream(ctx context.Context, user string) ([]UpstreamCredential, error)

	// AllUpstream calls visit once for every user with upstream credentials. A record that
	// cannot be read is given to visit as its error; if visit returns an error, AllUpstream
	// stops and returns it.
	AllUpstream(ctx context.Context, visit func(user string, all []UpstreamCredential, err error) error) error

	// Export calls visit, which then owns it, with each record, in the order of RecordKind, all as of one
	// moment; usage may be some seconds newer, and include that of tokens that were removed. It yields to requests
	// and may take long. If visit returns an error, Export stops and returns it.
	Export(ctx context.Context, visit func(Record) error) error

	// Size returns the bytes that the store takes on disk, 0 if unknown.
	Size() int64

	// Sizes returns the number and the bytes of the records of each kind: tokens, usage, audit,
	// totals, passwords and upstream. ok is false while they are not known, such as after a start.
	Sizes() (all map[string]Size, ok bool)

	// Health writes, reads and removes a probe record.
	Health(ctx context.Context) error

	// Close flushes and closes the store. Later calls return ErrClosed.
	Close() error
}

// Config is the configuration of one kind of store: a pointer to a struct, whose yaml tags are its
// keys below the kind's name.
type Config interface {
	// Check reports each invalid value under its key.
	Check(report func(key, format string, args ...any))

	// Open opens the store, and creates it if there is none. An incomplete one is ErrIncomplete: see Importer.
	Open(ctx context.Context, o OpenOptions) (Opened, error)
}

// OpenOptions are what Open takes besides the configuration.
type OpenOptions struct {
	// Log receives messages without line breaks. They contain no records. Nil discards them.
	Log func(level slog.Level, message string)

	// AcceptLoss opens a store with damaged or missing data. The log says what was found, or that
	// nothing was lost.
	AcceptLoss bool

	// Existing opens only a store that exists: otherwise Open returns ErrNoStore and creates nothing.
	Existing bool
}

// Opened is an open store.
type Opened struct {
	Store
	New bool   // it was created now
	Dir string // the local directory where the server may keep other files; empty: none

	// UsageEvery is how often to call AddUsage if that is expensive; 0: every few seconds.
	UsageEvery time.Duration
}
