package directory

import (
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/tokengate/tokengate/store"
)

// ErrTooManyFailures says that so many wrong passwords came for a name that no
// other is handed to Jira for now.
var ErrTooManyFailures = errors.New("too many wrong passwords came for this user name: " +
	"log in to Jira in the browser and use the API tokens page there, after which passwords are taken again")

const (
	// maxFailures is how many wrong passwords for one name go to Jira. It asks
	// for a CAPTCHA after three, by default.
	maxFailures = 2

	// failureTTL is how long they count. Jira's own count has no end but a
	// good login.
	failureTTL = 7 * 24 * time.Hour

	// maxFailingNames bounds the names that are counted for. When there are more, the
	// half that failed longest ago is forgotten: names that somebody makes up
	// must not keep others out. Whoever wants a name forgotten has to make Jira
	// refuse wrong passwords for half as many other names first.
	maxFailingNames = 500_000
)

// lockout counts the failures of user names, so that nobody can lock somebody
// out of Jira by way of us; see Callers. An attempt counts as a failure until it
// is known to be none.
type lockout struct {
	now func() time.Time

	mu    sync.Mutex
	seed  maphash.Seed
	names map[uint64]nameFailures // by hash of the folded name; two with one share a count
	olderNames map[uint64]nameFailures // no name is in both
	swept time.Time
}

type nameFailures struct {
	count int32     // failures, with the attempts whose outcome is not known yet
	inFlight int32     // attempts under way
	last  time.Time // when the last attempt began
}

// hash returns what stands for a name. It is called with mu held.
func (l *lockout) hash(name string) uint64 { return maphash.String(l.seed, store.FoldOwner(name)) }

// begin counts an attempt, and returns ErrTooManyFailures if it may not be
// made. Whoever began one says once what came of it: succeeded, failed or
// cancelled. known says that the password was right lately.
func (l *lockout) begin(name string, known bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.names == nil {
		l.names, l.seed = make(map[uint64]nameFailures), maphash.MakeSeed()
	}
	now := l.now()
	l.sweep(now)
	id := l.hash(name)
	f, _ := l.get(id)
	if now.Sub(f.last) >= failureTTL {
		f.count = f.inFlight
	}
	// A password that was right lately is let past the count: it is one failure
	// more at the most, since then it is forgotten.
	if !known && f.count >= maxFailures {
		return ErrTooManyFailures
	}
	l.set(id, nameFailures{count: f.count + 1, inFlight: f.inFlight + 1, last: now})
	return nil
}

// succeeded forgets the failures of a name, as Jira does. Attempts under way
// may fail after this one, so they go on counting.
func (l *lockout) succeeded(name string) {
	l.end(name, func(f *nameFailures) { f.count = f.inFlight })
}

// loggedIn forgets the failures of a name whose user has logged in to a session
// which Jira knew at a time. Attempts that began later, or are under way, go on
// counting.
func (l *lockout) loggedIn(name string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.names == nil {
		return
	}
	id := l.hash(name)
	f, ok := l.get(id)
	if !ok || !f.last.Before(at) {
		return
	}
	f.count = f.inFlight
	l.set(id, f)
}

// failed leaves the attempt counted. It is for outcomes that nobody knows,
// too.
func (l *lockout) failed(name string) {
	l.end(name, func(*nameFailures) {})
}

// cancelled takes back an attempt whose password Jira did not look at.
func (l *lockout) cancelled(name string) {
	l.end(name, func(f *nameFailures) { f.count-- })
}

func (l *lockout) end(name string, change func(*nameFailures)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.hash(name)
	f, ok := l.get(id)
	if !ok {
		return
	}
	f.inFlight--
	change(&f)
	l.set(id, f)
}

func (l *lockout) get(id uint64) (f nameFailures, ok bool) {
	if f, ok = l.names[id]; !ok {
		f, ok = l.olderNames[id]
	}
	return f, ok
}

func (l *lockout) set(id uint64, f nameFailures) {
	delete(l.olderNames, id)
	if f.count <= 0 {
		delete(l.names, id)
		return
	}
	l.names[id] = f
	if len(l.names) >= maxFailingNames/2 {
		l.names, l.olderNames = make(map[uint64]nameFailures), l.names
	}
}

// sweep forgets what does not count any more, once an hour.
func (l *lockout) sweep(now time.Time) {
	if now.Sub(l.swept) < time.Hour {
		return
	}
	l.swept = now
	for _, names := range []map[uint64]nameFailures{l.names, l.olderNames} {
		for id, f := range names {
			if f.inFlight == 0 && now.Sub(f.last) >= failureTTL {
				delete(names, id)
			}
		}
	}
}
