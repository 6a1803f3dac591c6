//go:build long

package manage_test

// rounds is how often each race is run: a thousand times in make test-long, which
// runs each test three times.
const rounds = 350
