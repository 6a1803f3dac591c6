package main

import (
	"testing"

	"github.com/tokengate/tokengate/authz"
)

func TestDecideBenchmarkFailsOnAWrongReason(t *testing.T) {
	index, err := newIndex(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decideBenchmark(permitAll(index), searchPath, []string{""}, authz.TokenAllowed)(t.Context()); err == nil {
		t.Error("a request without a token was measured as allowed")
	}
}
