//go:build !race

// Under the race detector a sync.Pool drops some values, so allocations can be
// counted only without it.

package envoy

import (
	"io"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy/wire"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
)

// Only the message of a line is allocated. Recording the use of a token or password
// allocates nothing.
func TestLineAllocations(t *testing.T) {
	var tokens cached.Store
	tokens.Index().Put(store.Token{ID: some.String(), Owner: store.Owner{Name: "fred"}, State: store.Active})
	s := &Server{Log: zap.New(jsonCore(io.Discard)), Usage: cached.NewUsageRecorder(&tokens), Records: NewRecorder(nil, nil, nil)}
	s.Records.IsKnown = func(name string) (string, bool) { return "fred", name == "fred" }
	for _, c := range []struct {
		decision authz.Decision
		want     float64
	}{
		{authz.Decision{Outcome: authz.Allowed, Reason: authz.TokenAllowed, User: "fred", TokenID: some}, 1},
		{authz.Decision{Outcome: authz.PassThrough, Reason: authz.NoCredential}, 0},
		{authz.Decision{Outcome: authz.PassThrough, Reason: authz.Password, ClaimedUser: "fred"}, 0},
		{authz.Decision{Outcome: authz.PassThrough, Reason: authz.Password, ClaimedUser: "nobody"}, 0},
		{authz.Decision{Reason: authz.ReadOnly, User: "fred", TokenID: some}, 1},
		{authz.Decision{Reason: authz.UnknownToken, TokenID: some}, 0}, // beyond the budget
	} {
		r := asked()
		for range 1000 {
			s.report(r, c.decision, noon)
		}
		if n := testing.AllocsPerRun(100, func() { s.report(r, c.decision, noon) }); n != c.want {
			t.Errorf("%v: %v allocations, want %v", c.decision.Reason, n, c.want)
		}
	}
}

// Counting a token that came over plain HTTP allocates nothing.
func TestPlainAllocations(t *testing.T) {
	s := &Server{Log: zap.New(jsonCore(io.Discard)), Metrics: NewMetrics(prometheus.NewRegistry())}
	d, r := authz.Decision{Outcome: authz.Allowed, Reason: authz.TokenAllowed, User: "fred", TokenID: some}, asked()
	if n := testing.AllocsPerRun(100, func() { s.reportPlain(r, d, noon) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// Encoding the answer to an allowed request allocates nothing.
func TestAllowedAnswerAllocations(t *testing.T) {
	answers, err := newResponses(config.Default().Upstream)
	if err != nil {
		t.Fatal(err)
	}
	codec := wire.Codec("")
	d := authz.Decision{Outcome: authz.Allowed, Reason: authz.TokenAllowed, User: "fred", TokenID: some, Path: "/rest/x"}
	if n := testing.AllocsPerRun(100, func() {
		data, err := codec.Marshal(answers.to(d))
		if err != nil {
			t.Fatal(err)
		}
		data.Free()
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
