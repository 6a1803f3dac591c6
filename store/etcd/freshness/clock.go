package freshness

import "time"

// Clock is the time, passed in by tests.
type Clock struct {
	Now     func() time.Time     // the wall clock, which may be set
	Elapsed func() time.Duration // since some instant, with the time that the machine was suspended
	Tick    func() (ticks <-chan time.Time, stop func())
}

// Every is how often System ticks: how often a watch asks etcd how fresh it is.
const Every = 2 * time.Second

// System is the machine's clock.
var System = Clock{
	Now:     time.Now,
	Elapsed: sinceBoot,
	Tick: func() (<-chan time.Time, func()) {
		t := time.NewTicker(Every)
		return t.C, t.Stop
	},
}

// Wall returns an instant of Elapsed as the wall clock sees it now. It changes when somebody sets the wall clock.
func (c Clock) Wall(at time.Duration) time.Time { return c.Now().Add(at - c.Elapsed()) }
