//go:build !long

package etcd_test

// The sizes of tests that take long.
const (
	kills      = 1
	usedTokens = 20_000
)
