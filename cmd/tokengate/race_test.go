//go:build race

package main

// raceDetector says that the programs of the tests need several times the memory.
const raceDetector = true
