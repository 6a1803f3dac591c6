//go:build !race

package manage_test

const raceDetector = false
