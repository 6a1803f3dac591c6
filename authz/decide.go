// Package authz decides whether a request is forwarded to the application, and
// as which user.
//
// Decide is a pure function of a Request and a View: it does no I/O, imports
// nothing of Envoy, has no clock, and allocates only the Request's Memory. It runs
// the checks of the decision table in order; the first one that reaches a result
// decides. Explain runs the same checks and lists their results. Start reading
// with Decide and check in checks.go.
//
// Anything missing is denied: the zero Request, View, Reason and Decision all
// mean a denial.
package authz

import (
	"net/http"
	"time"

	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store/index"
)

// View is the state that a decision reads. It does not change during a decision.
type View struct {
	Policy *policy.Policy
	Index  *index.Index
	Now    time.Time
}

// Outcome is what happens to a request.
type Outcome uint8

// The outcomes. The zero Outcome is a denial.
const (
	Denied      Outcome = iota
	PassThrough         // forwarded unchanged, without an identity from tokengate
	Allowed             // forwarded as the token's owner
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

// Decision is the answer to a Request. The zero Decision is a denial.
type Decision struct {
	Outcome Outcome
	Reason  Reason
	Detail  Detail   // refines the reason of a denial; may be 0
	Length  int      // bytes of the text sent as a token; set if Detail is WrongLength
	TokenID token.ID // the public id that the client sent; zero unless it sent a well-formed token
	User    string   // the token's owner; empty until the secret is verified
	Path    string   // the raw path to send upstream, in the Request's Memory; empty: unchanged
	Write   bool     // the request may write; set if Allowed
	Basic   bool     // the client sent the credential as Basic
	// WouldBlock marks a password that is forwarded because the mode is observe,
	// and that the mode block would deny.
	WouldBlock bool
	// Wait is the time until the token may make another request; set if RateLimited.
	Wait time.Duration

	// ClaimedUser is the unverified user name sent with a password, from Basic or
	// the query, if the Reason is Password or PasswordBlocked. It may be any text,
	// even a password typed into the wrong field, so it must not appear in logs,
	// metrics or answers. It may be in the Request's Memory: copy it to keep it.
	ClaimedUser string

	// Upstream is the credential to forward the request with, if Allowed and the Policy
	// has UpstreamCredential.
	Upstream *index.Upstream

	limiter *index.Limiter // of an allowed token
}

// Result returns the word of an explanation: the Outcome's, or "answered" for a
// request that tokengate answers with success itself.
func (d Decision) Result() string {
	if d.Outcome == Denied && d.Reason.Status() < http.StatusBadRequest {
		return "answered"
	}
	return d.Outcome.String()
}

// CountAgainstRate counts an allowed request against its token's rate. If other
// requests have exhausted the rate since the decision, d becomes a denial.
func (d *Decision) CountAgainstRate(now time.Time) {
	if wait := d.limiter.Take(now); wait > 0 {
		*d = Decision{Outcome: Denied, Reason: RateLimited, TokenID: d.TokenID, User: d.User, Wait: wait}
	}
}

// Decide answers a request.
func Decide(r *Request, v View) Decision {
	r.Memory = r.Memory[:0]
	e := evaluation{request: r, view: v}
	for c := range checkCount {
		if e.decidedBy(c) {
			return e.decision
		}
	}
	return Decision{}
}

// CheckResult is the result of one check.
type CheckResult struct {
	Check  string // what the check requires
	Result string // "decides", "passed" or "not reached"
	Reason Reason // set if it decides
}

// Explain answers a request as Decide does, and lists the result of each check.
func Explain(r *Request, v View) (Decision, []CheckResult) {
	return explain(evaluation{request: r, view: v})
}

// ExplainFor is Explain for a request that carries the token with this id as
// Bearer. The request has no Authorization.
func ExplainFor(r *Request, id string, v View) (Decision, []CheckResult) {
	return explain(evaluation{request: r, view: v, assumed: id})
}

func explain(e evaluation) (Decision, []CheckResult) {
	r := e.request
	// The caller keeps the Decision, so its memory must not be reused.
	r.Memory = nil
	defer func() { r.Memory = nil }()
	results := make([]CheckResult, 0, checkCount)
	decided := false
	for c := range checkCount {
		result := CheckResult{Check: checkNames[c], Result: "not reached"}
		if !decided {
			result.Result = "passed"
			if decided = e.decidedBy(c); decided {
				result.Result, result.Reason = "decides", e.decision.Reason
			}
		}
		results = append(results, result)
	}
	return e.decision, results
}
