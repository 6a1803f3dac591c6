//go:build !race

package authz_test

const raceDetector = false
