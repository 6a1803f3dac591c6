package main

import "time"

// scale is how much is measured, and for how long.
type scale struct {
	longest time.Duration // after which the run gives up

	tokens int // in the store of every row
	small  int // in the small store that it is compared with

	decideSizes  []int // the indexes of row a
	decideRounds int
	decideSlice  time.Duration

	loadRounds int // row b
	loadSlice  time.Duration

	edgeRounds int // row c, closed loop and fixed rate
	edgeSlice  time.Duration
	paceSlice  time.Duration

	starts         int // row d
	settle         time.Duration
	writeRounds    int
	writesPerRound int
	tailRounds     int // row e, too
	tailSlice      time.Duration

	listRounds int // row e
}

var fullScale = scale{
	longest: 20 * time.Minute,
	tokens:  1_000_000, small: 1000,
	decideSizes: []int{1, 1000, 100_000, 1_000_000}, decideRounds: 11, decideSlice: 30 * time.Millisecond,
	loadRounds: 12, loadSlice: time.Second,
	edgeRounds: 10, edgeSlice: time.Second, paceSlice: 2 * time.Second,
	starts: 5, settle: 3 * time.Second, writeRounds: 12, writesPerRound: 250,
	tailRounds: 8, tailSlice: time.Second,
	listRounds: 9,
}

var quickScale = scale{
	longest: 3 * time.Minute,
	tokens:  10_000, small: 1000,
	decideSizes: []int{1, 1000, 10_000}, decideRounds: 3, decideSlice: 4 * time.Millisecond,
	loadRounds: 3, loadSlice: 500 * time.Millisecond,
	edgeRounds: 3, edgeSlice: 400 * time.Millisecond, paceSlice: 600 * time.Millisecond,
	starts: 3, settle: 500 * time.Millisecond, writeRounds: 3, writesPerRound: 40,
	tailRounds: 3, tailSlice: 300 * time.Millisecond,
	listRounds: 3,
}
