// Package directory knows the application's users: who exists, who is active and who is in
// which group. Start reading at Directory.
//
// A Directory refreshes a Snapshot from a Source on a timer. A snapshot is
// built completely before it replaces the last one, so a failed refresh changes
// nothing, and it carries the time until which decisions may rely on it. No
// request waits for a refresh: decisions read flags that are computed from a
// snapshot. There are three sources:
//
//   - None accepts every name and knows no groups.
//   - File reads a YAML file that lists all users.
//   - The source of a product.Client asks the application with a service credential.
//
// A snapshot of the application is saved to a file and restored after a restart with its
// age (see Directory.Save), so tokens work before the first refresh. Several servers with
// one store share their snapshots instead: one of them asks, and the others take what it
// saved in the store (see Shared). Their clocks must be in step: a snapshot that is a
// minute older by a server's clock lives a minute less there.
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

	"golang.org/x/sync/singleflight"

	"github.com/tokengate/tokengate/store"
)

// Options configure a Directory. All fields are required.
type Options struct {
	Source     Source
	Owners     func() []Owner // current token owners
	Every      time.Duration  // from the start of one refresh to the start of the next
	StaleAfter time.Duration  // lifetime of an answer; more than Every

	// Publish is called after each refresh, successful or not, and after a
	// successful Restore, with the current snapshot, which is nil before the
	// first success. Because Snapshot.Owner depends on the time, Publish must
	// re-evaluate an unchanged snapshot too. Calls do not overlap.
	Publish func(*Snapshot)

	Now    func() time.Time
	Random func() float64 // in [0, 1); spreads the refreshes of several servers
}

// Directory keeps the last good snapshot of its source. It is safe for
// concurrent use.
type Directory struct {
	options Options

	refreshing sync.Mutex // held during a refresh; guards since
	since      time.Time

	saving sync.Mutex // held during Save; guards saved
	saved  *Snapshot  // in the file; nil if unknown

	snapshot atomic.Pointer[Snapshot] // stored with mu held

	mu       sync.Mutex // guards the fields below
	lookedUp []User     // users looked up since the current refresh began
	stats    Stats

	lookups singleflight.Group
}

// Stats are a Directory's counters and the outcome of its last refresh.
type Stats struct {
	Refreshed  uint64 // successful refreshes whose snapshot was published
	Failed     uint64 // failed refreshes
	Requests   uint64 // sent with the service credential
	LastError  string // of the last refresh, safe to log; empty if it succeeded
	Unanswered int    // owners without a current answer after the last successful refresh
	OwnerError string // why one owner got no answer in it; empty if none failed
}

// LookupTimeout limits the lookup of one user while a caller waits.
const LookupTimeout = 5 * time.Second

// New returns a Directory that is empty until Restore or Refresh.
func New(o Options) *Directory { return &Directory{options: o} }

// Snapshot returns the current snapshot, or nil before the first restore or
// Refresh. It does not block.
func (d *Directory) Snapshot() *Snapshot { return d.snapshot.Load() }

// GoodUntil returns the time from which decisions may no longer rely on the
// current snapshot; zero without one.
func (d *Directory) GoodUntil() time.Time { return d.Snapshot().GoodUntil() }

// Owner returns the owner of a token from the current snapshot: see
// Snapshot.Owner.
func (d *Directory) Owner(name, key string) (User, error) {
	return d.Snapshot().Owner(name, key, d.options.Now())
}

// Age returns the age of the current snapshot, and false if there is none.
func (d *Directory) Age() (time.Duration, bool) {
	s := d.Snapshot()
	if s == nil {
		return 0, false
	}
	return d.options.Now().Sub(s.Taken()), true
}

// Stats returns the current counters.
func (d *Directory) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	stats := d.stats
	stats.Requests = d.options.Source.Requests()
	return stats
}

// Run refreshes immediately and then repeatedly until ctx ends.
func (d *Directory) Run(ctx context.Context) {
	for ctx.Err() == nil {
		begun := d.options.Now()
		_ = d.Refresh(ctx) // recorded in Stats; the next refresh follows
		// Never later than Every, which is how soon changes must be seen.
		every := time.Duration((0.8 + 0.2*d.options.Random()) * float64(d.options.Every))
		select {
		case <-time.After(max(every-d.options.Now().Sub(begun), d.options.Every/10)):
		case <-ctx.Done():
		}
	}
}

// Refresh asks the source and replaces the snapshot if that succeeds. Its
// errors contain no secret.
func (d *Directory) Refresh(ctx context.Context) error {
	d.refreshing.Lock()
	defer d.refreshing.Unlock()
	begun := d.options.Now()
	q := RefreshRequest{
		Now:        begun,
		Owners:     d.options.Owners(),
		LastBegun:  d.since,
		Interval:   d.options.Every,
		StaleAfter: d.options.StaleAfter,
	}
	d.mu.Lock()
	q.Last, d.lookedUp = d.Snapshot(), nil
	d.mu.Unlock()

	// A snapshot that takes longer than its lifetime is useless.
	ctx, cancel := context.WithTimeout(ctx, d.options.StaleAfter)
	defer cancel()
	next, err := d.options.Source.Refresh(ctx, q)

	d.mu.Lock()
	if err != nil {
		d.stats.LastError = strings.ToValidUTF8(err.Error(), "?")
		d.mu.Unlock()
		d.publish(&d.stats.Failed)
		return fmt.Errorf("refresh the directory: %w", err)
	}
	if next == q.Last {
		next = d.Snapshot() // with the users looked up meanwhile
	} else {
		for _, u := range d.lookedUp {
			next.merge(u)
		}
		d.snapshot.Store(next)
	}
	d.stats.LastError = ""
	d.mu.Unlock()

	d.since = begun
	unanswered, why := countUnanswered(next, q.Owners, d.options.Now())
	d.mu.Lock()
	d.stats.Unanswered, d.stats.OwnerError = unanswered, why
	d.mu.Unlock()
	d.publish(&d.stats.Refreshed)
	return nil
}

// publish publishes the current snapshot, and then counts the refresh.
func (d *Directory) publish(result *uint64) {
	d.options.Publish(d.Snapshot())
	d.mu.Lock()
	*result++
	d.mu.Unlock()
}

// countUnanswered returns the number of owners that a snapshot has no answer
// for, and one of the source's errors.
func countUnanswered(s *Snapshot, owners []Owner, now time.Time) (n int, why string) {
	for _, o := range owners {
		if _, err := s.Owner(o.Name, o.Key, now); errors.Is(err, ErrUnavailable) {
			n++
		}
	}
	if s.ownerErr != nil {
		why = strings.ToValidUTF8(s.ownerErr.Error(), "?")
	}
	return n, why
}

// answered returns the user with this name if the current snapshot answers that.
func (d *Directory) answered(name string) (User, bool) {
	s := d.Snapshot()
	u, ok := s.ByName(name)
	return u, ok && (s.acceptAll || d.options.Now().Before(s.goodUntil) && !u.Asked.Before(s.taken))
}

// Lookup returns the user with this name, ignoring case: from a snapshot that
// is current and has the answer of its own refresh, otherwise from the source.
// The source's answer adds to the groups in the snapshot; without a current
// snapshot the groups are unknown. Errors wrap ErrUnknownUser, ErrInactive
// (returned with the User), ErrUnusableName or ErrUnavailable.
func (d *Directory) Lookup(ctx context.Context, name string) (User, error) {
	if err := (User{Name: name}).Check(); err != nil {
		return User{}, err
	}
	if u, ok := d.answered(name); ok {
		return u, CheckActive(u)
	}
	// The Lookup continues for other waiting callers if this one leaves.
	shared := context.WithoutCancel(ctx)
	answer := d.lookups.DoChan(store.FoldOwner(name), func() (any, error) {
		ctx, cancel := context.WithTimeout(shared, LookupTimeout)
		defer cancel()
		if u, ok := d.answered(name); ok { // by a lookup that has ended since
			return u, nil
		}
		asked := d.options.Now()
		u, err := d.options.Source.Lookup(ctx, name)
		if err != nil {
			return User{}, err
		}
		u.Asked = asked
		return d.recordLookup(u), nil
	})
	select {
	case r := <-answer:
		if r.Err != nil {
			return User{}, r.Err
		}
		u := r.Val.(User)
		return u, CheckActive(u)
	case <-ctx.Done():
		return User{}, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// recordLookup adds a user to the snapshot, so that their tokens work before
// the next refresh, and returns the user with the groups known then.
func (d *Directory) recordLookup(u User) User {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := store.FoldOwner(u.Name)
	d.lookedUp = slices.DeleteFunc(d.lookedUp, func(other User) bool { return store.FoldOwner(other.Name) == name })
	if len(d.lookedUp) < maxLookedUp {
		d.lookedUp = append(d.lookedUp, u)
	}
	s := d.Snapshot()
	if !d.options.Source.WholeGroups() {
		if s != nil && d.options.Now().Before(s.goodUntil) {
			u.Groups = s.mergeGroups(u)
		} else {
			u.Groups = Groups{}
		}
	}
	if s != nil && s.byName != nil {
		d.snapshot.Store(s.with(u))
	}
	return u
}
