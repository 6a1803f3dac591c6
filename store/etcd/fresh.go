package etcd

import "time"

// freshness is what a Watch knows about how fresh it is. A linearizable read that began at an
// instant returned a revision: once the Watch has delivered all changes up to that, it has every change
// from before the instant.
//
// Instants are those of clock.elapsed. The wall clock may be set, and package cached compares with it:
// therefore each report gives the instant as the wall clock now sees it, and it is repeated while etcd does
// not answer.
type freshness struct {
	applied int64 // all changes up to this revision were delivered
	at      time.Duration
	reads   []datedRevision // whose revision is above applied, in order
}

// datedRevision is a revision that etcd had at an instant or later.
type datedRevision struct {
	revision int64
	at       time.Duration
}

// maxReads bounds the list of reads. A Watch that is so many reads behind is stale.
const maxReads = 32

// read notes the result of a read, and reports whether the Watch has yet to deliver changes up to it.
func (f *freshness) read(r datedRevision) (behind bool) {
	if r.revision <= f.applied {
		f.at = max(f.at, r.at)
		return false
	}
	if len(f.reads) == maxReads {
		f.reads = f.reads[1:]
	}
	f.reads = append(f.reads, r)
	return true
}

// apply notes that all changes up to a revision were delivered.
func (f *freshness) apply(revision int64) {
	f.applied = max(f.applied, revision)
	for len(f.reads) > 0 && f.reads[0].revision <= f.applied {
		f.at = max(f.at, f.reads[0].at)
		f.reads = f.reads[1:]
	}
}

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
