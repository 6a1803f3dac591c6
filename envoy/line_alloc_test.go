//go:build !race

// Under the race detector a sync.Pool forgets now and then what was put into
// it, so allocations can be counted only without it.

package envoy

import (
	"io"
	"testing"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/store"
)

// The lines of requests cost no memory.
func TestLineAllocations(t *testing.T) {
	var tokens store.Indexed
	tokens.Index().Put(store.Token{ID: some.String(), Owner: store.Owner{Name: "fred"}, State: store.Active})
	s := &Server{Log: zap.New(jsonCore(io.Discard)), Usage: store.NewUsageRecorder(&tokens)}
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
	r, d := asked(), authz.Decision{Outcome: authz.Admitted, Reason: authz.Allowed, User: "fred", TokenID: some}
	if n := testing.AllocsPerRun(100, func() { s.tell(r, d, noon) }); n != 0 {
		t.Errorf("all that is told of an admitted request: %v allocations", n)
	}
}
