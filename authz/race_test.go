//go:build race

package authz_test

// raceDetector says that pools, such as those of regular expressions, forget at
// random what was put into them: what they save cannot be counted.
const raceDetector = true
