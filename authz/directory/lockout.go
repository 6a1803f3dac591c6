package directory

import (
	"errors"
	"sync"
	"time"

	"github.com/tokengate/tokengate/store"
)

// ErrTooManyFailures says that so many wrong passwords came for a name that no
// other is handed to Jira for now.
var ErrTooManyFailures = errors.New("too many wrong passwords came for this user name: " +
	"log in to Jira in the browser and use the API tokens page there, or wait an hour")

const (
	// maxFailures is how many wrong passwords for one name go to Jira. It asks
	// for a CAPTCHA after three, by default.
	maxFailures = 2

	// failuresLast is how long they count. Jira's own count has no end but a
	// good login.
	failuresLast = time.Hour

	// maxFailing bounds the names that are counted for. It is above what
	// callersRate lets through in failuresLast, so that names that are made up
	// can't fill it.
	maxFailing = 50_000
)

// lockout counts the failures of user names, so that nobody can lock somebody
// out of Jira by way of us. An attempt counts as a failure until it is known
// to be none.
type lockout struct {
	now func() time.Time

	mu    sync.Mutex
	names map[string]failing // by folded name
	swept time.Time
}

type failing struct {
	count int       // failures, with the attempts whose outcome is not known yet
	under int       // attempts under way
	last  time.Time // when the last attempt began
}

// begin counts an attempt, and returns ErrTooManyFailures if it may not be
// made. Whoever began one says once what came of it: succeeded, failed or
// unmade.
func (l *lockout) begin(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.sweep(now)
	name = store.FoldOwner(name)
	f, known := l.names[name]
	if now.Sub(f.last) >= failuresLast {
		f.count = f.under
	}
	if f.count >= maxFailures || !known && len(l.names) >= maxFailing {
		return ErrTooManyFailures
	}
	if l.names == nil {
		l.names = make(map[string]failing)
	}
	l.names[name] = failing{count: f.count + 1, under: f.under + 1, last: now}
	return nil
}

// succeeded forgets the failures of a name, as Jira does. Attempts under way
// may fail after this one, so they go on counting.
func (l *lockout) succeeded(name string) {
	l.end(name, func(f *failing) { f.count = f.under })
}

// failed leaves the attempt counted. It is for outcomes that nobody knows,
// too.
func (l *lockout) failed(name string) {
	l.end(name, func(*failing) {})
}

// unmade takes back an attempt whose password Jira did not look at.
func (l *lockout) unmade(name string) {
	l.end(name, func(f *failing) { f.count-- })
}

func (l *lockout) end(name string, change func(*failing)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name = store.FoldOwner(name)
	f, ok := l.names[name]
	if !ok {
		return
	}
	f.under--
	change(&f)
	if f.count <= 0 {
		delete(l.names, name)
		return
	}
	l.names[name] = f
}

// sweep forgets what does not count any more, once a minute.
func (l *lockout) sweep(now time.Time) {
	if now.Sub(l.swept) < time.Minute {
		return
	}
	l.swept = now
	for name, f := range l.names {
		if f.under == 0 && now.Sub(f.last) >= failuresLast {
			delete(l.names, name)
		}
	}
}
