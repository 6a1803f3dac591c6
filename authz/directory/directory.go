// Package directory knows people: who exists, who is active, who belongs to
// which group, and who is calling.
//
// A Directory keeps the last good Snapshot of a Source and refreshes it on a
// timer. A Snapshot is built aside and swapped whole, so that whatever fails
// midway leaves the one before in force; it says how long decisions may rely
// on it. Nothing here is on the way of a request: whoever decides is given
// flags that were made from a Snapshot. There are three sources:
//
//   - None: whoever is asked for exists as asked, and is in no group.
//   - File: a YAML file that lists everybody.
//   - Jira: Jira's REST API, asked with a service credential.
//
// What Jira said is saved in a file and restored after a restart, with its age
// (see Directory.Save), so that tokens need not wait for the first refresh.
//
// Callers finds out who sent a request, whatever the source is, by handing the
// request's own cookie or password to Jira. It takes care that nobody can lock
// a user out of Jira by way of it, as far as its own doc says.
//
// # What Jira is asked
//
// Members of the groups that the configuration names come from
// GET /rest/api/2/group/member in pages of 50. Owners of tokens who are in none
// of these groups come from GET /rest/api/2/user/list (Jira 11 and 10.3), else
// from GET /rest/api/2/user/search, which gives all users up to Jira 8 and 9
// or the first 1000 of them (JRASERVER-65089), and the first 100 from Jira 10
// on (JRASERVER-78660). Who is not among these is asked for one by one, at
// GET /rest/api/2/user. All of it stays within 10 requests a second, one after
// the other; of them look-ups of users while somebody waits (Directory.Lookup)
// may take 2 a second. 10,000 owners take
//
//   - 205 requests, 20 seconds, if they are in a group,
//   - 10 requests if they are in none and Jira has user/list,
//   - 11 requests if they are in none and user/search gives everybody,
//   - 600 requests a minute otherwise, which reach everybody in 17 minutes: there
//     an answer has to be good for longer than the default, or the owners have
//     to be in a group that the configuration names.
//
// The pages of a group have those who are in it by a group within it, and
// GET /rest/api/2/user leaves such groups out. So the pages say who is in a group
// that the configuration names; what was said of one user alone adds to it until
// the next refresh, and takes nothing away.
//
// Fields that are missing are unknown: groups that are not named are not "no
// groups". The one field that is insisted on is active, except in the answer
// to a login, which an inactive user does not get: Jira has sent it ever since
// users can be deactivated (JRASERVER-29422), so its absence says that
// somebody else has answered.
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
	"golang.org/x/sync/singleflight"
)

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
	lookedUp []User     // looked up since the refresh under way began
	stats   Stats

	lookups singleflight.Group
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
		select {
		case <-time.After(max(every-d.options.Now().Sub(begun), d.options.Every/10)):
		case <-ctx.Done():
		}
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
		lastBegun:  d.since,
		interval:  d.options.Every,
		staleAfter:  d.options.StaleAfter,
	}
	d.mu.Lock()
	n.last, d.lookedUp = d.Snapshot(), nil
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
	for _, u := range d.lookedUp {
		next.merge(u)
	}
	d.snapshot.Store(next)
	d.stats.Refreshed++
	d.stats.LastError = ""
	d.mu.Unlock()

	d.since = begun
	silent, why := countUnanswered(next, n.owners, d.options.Now())
	d.mu.Lock()
	d.stats.Unanswered, d.stats.OwnerError = silent, why
	d.mu.Unlock()
	d.options.Publish(d.Snapshot())
	return nil
}

// countUnanswered returns how many owners a snapshot can't tell about, and why the
// source gave no answer about one.
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
	if ok && (s.acceptAll || d.options.Now().Before(s.goodUntil) && !u.Asked.Before(s.taken)) {
		return u, checkActive(u)
	}
	// The lookup goes on for other callers when the first one has left.
	shared := context.WithoutCancel(ctx)
	answer := d.lookups.DoChan(store.FoldOwner(name), func() (any, error) {
		ctx, cancel := context.WithTimeout(shared, lookupTimeout)
		defer cancel()
		asked := d.options.Now()
		u, err := d.options.Source.lookup(ctx, name)
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
		return u, checkActive(u)
	case <-ctx.Done():
		return User{}, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// recordLookup adds a user to the snapshot, so that tokens made for them are good
// before the next refresh, and returns the user as known then.
func (d *Directory) recordLookup(u User) User {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := store.FoldOwner(u.Name)
	d.lookedUp = slices.DeleteFunc(d.lookedUp, func(other User) bool { return store.FoldOwner(other.Name) == name })
	if len(d.lookedUp) < maxLookedUp {
		d.lookedUp = append(d.lookedUp, u)
	}
	s := d.Snapshot()
	if !d.options.Source.wholeGroups() {
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
