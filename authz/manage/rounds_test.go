//go:build !long

package manage_test

// rounds is how often each race is run.
const rounds = 60
