package main

import (
	"os"
	"testing"
)

// TestMain lets the tests start this program's roles, as the program does.
func TestMain(m *testing.M) {
	if playRole() {
		return
	}
	os.Exit(m.Run())
}
