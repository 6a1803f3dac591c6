package authz_test

import (
	"testing"

	"github.com/tokengate/tokengate/authz"
)

// No decision takes memory from the heap once its request's Memory has grown,
// so that the garbage collector is not a reason for a slow answer.
func TestDecideWithoutAllocating(t *testing.T) {
	if raceDetector {
		t.Skip("counted without the race detector")
	}
	w := newWorld(t)
	cases := append(rulings(),
		ruling{name: "a browser's form", method: "POST", path: "/secure/QuickEditIssue.jspa?issueId=1&decorator=none", outcome: passed, reason: authz.NoCredential},
		ruling{name: "a write", method: "PUT", path: "/rest/api/2/issue/A-1", authorization: "Bearer {fred}", outcome: admitted, reason: authz.TokenAllowed})
	for _, c := range cases {
		r, view := c.asks(w)
		var d authz.Decision
		if n := testing.AllocsPerRun(20, func() { d = authz.Decide(r, view) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
		if d.Reason != c.reason {
			t.Errorf("%s: %v, want %v", c.name, d.Reason, c.reason)
		}
	}
}
