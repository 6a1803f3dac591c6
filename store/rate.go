package store

import (
	"sync/atomic"
	"time"
)

// The bounds of a Rate.
const (
	MaxRateRequests = 1_000_000
	MaxRatePer      = 24 * time.Hour
)

// Rate is how many requests a token may make: Requests per Per in the long run,
// Burst of them at once. The zero Rate bounds nothing.
type Rate struct {
	Requests uint32        // 1 to MaxRateRequests
	Per      time.Duration // whole seconds, 1 s to MaxRatePer
	Burst    uint32        // 1 to Requests
}

func (r Rate) check() error {
	switch {
	case r == Rate{}:
		return nil
	case r.Requests < 1 || r.Requests > MaxRateRequests:
		return invalid("rate has %d requests; 1 to %d are allowed", r.Requests, MaxRateRequests)
	case r.Per < time.Second || r.Per > MaxRatePer || r.Per%time.Second != 0:
		return invalid("rate is per %s; whole seconds from 1s to %s are allowed", r.Per, MaxRatePer)
	case r.Burst < 1 || r.Burst > r.Requests:
		return invalid("rate has a burst of %d; 1 to its %d requests are allowed", r.Burst, r.Requests)
	}
	return nil
}

// interval is the time in which one request is earned.
func (r Rate) interval() time.Duration { return r.Per / time.Duration(r.Requests) }

// Limiter holds a token, or a caller, to a Rate. It is the generic cell rate algorithm
// (ITU-T I.371, annex A): one number, the time at which the next request would
// come if they came evenly. It is the same for all entries of a token, also
// those after a change of the token, or of its rate. A nil Limiter lets
// everything through.
type Limiter struct {
	rate Rate
	next *atomic.Int64 // Unix nanoseconds
}

// NewLimiter returns a limiter that goes on from the given one, nil being none;
// nil for the zero Rate.
func NewLimiter(r Rate, before *Limiter) *Limiter {
	switch {
	case r == Rate{}:
		return nil
	case before == nil:
		return &Limiter{r, new(atomic.Int64)}
	}
	return &Limiter{r, before.next}
}

// Rested reports whether the whole burst may come at the given time.
func (l *Limiter) Rested(now time.Time) bool { return l == nil || l.next.Load() <= now.UnixNano() }

// Wait returns how long it is until a request may come; 0: it may now.
func (l *Limiter) Wait(now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	wait, _ := l.after(l.next.Load(), now)
	return wait
}

// Take counts a request, if it may come now, and otherwise returns how long it
// is until one may. What is not let through is not counted.
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

// after returns how long a request has to wait, and what next is after one that
// comes now.
func (l *Limiter) after(next int64, now time.Time) (wait time.Duration, after int64) {
	at := now.UnixNano()
	burst := int64(l.rate.interval()) * int64(l.rate.Burst)
	// What was spent is at most the burst, also if the rate was lower then, or
	// the clock ahead.
	after = min(max(next, at), at+burst) + int64(l.rate.interval())
	return max(0, time.Duration(after-at-burst)), after
}
