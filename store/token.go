package store

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// State is the state of a token. The zero State is invalid: no valid record has it, and
// decisions refuse it.
type State uint8

// The states of a token. Revoked is final. The numbers are stored in records and never change.
const (
	Pending  State = iota + 1 // waits for an administrator's approval
	Active                    // valid until it expires
	Disabled                  // switched off, can be enabled again
	Revoked                   // ended for good; kept for the record, without its hash
)

var stateNames = [...]string{
	Pending:  "pending",
	Active:   "active",
	Disabled: "disabled",
	Revoked:  "revoked",
}

// String returns the state's name: "pending", "active", "disabled" or "revoked", and "state(n)"
// for an invalid number.
func (s State) String() string {
	if s.known() {
		return stateNames[s]
	}
	return "state(" + strconv.Itoa(int(s)) + ")"
}

func (s State) known() bool { return s >= Pending && int(s) < len(stateNames) }

// Kind is what a token gives access to. The numbers are stored in records and never change.
type Kind uint8

// The kinds of token.
const (
	Ordinary   Kind = iota // access to Jira as its owner
	Management             // access to the management API, for automation; has no owner
)

// String returns "ordinary" or "management".
func (k Kind) String() string {
	if k == Management {
		return "management"
	}
	return "ordinary"
}

// Owner is the user that a token acts as. Management tokens have the zero Owner.
type Owner struct {
	Name string // the user name as Jira spells it; see ValidOwnerName
	Key  string // Jira's user key, such as JIRAUSER10100; empty if unknown
}

// MayBecome reports whether a token's owner may be updated to next: the same user after a
// rename, which keeps the key, or with a key that was unknown before. A token never moves from
// one user to another.
func (o Owner) MayBecome(next Owner) bool {
	if o.Key == "" {
		return FoldOwner(o.Name) == FoldOwner(next.Name)
	}
	return o.Key == next.Key
}

// FoldOwner returns an owner name in the form used to compare names. Jira compares user names
// case-insensitively.
func FoldOwner(name string) string { return strings.ToLower(name) }

// Secret identifies a token's secret: a random salt and the SHA-256 of salt and secret. The
// zero Secret matches nothing.
type Secret struct {
	Salt [16]byte
	Hash [32]byte
}

func (s Secret) complete() bool { return s.Salt != [16]byte{} && s.Hash != [32]byte{} }

// Previous is a rotated secret that stays valid for a while. The zero Previous means none.
type Previous struct {
	Secret Secret
	Until  time.Time // valid before this instant
}

// The bounds of a Rate.
const (
	MaxRateRequests = 1_000_000
	MaxRatePer      = 24 * time.Hour
)

// Rate limits a token's requests: Requests per Per on average, with bursts of up to Burst. The
// zero Rate means no limit.
type Rate struct {
	Requests uint32        // 1 to MaxRateRequests
	Per      time.Duration // whole seconds, 1 s to MaxRatePer
	Burst    uint32        // 1 to Requests
}

// MaxNetworks is the maximum number of networks of one token.
const MaxNetworks = 64

// IDLength is the length of a token's id.
const IDLength = 12

// Token is the record of one token.
//
// Times are UTC in whole seconds; a Store truncates the times it is given.
type Token struct {
	ID           string // IDLength characters of [0-9A-Za-z]; public
	Number       uint64 // running number, set by Create, never reused
	Revision     uint64 // of the change that made this version; set by the store, see Feed
	Kind         Kind
	Owner        Owner  // the user the token acts as; zero if Kind is Management
	Name         string // the label the owner gave it
	Purpose      string // free text
	Created      time.Time
	CreatedBy    string // the creator, as the audit log names them
	CreatedByKey string // the creator's user key; empty if there is none
	IssuedBy     string // the user who was shown the value, as the audit log names them
	IssuedByKey  string // that user's key; empty if there is none

	// PreviousIssuedBy and PreviousIssuedByKey are the user who was shown the value of Previous.
	PreviousIssuedBy    string
	PreviousIssuedByKey string

	Expires  time.Time      // refused from this instant on; zero: never expires
	ReadOnly bool           // allows read requests only
	Networks []netip.Prefix // client networks it may be used from, at most MaxNetworks; empty: any
	Rate     Rate           // the zero Rate: unlimited
	State    State
	Revoked  time.Time // when it was revoked; zero unless State is Revoked
	Secret   Secret    // zero once revoked
	Previous Previous  // the secret before the last rotation, while it is still valid
}

// Expired reports whether the token has expired at now.
func (t Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }
