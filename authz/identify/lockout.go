package identify

import (
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/tokengate/tokengate/store"
)

// ErrTooManyFailures means that no more passwords for this user name are passed
// on for now.
var ErrTooManyFailures = errors.New("too many wrong passwords for this user name: " +
	"log in with the browser and use the API tokens page there, after which passwords are accepted again")

const (
	// maxFailures is how many wrong passwords per name are passed on: Jira
	// by default asks for a CAPTCHA after three.
	maxFailures = 2

	// failureTTL is how long failures count. Jira's count ends only with a
	// successful login.
	failureTTL = 7 * 24 * time.Hour

	// maxFailingNames limits the counted names. Beyond it, the half that failed
	// longest ago is removed, so that invented names can't keep others out. To
	// remove a name, an attacker must have passwords refused for half as many
	// other names first.
	maxFailingNames = 500_000
)

// lockout counts failed passwords by user name, so that nobody can lock a user
// out through tokengate; see Callers. An attempt counts as a failure
// until proven otherwise.
type lockout struct {
	now  func() time.Time
	seed maphash.Seed

	mu    sync.Mutex
	names recent[uint64, nameFailures] // by hash of the folded name; colliding names share a count
	swept time.Time
}

// newLockout returns a lockout that counts at most maxNames.
func newLockout(now func() time.Time, maxNames int) lockout {
	return lockout{now: now, seed: maphash.MakeSeed(), names: recent[uint64, nameFailures]{max: maxNames}}
}

type nameFailures struct {
	count    int32     // failures, including attempts in flight
	inFlight int32     // attempts in flight
	last     time.Time // start of the last attempt
}

// hash returns the key of a name.
func (l *lockout) hash(name string) uint64 { return maphash.String(l.seed, store.FoldOwner(name)) }

// begin counts an attempt, or returns ErrTooManyFailures if none is allowed.
// After a nil error, call succeeded, failed or cancelled once. known says that
// the password was accepted recently.
func (l *lockout) begin(name string, known bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.sweep(now)
	id := l.hash(name)
	f, _ := l.names.get(id)
	if now.Sub(f.last) >= failureTTL {
		f.count = f.inFlight
	}
	// A recently accepted password is exempt: it can add one failure at most,
	// since then it is no longer known.
	if !known && f.count >= maxFailures {
		return ErrTooManyFailures
	}
	l.set(id, nameFailures{count: f.count + 1, inFlight: f.inFlight + 1, last: now})
	return nil
}

// succeeded clears the failures of a name, as the application does. Attempts in flight may
// still fail, so they keep counting.
func (l *lockout) succeeded(name string) {
	l.end(name, func(f *nameFailures) { f.count = f.inFlight })
}

// loggedIn clears the failures of a name whose user had a new session at the
// given time. Later attempts and attempts in flight keep counting.
func (l *lockout) loggedIn(name string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.hash(name)
	f, ok := l.names.get(id)
	if !ok || !f.last.Before(at) {
		return
	}
	f.count = f.inFlight
	l.set(id, f)
}

// failed keeps the attempt counted. It also applies to unknown outcomes.
func (l *lockout) failed(name string) {
	l.end(name, func(*nameFailures) {})
}

// cancelled uncounts an attempt whose password was not checked.
func (l *lockout) cancelled(name string) {
	l.end(name, func(f *nameFailures) { f.count-- })
}

func (l *lockout) end(name string, change func(*nameFailures)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.hash(name)
	f, ok := l.names.get(id)
	if !ok {
		return
	}
	f.inFlight--
	change(&f)
	l.set(id, f)
}

// set must be called with mu held.
func (l *lockout) set(id uint64, f nameFailures) {
	if f.count <= 0 {
		l.names.delete(id)
		return
	}
	l.names.put(id, f)
}

// sweep removes expired failures once an hour.
func (l *lockout) sweep(now time.Time) {
	if now.Sub(l.swept) < time.Hour {
		return
	}
	l.swept = now
	for _, names := range []map[uint64]nameFailures{l.names.newer, l.names.older} {
		for id, f := range names {
			if f.inFlight == 0 && now.Sub(f.last) >= failureTTL {
				delete(names, id)
			}
		}
	}
}
