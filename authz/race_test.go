//go:build race

package authz_test

// raceDetector says that pools, such as those of regular expressions, drop values at
// random, so that allocations cannot be counted.
const raceDetector = true
