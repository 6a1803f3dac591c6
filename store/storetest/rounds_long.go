//go:build long

package storetest

// rounds is how often a race of two goroutines is run.
const rounds = 1000
