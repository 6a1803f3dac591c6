//go:build !long

package storetest

// rounds is how often a race of two goroutines is run. The nested tests are the
// same races in a fixed order.
const rounds = 100
