package web

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
)

// limit is a kind of thing of which somebody may do so many.
type limit int

const (
	requests       limit = iota // of a caller, of any kind
	costly                      // that make the store write a secret
	long                        // answers without an end
	refusedChanges              // each of which leaves a record in the audit log
	refusedReads                // likewise; apart, so that they keep nobody from changes
	revocations                 // made when the budgets above are used up
	lines                       // of the log that somebody can have by asking too much
	limitCount
)

// rates are how often somebody may: one is earned every so often, and so many may
// be saved.
var rates = [limitCount]struct {
	every time.Duration
	burst int
}{
	requests:       {time.Second / 10, 50},
	costly:         {time.Second, 20},
	long:           {time.Second, 20},
	refusedChanges: {time.Second, 20},
	refusedReads:   {time.Second, 20},
	revocations:    {time.Second, 20},
	lines:          {time.Second, 20},
}

// maxLimited bounds those who are remembered. Where it is reached, a tenth is
// forgotten at once, so that it is seldom looked for.
const (
	maxLimited = 10_000
	sweepTo    = maxLimited - maxLimited/10
)

// limits hold callers, or addresses, to what each may do in a time, by the generic
// cell rate algorithm, as store.Limiter does. The nil limits hold nobody.
type limits struct {
	now func() time.Time

	mu    sync.Mutex
	known map[string]*[limitCount]time.Time // when the next one would come if they came evenly
}

// take counts one, or returns how long to wait for it.
func (l *limits) take(who string, b limit) (wait time.Duration) {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if wait := l.wait(who, b); wait > 0 {
		return wait
	}
	l.count(who, b)
	return 0
}

// left returns how long to wait until there is one to take.
func (l *limits) left(who string, b limit) (wait time.Duration) {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wait(who, b)
}

// charge counts one that has been, even if there was none to take: of those that
// come at once it is not known before which of them will cost.
func (l *limits) charge(who string, b limit) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(who, b)
}

func (l *limits) wait(who string, b limit) time.Duration {
	next, ok := l.known[who]
	if !ok {
		return 0
	}
	ahead := max(next[b].Sub(l.now()), 0)
	return max(ahead-rates[b].every*time.Duration(rates[b].burst-1), 0)
}

func (l *limits) count(who string, b limit) {
	now := l.now()
	next, ok := l.known[who]
	if !ok {
		if len(l.known) >= maxLimited {
			l.sweep(now)
		}
		if l.known == nil {
			l.known = make(map[string]*[limitCount]time.Time)
		}
		next = new([limitCount]time.Time)
		l.known[who] = next
	}
	if next[b].Before(now) {
		next[b] = now
	}
	next[b] = next[b].Add(rates[b].every)
}

// tooMany is the refusal of a caller who has to wait. It adds for how long.
func tooMany(wait time.Duration, text string) error {
	return &httpError{status: http.StatusTooManyRequests, text: text + tryAgainIn(wait), retry: wait}
}

// tryAgainIn says how long to wait, as the Retry-After header does.
func tryAgainIn(wait time.Duration) string { return " Try again in " + manage.Seconds(wait) + "." }

const tooManyRequests = "You have made too many requests in a short time."

// sweep forgets those who have saved all that one may. Where there are none, it
// forgets some others: who is forgotten begins anew, which costs less than to
// refuse somebody who has asked for nothing yet.
func (l *limits) sweep(now time.Time) {
	maps.DeleteFunc(l.known, func(_ string, next *[limitCount]time.Time) bool {
		return !slices.ContainsFunc(next[:], now.Before)
	})
	for who := range l.known {
		if len(l.known) <= sweepTo {
			return
		}
		delete(l.known, who)
	}
}
