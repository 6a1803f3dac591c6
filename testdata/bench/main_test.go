package main

import (
	"io"
	"os"
	"testing"
)

// TestMain lets the tests start this program's roles.
func TestMain(m *testing.M) {
	if runRole() {
		return
	}
	os.Exit(m.Run())
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"-rows", "h"}, {"-rows", ""}, {"-rows", "a,,b"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
