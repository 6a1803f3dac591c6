package directory

import "context"

// None is the source that knows nothing and denies nothing: whoever is asked
// for exists as asked, active, with an unknown key and in no group.
type None struct{}

func (None) refresh(_ context.Context, n refreshRequest) (*Snapshot, error) {
	return &Snapshot{taken: n.now, goodUntil: forever, anyone: true, every: true}, nil
}

func (None) lookup(_ context.Context, name string) (User, error) {
	u := asRequested(name)
	return u, u.check()
}

func (None) wholeGroups() bool { return true }

func (None) requests() uint64 { return 0 }

func (None) origin() string { return "" }
