package index

import (
	"sync/atomic"
	"time"

	"github.com/tokengate/tokengate/store"
)

// Limiter enforces a Rate for a token with the generic cell rate algorithm (ITU-T
// I.371, annex A). Its only state is the time at which the next request would come if requests
// were evenly spaced. All entries of a token share it, including those made after a change of
// the token or its rate. A nil Limiter allows everything. Each server of a store has its own: together they
// allow up to the rate times their number.
type Limiter struct {
	rate store.Rate
	next *atomic.Int64 // Unix nanoseconds
}

// NewLimiter returns a limiter for a rate that continues from the state of before, which may be
// nil. It returns nil for the zero Rate.
func NewLimiter(r store.Rate, before *Limiter) *Limiter {
	switch {
	case r == store.Rate{}:
		return nil
	case before == nil:
		return &Limiter{r, new(atomic.Int64)}
	}
	return &Limiter{r, before.next}
}

// Wait returns the time until the next request is allowed; 0 if it is allowed now.
func (l *Limiter) Wait(now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	wait, _ := l.after(l.next.Load(), now)
	return wait
}

// Take counts a request if it is allowed now, and otherwise returns the time until one is.
func (l *Limiter) Take(now time.Time) (wait time.Duration) {
	if l == nil {
		return 0
	}
	for {
		next := l.next.Load()
		wait, after := l.after(next, now)
		if wait > 0 || l.next.CompareAndSwap(next, after) {
			return wait
		}
	}
}

// after returns how long a request at now has to wait, and the new value of next if it is allowed.
func (l *Limiter) after(next int64, now time.Time) (wait time.Duration, after int64) {
	at := now.UnixNano()
	interval := int64(l.rate.Per) / int64(l.rate.Requests)
	burst := interval * int64(l.rate.Burst)
	// At most one burst counts as spent, even if the rate was lower before or the clock ahead.
	after = min(max(next, at), at+burst) + interval
	return max(0, time.Duration(after-at-burst)), after
}
