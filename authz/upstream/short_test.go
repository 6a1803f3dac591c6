//go:build !long

package upstream_test

// rounds is how often two servers connect a user at once.
const rounds = 3
