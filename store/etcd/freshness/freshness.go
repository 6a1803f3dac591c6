// Package freshness knows how fresh the state is that a watch of etcd has delivered.
package freshness

import "time"

// Tracker knows from before which instant a watch has delivered every change. A linearizable read of etcd that began at
// an instant returned a revision: once all changes up to that revision are delivered, every change from before the
// instant is. Instants are those of Clock.Elapsed. The zero value has delivered nothing.
type Tracker struct {
	Applied int64         // the revision up to which all changes are delivered
	At      time.Duration // every change from before is delivered

	reads []Read // whose revision is above Applied, in order
}

// Read is a revision that etcd had at an instant or later.
type Read struct {
	Revision int64
	At       time.Duration
}

// maxReads bounds the list of reads. A watch that is so many reads behind is stale.
const maxReads = 32

// Read notes the result of a read, and reports whether changes up to its revision are still to be delivered.
func (t *Tracker) Read(r Read) (behind bool) {
	if r.Revision <= t.Applied {
		t.At = max(t.At, r.At)
		return false
	}
	if len(t.reads) == maxReads {
		t.reads = t.reads[1:]
	}
	t.reads = append(t.reads, r)
	return true
}

// Apply notes that all changes up to a revision are delivered.
func (t *Tracker) Apply(revision int64) {
	t.Applied = max(t.Applied, revision)
	for t.Behind() && t.reads[0].Revision <= t.Applied {
		t.At = max(t.At, t.reads[0].At)
		t.reads = t.reads[1:]
	}
}

// Behind reports whether etcd is known to have changes that are not delivered.
func (t *Tracker) Behind() bool { return len(t.reads) > 0 }
