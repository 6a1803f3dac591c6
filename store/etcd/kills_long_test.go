//go:build long

package etcd_test

// The sizes of tests that take long.
const (
	kills      = 20
	usedTokens = 100_000
)
