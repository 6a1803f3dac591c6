// Package authz decides whether a request may go to Jira, and as whom.
//
// Decide is one pure function over a Request and a View: it does no I/O, knows
// nothing of Envoy, has no clock of its own, and takes no memory but the
// Request's. It tries the rules of the decision table in order; the first that
// has something to say decides. Explain runs the same rules and tells what each
// of them said.
//
// Whatever is missing refuses: the zero Request, View, Reason and Decision are
// refusals all.
package authz

import (
	"net/http"
	"time"

	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// View is what a decision consults. It does not change during one.
type View struct {
	Policy *policy.Policy
	Index  *store.Index
	Now    time.Time
}

// Outcome is what happens to a request.
type Outcome uint8

// The outcomes. The zero Outcome is a refusal.
const (
	Denied      Outcome = iota
	PassThrough         // goes to Jira as it came, without an identity from us
	Allowed             // goes to Jira as the token's owner
)

// String returns the outcome's word for logs and metrics.
func (o Outcome) String() string {
	switch o {
	case PassThrough:
		return "pass_through"
	case Allowed:
		return "allowed"
	}
	return "denied"
}

// Decision is the answer to a Request. The zero Decision is a refusal.
type Decision struct {
	Outcome Outcome
	Reason  Reason
	Detail  Detail   // the finer reason of a refusal; 0 where there is none
	Length  int      // of the text that was sent as a token, in bytes; known where Detail is WrongLength
	TokenID token.ID // the public id that the client sent; zero unless it sent a well-formed token
	User    string   // the token's owner; empty unless the client proved the secret
	Path    string   // the raw path to send upstream instead, in the Request's Memory; empty: as it came
	Write   bool     // the request may write; known where Admitted
	Basic   bool     // the client sent the credential as Basic
	// WouldBlock marks a password that was let through because passwords are
	// observed, and that block would refuse.
	WouldBlock bool
	// Wait is how long the client has to wait until the token may make another
	// request; known where it is RateLimited.
	Wait time.Duration

	// ClaimedUser is the user name that came with a password, where the Reason
	// is Password or PasswordBlocked: Basic's, or os_username in the query; ""
	// where there is none. Nobody has proved it, and it may be anything, even a
	// password that somebody typed into the wrong field. So it never goes into a
	// log, a metric or an answer. It may lie in the Request's Memory: what outlives the
	// request keeps a copy.
	ClaimedUser string

	limiter *store.Limiter // of an admitted token
}

// Result is what becomes of the request, as an explanation calls it: the Outcome's
// word, or "answered" where the client is told in Jira's place that all is well.
func (d Decision) Result() string {
	if d.Outcome == Denied && d.Reason.Status() < http.StatusBadRequest {
		return "answered"
	}
	return d.Outcome.String()
}

// CountAgainstRate counts an admitted request against its token's rate. Where another
// request has meanwhile taken the last that there was, d becomes a refusal.
func (d *Decision) CountAgainstRate(now time.Time) {
	if wait := d.limiter.Take(now); wait > 0 {
		*d = Decision{Outcome: Denied, Reason: RateLimited, TokenID: d.TokenID, User: d.User, Wait: wait}
	}
}

// Decide answers a request.
func Decide(r *Request, v View) Decision {
	r.Memory = r.Memory[:0]
	e := evaluation{request: r, view: v}
	for rule := range checkCount {
		if e.decidedBy(rule) {
			return e.decision
		}
	}
	return Decision{}
}
