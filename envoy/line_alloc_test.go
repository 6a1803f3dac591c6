//go:build !race

// Under the race detector a sync.Pool forgets now and then what was put into
// it, so allocations can be counted only without it.

package envoy

import (
	"io"
	"testing"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz"
)

// The lines of requests cost no memory.
func TestLineAllocations(t *testing.T) {
	s := &Server{Log: zap.New(jsonCore(io.Discard))}
	for _, d := range []authz.Decision{
		{Outcome: authz.Admitted, Reason: authz.Allowed, User: "fred", TokenID: some},
		{Outcome: authz.Passed, Reason: authz.NoCredential},
		{Reason: authz.ReadOnly, User: "fred", TokenID: some},
		{Reason: authz.UnknownToken, TokenID: some},
	} {
		r := asked()
		if n := testing.AllocsPerRun(100, func() { s.log(r, d, noon) }); n != 0 {
			t.Errorf("%v: %v allocations", d.Reason, n)
		}
	}
}
