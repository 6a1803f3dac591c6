package web

import (
	"net/http"
	"sync"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
)

// budget is a kind of request of which a caller may make so many.
type budget int

const (
	requests budget = iota // of any kind
	costly                 // that make the store write a secret, or read very much
	budgets
)

// paces are how often a caller may: a request is earned every so often, and so
// many may be saved.
var paces = [budgets]struct {
	every time.Duration
	burst int
}{
	requests: {time.Second / 10, 50},
	costly:   {time.Second, 20},
}

// maxCallers bounds the callers that are remembered.
const maxCallers = 10_000

// limits hold each caller to what one may ask in a time, by the generic cell
// rate algorithm, as store.Limiter does. The nil limits hold nobody.
type limits struct {
	now func() time.Time

	mu      sync.Mutex
	callers map[string][budgets]time.Time // when the next one would come if they came evenly
}

// take counts a request, or refuses it.
func (l *limits) take(c manage.Caller, b budget) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	next, known := l.callers[c.Name()]
	if !known && len(l.callers) >= maxCallers {
		l.sweep(now)
	}
	after := next[b]
	if after.Before(now) {
		after = now
	}
	after = after.Add(paces[b].every)
	if wait := after.Sub(now) - paces[b].every*time.Duration(paces[b].burst); wait > 0 {
		return &httpError{
			status: http.StatusTooManyRequests,
			text:   "You have made too many requests in a short time. Wait as long as the Retry-After header says.",
			retry:  wait,
		}
	}
	next[b] = after
	if l.callers == nil {
		l.callers = make(map[string][budgets]time.Time)
	}
	l.callers[c.Name()] = next
	return nil
}

// sweep forgets callers who have saved all that one may. Where there are none, it
// forgets some other one: who is forgotten begins anew, which costs less than to
// refuse somebody who has asked for nothing yet.
func (l *limits) sweep(now time.Time) {
	for name, next := range l.callers {
		if !next[requests].After(now) && !next[costly].After(now) {
			delete(l.callers, name)
		}
	}
	for name := range l.callers {
		if len(l.callers) < maxCallers {
			return
		}
		delete(l.callers, name)
	}
}
