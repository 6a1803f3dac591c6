package authz

// Verdict is what one rule says of a request.
type Verdict struct {
	Rule   string // what the rule asks
	Result string // "decides", "goes on" or "not reached"
	Reason Reason // where it decides
}

// Explain answers a request as Decide does, by the same rules, and tells what
// each of them said.
func Explain(r *Request, v View) (Decision, []Verdict) {
	// The Decision is the caller's to keep: its memory serves no other.
	r.Memory = nil
	defer func() { r.Memory = nil }()
	e := evaluation{request: r, view: v}
	verdicts := make([]Verdict, 0, ruleCount)
	decided := false
	for rule := range ruleCount {
		verdict := Verdict{Rule: ruleNames[rule], Result: "not reached"}
		if !decided {
			verdict.Result = "goes on"
			if decided = e.decides(rule); decided {
				verdict.Result, verdict.Reason = "decides", e.decision.Reason
			}
		}
		verdicts = append(verdicts, verdict)
	}
	return e.decision, verdicts
}
