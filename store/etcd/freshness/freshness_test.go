package freshness_test

import (
	"testing"
	"time"

	"github.com/tokengate/tokengate/store/etcd/freshness"
)

func TestTracker(t *testing.T) {
	t.Parallel()
	read := func(revision int64, at time.Duration) func(*freshness.Tracker) {
		return func(f *freshness.Tracker) { f.Read(freshness.Read{Revision: revision, At: at}) }
	}
	apply := func(revision int64) func(*freshness.Tracker) {
		return func(f *freshness.Tracker) { f.Apply(revision) }
	}
	for _, test := range []struct {
		name   string
		steps  []func(*freshness.Tracker)
		at     time.Duration
		behind bool
	}{
		{name: "nothing"},
		{name: "a read without changes", steps: []func(*freshness.Tracker){read(10, 2)}, at: 2},
		{name: "an older read that answers later", steps: []func(*freshness.Tracker){read(10, 4), read(10, 2)}, at: 4},
		{name: "a read with a change", steps: []func(*freshness.Tracker){read(11, 2)}, behind: true},
		{name: "its change is delivered", steps: []func(*freshness.Tracker){read(11, 2), apply(11)}, at: 2},
		{name: "one of two changes", steps: []func(*freshness.Tracker){read(11, 2), read(12, 4), apply(11)}, at: 2, behind: true},
		{name: "both changes", steps: []func(*freshness.Tracker){read(11, 2), read(12, 4), apply(13)}, at: 4},
		{name: "an older revision", steps: []func(*freshness.Tracker){read(11, 2), apply(9)}, behind: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := &freshness.Tracker{Applied: 10}
			for _, step := range test.steps {
				step(f)
			}
			if f.At != test.at || f.Behind() != test.behind {
				t.Errorf("fresh as of %v, behind: %v; want %v, %v", f.At, f.Behind(), test.at, test.behind)
			}
		})
	}
	var f freshness.Tracker
	for i := range int64(100) { // the list of reads is bounded, and keeps the latest
		f.Read(freshness.Read{Revision: i + 1, At: time.Duration(i)})
	}
	f.Apply(68)
	if f.At != 0 {
		t.Errorf("fresh as of %v by a read that is forgotten", f.At)
	}
	if f.Apply(69); f.At != 68 {
		t.Errorf("fresh as of %v, want 68", f.At)
	}
}
