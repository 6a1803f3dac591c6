//go:build race

package manage_test

// raceDetector says that the race detector makes these tests slow.
const raceDetector = true
