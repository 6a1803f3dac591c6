package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokengate/tokengate/store"
)

// Source is where a Directory gets its snapshots from: None, *File or *Jira.
type Source interface {
	// refresh makes a new snapshot, aside from the last one.
	refresh(context.Context, refreshRequest) (*Snapshot, error)

	// lookup asks for one user by name. Its errors are those of Lookup.
	lookup(ctx context.Context, name string) (User, error)

	// wholeGroups reports whether an answer of lookup names all groups that the
	// user is in. Jira's leaves out those that a group of theirs is in.
	wholeGroups() bool

	// requests returns how many requests were sent so far.
	requests() uint64

	// origin tells saved snapshots from those of another Jira. It is empty where
	// they need not be saved.
	origin() string
}

// refreshRequest is what a source is given for a refresh.
type refreshRequest struct {
	now    time.Time
	owners []Owner
	since  time.Time     // when the last good refresh began
	last   *Snapshot     // in force; nil: none
	every  time.Duration // until the next refresh
	stale  time.Duration // how long an answer is good
}

// Options are what New needs. All fields are required.
type Options struct {
	Source     Source
	Owners     func() []Owner // who owns tokens, now
	Every      time.Duration  // between the beginnings of two refreshes
	StaleAfter time.Duration  // how long an answer is good; above Every

	// Publish is called after each refresh, whether it succeeded or not, and
	// after a Restore that succeeded, with the snapshot that is in force: nil
	// until one has succeeded. What it makes
	// of it depends on the time (see Snapshot.Owner), so it has to look again
	// at the same snapshot, too. Calls do not overlap.
	Publish func(*Snapshot)

	Now    func() time.Time
	Random func() float64 // from 0 up to 1; spreads the refreshes of several servers
}

// Directory keeps the last good snapshot of its source. It is safe for
// concurrent use.
type Directory struct {
	options Options

	refreshing sync.Mutex // held during a refresh; guards since
	since      time.Time

	saving sync.Mutex // held during a Save; guards saved
	saved  *Snapshot  // in the file; nil: it is not known what is

	snapshot atomic.Pointer[Snapshot] // stored while mu is held

	mu      sync.Mutex // guards what follows
	learned []User     // looked up since the refresh under way began
	stats   Stats

	lookups singleflight[string]
}

// Stats are what a Directory has to tell of itself.
type Stats struct {
	Refreshed    uint64        // refreshes that succeeded
	Failed       uint64        // refreshes that failed
	Requests     uint64        // sent to Jira with the service credential
	LastDuration time.Duration // of the last refresh
	LastError    string        // of the last refresh, fit for a log; empty if it succeeded
	Unanswered   int           // owners of whom nothing good was known after the last good refresh
	OwnerError   string        // why one owner got no answer in it; empty if all who were asked for got one
}

// New returns a Directory that knows nobody until it is restored or refreshed.
func New(o Options) *Directory { return &Directory{options: o} }

// Snapshot returns the snapshot in force; nil if none was restored and no
// refresh has succeeded yet. It waits for nothing.
func (d *Directory) Snapshot() *Snapshot { return d.snapshot.Load() }

// GoodUntil returns the instant from which decisions may not rely on the
// snapshot in force any more; zero if there is none.
func (d *Directory) GoodUntil() time.Time { return d.Snapshot().GoodUntil() }

// Owner returns who the owner of a token is by what is known now, without asking:
// see Snapshot.Owner.
func (d *Directory) Owner(name, key string) (User, error) {
	return d.Snapshot().Owner(name, key, d.options.Now())
}

// Age returns how old the snapshot in force is, and false if there is none.
func (d *Directory) Age() (time.Duration, bool) {
	s := d.Snapshot()
	if s == nil {
		return 0, false
	}
	return d.options.Now().Sub(s.Taken()), true
}

// Stats returns what happened so far.
func (d *Directory) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	stats := d.stats
	stats.Requests = d.options.Source.requests()
	return stats
}

// Run refreshes at once and then again and again, until ctx ends.
func (d *Directory) Run(ctx context.Context) {
	for ctx.Err() == nil {
		begun := d.options.Now()
		_ = d.Refresh(ctx) // Stats tell of it, and the next one is on its way
		// Never later than asked for, so that what a refresh finds out is known
		// within that time.
		every := time.Duration((0.8 + 0.2*d.options.Random()) * float64(d.options.Every))
		_ = sleep(ctx, max(every-d.options.Now().Sub(begun), d.options.Every/10))
	}
}

// Refresh asks the source, and puts a new snapshot in force if all went well.
// Its errors hold no secret.
func (d *Directory) Refresh(ctx context.Context) error {
	d.refreshing.Lock()
	defer d.refreshing.Unlock()
	begun := d.options.Now()
	n := refreshRequest{
		now:    begun,
		owners: d.options.Owners(),
		since:  d.since,
		every:  d.options.Every,
		stale:  d.options.StaleAfter,
	}
	d.mu.Lock()
	n.last, d.learned = d.Snapshot(), nil
	d.mu.Unlock()

	// A snapshot that takes longer than it is good for is good for nothing.
	ctx, cancel := context.WithTimeout(ctx, d.options.StaleAfter)
	defer cancel()
	next, err := d.options.Source.refresh(ctx, n)

	d.mu.Lock()
	d.stats.LastDuration = d.options.Now().Sub(begun)
	if err != nil {
		d.stats.Failed++
		d.stats.LastError = strings.ToValidUTF8(err.Error(), "?")
		d.mu.Unlock()
		d.options.Publish(d.Snapshot())
		return fmt.Errorf("refresh the directory: %w", err)
	}
	for _, u := range d.learned {
		next.merge(u)
	}
	d.snapshot.Store(next)
	d.stats.Refreshed++
	d.stats.LastError = ""
	d.mu.Unlock()

	d.since = begun
	silent, why := unanswered(next, n.owners, d.options.Now())
	d.mu.Lock()
	d.stats.Unanswered, d.stats.OwnerError = silent, why
	d.mu.Unlock()
	d.options.Publish(d.Snapshot())
	return nil
}

// unanswered returns how many owners a snapshot can't tell about, and why the
// source gave no answer about one.
func unanswered(s *Snapshot, owners []Owner, now time.Time) (n int, why string) {
	for _, o := range owners {
		if _, err := s.Owner(o.Name, o.Key, now); errors.Is(err, ErrUnavailable) {
			n++
		}
	}
	if s.silent != nil {
		why = strings.ToValidUTF8(s.silent.Error(), "?")
	}
	return n, why
}

// Lookup returns the user with this name, in any case: from the snapshot if
// that is good and said so itself, else by asking. What Jira says of one user
// alone adds to the groups that the snapshot has; without one that is good the
// groups are unknown. Its errors wrap
// ErrUnknownUser, ErrInactive (with the User), ErrUnusableName or
// ErrUnavailable.
func (d *Directory) Lookup(ctx context.Context, name string) (User, error) {
	if err := (User{Name: name}).check(); err != nil {
		return User{}, err
	}
	s := d.Snapshot()
	u, ok := s.ByName(name)
	if ok && (s.anyone || d.options.Now().Before(s.goodUntil) && !u.Asked.Before(s.taken)) {
		return u, inactive(u)
	}
	u, err := d.lookups.do(ctx, store.FoldOwner(name), lookupTime, func(ctx context.Context) (User, error) {
		asked := d.options.Now()
		u, err := d.options.Source.lookup(ctx, name)
		if err == nil {
			u.Asked = asked
			u = d.learn(u)
		}
		return u, err
	})
	if err != nil {
		return User{}, err
	}
	return u, inactive(u)
}

func inactive(u User) error {
	if !u.Active {
		return ErrInactive
	}
	return nil
}

// learn adds a user to the snapshot, so that tokens made for them are good
// before the next refresh, and returns the user as known then.
func (d *Directory) learn(u User) User {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := store.FoldOwner(u.Name)
	d.learned = slices.DeleteFunc(d.learned, func(other User) bool { return store.FoldOwner(other.Name) == name })
	if len(d.learned) < maxLearned {
		d.learned = append(d.learned, u)
	}
	s := d.Snapshot()
	if !d.options.Source.wholeGroups() {
		if s != nil && d.options.Now().Before(s.goodUntil) {
			u.Groups = s.joined(u)
		} else {
			u.Groups = Groups{}
		}
	}
	if s != nil && s.byName != nil {
		d.snapshot.Store(s.with(u))
	}
	return u
}
