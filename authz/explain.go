package authz

// CheckResult is what one rule says of a request.
type CheckResult struct {
	Check  string // what the rule asks
	Result string // "decides", "passed" or "not reached"
	Reason Reason // where it decides
}

// Explain answers a request as Decide does, by the same rules, and tells what
// each of them said.
func Explain(r *Request, v View) (Decision, []CheckResult) {
	return explain(evaluation{request: r, view: v})
}

// ExplainFor tells what Explain would if the request came with the value of the
// token with this id, sent as Bearer. The request has no Authorization.
func ExplainFor(r *Request, id string, v View) (Decision, []CheckResult) {
	return explain(evaluation{request: r, view: v, assumed: id})
}

func explain(e evaluation) (Decision, []CheckResult) {
	r := e.request
	// The Decision is the caller's to keep: its memory serves no other.
	r.Memory = nil
	defer func() { r.Memory = nil }()
	verdicts := make([]CheckResult, 0, checkCount)
	decided := false
	for rule := range checkCount {
		verdict := CheckResult{Check: checkNames[rule], Result: "not reached"}
		if !decided {
			verdict.Result = "passed"
			if decided = e.decidedBy(rule); decided {
				verdict.Result, verdict.Reason = "decides", e.decision.Reason
			}
		}
		verdicts = append(verdicts, verdict)
	}
	return e.decision, verdicts
}
