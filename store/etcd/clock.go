package etcd

import "time"

// clock is the time, passed in by tests.
type clock struct {
	now     func() time.Time     // the wall clock
	elapsed func() time.Duration // since some instant, with the time that the machine was suspended
	tick    func() (ticks <-chan time.Time, stop func())
}

// freshEvery is how often Watch asks how fresh it is.
const freshEvery = 2 * time.Second

var systemClock = clock{
	now:     time.Now,
	elapsed: sinceBoot,
	tick: func() (<-chan time.Time, func()) {
		t := time.NewTicker(freshEvery)
		return t.C, t.Stop
	},
}
