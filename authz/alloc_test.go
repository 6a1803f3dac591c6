package authz_test

import (
	"testing"

	"github.com/tokengate/tokengate/authz"
)

// Decisions do not allocate once the request's Memory has grown, so that garbage
// collection does not slow answers down.
func TestDecideWithoutAllocating(t *testing.T) {
	if raceDetector {
		t.Skip("counted without the race detector")
	}
	w := newWorld(t)
	cases := append(decisionCases(),
		decisionCase{name: "a browser's form", method: "POST", path: "/secure/QuickEditIssue.jspa?issueId=1&decorator=none", outcome: passed, reason: authz.NoCredential},
		decisionCase{name: "a write", method: "PUT", path: "/rest/api/2/issue/A-1", authorization: "Bearer {fred}", outcome: admitted, reason: authz.TokenAllowed})
	for _, c := range cases {
		r, view := c.request(w)
		var d authz.Decision
		if n := testing.AllocsPerRun(20, func() { d = authz.Decide(r, view) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
		if d.Reason != c.reason {
			t.Errorf("%s: %v, want %v", c.name, d.Reason, c.reason)
		}
	}
}
