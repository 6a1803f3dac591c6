package main

import (
	"slices"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz"
)

// Every reason is measured, and every request is decided for its reason: a
// slice fails otherwise.
func TestDecideCases(t *testing.T) {
	sizes := scale{decideSizes: []int{1, 2000}, decideRounds: 1, decideSlice: time.Microsecond}
	x, err := newIndexes(sizes.decideSizes)
	if err != nil {
		t.Fatal(err)
	}
	measured := map[authz.Reason]bool{}
	for _, c := range decideCases() {
		measured[c.reason] = true
		results, err := decideRounds(t.Context(), sizes, c, x)
		if err != nil {
			t.Error(err)
			continue
		}
		for i, result := range results {
			if len(result) != 1 || result[0].ns <= 0 {
				t.Errorf("%s at %d: %v", c.label(), sizes.decideSizes[i], result)
			}
		}
	}
	if i := slices.IndexFunc(authz.Reasons(), func(r authz.Reason) bool { return !measured[r] }); i >= 0 {
		t.Errorf("nothing is measured for %v", authz.Reasons()[i])
	}
}

func TestDecideSeesAWrongReason(t *testing.T) {
	c := decideCases()[0]
	c.reason = authz.TokenAllowed
	x, err := newIndexes([]int{1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decideRounds(t.Context(), scale{decideSizes: []int{1}, decideRounds: 1, decideSlice: time.Microsecond}, c, x); err == nil {
		t.Error("a request that was not allowed was measured as one")
	}
}
