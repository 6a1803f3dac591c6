// Package limit bounds how often each of many clients may do something. Keyed
// holds a token bucket per client, in bounded memory. With several servers of one store, each
// has its own buckets: together they allow up to the rate times their number.
package limit

import (
	"cmp"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rate is the rate of one token bucket. The zero Rate is unlimited.
type Rate struct {
	Every time.Duration // one event is earned per Every
	Burst int           // events that may be saved, at least 1
}

// DefaultMax is the Max of a Keyed that sets none.
const DefaultMax = 20_000

// Keyed holds a token bucket for each key. It is safe for concurrent use. The zero
// Keyed is ready to use; the nil Keyed is unlimited.
type Keyed struct {
	// Max is how many keys are remembered, at least 10; 0: DefaultMax. When it is
	// reached, a tenth is dropped, full buckets first: a dropped key starts with a
	// full bucket, which costs less than refusing a new one.
	Max int

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
}

// Take counts an event and returns 0, or returns how long to wait before the next
// event is allowed.
func (k *Keyed) Take(key string, r Rate, now time.Time) (wait time.Duration) {
	return k.reserve(key, r, now, func(wait time.Duration) bool { return wait == 0 })
}

// Wait returns how long to wait before the next event is allowed. It counts
// nothing.
func (k *Keyed) Wait(key string, r Rate, now time.Time) time.Duration {
	return k.reserve(key, r, now, func(time.Duration) bool { return false })
}

// Charge counts an event even if the bucket is empty: the cost of concurrent
// events is known only once they are done.
func (k *Keyed) Charge(key string, r Rate, now time.Time) {
	k.reserve(key, r, now, func(time.Duration) bool { return true })
}

// reserve returns how long an event at now has to wait, and counts the event if
// keep says so.
func (k *Keyed) reserve(key string, r Rate, now time.Time, keep func(wait time.Duration) bool) time.Duration {
	if k == nil {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if r == (Rate{}) {
		delete(k.buckets, key)
		return 0
	}
	bucket, known := k.buckets[key]
	switch {
	case !known:
		bucket = rate.NewLimiter(rate.Every(r.Every), r.Burst)
	case bucket.Limit() != rate.Every(r.Every) || bucket.Burst() != r.Burst:
		bucket = resize(bucket, r, now)
	}
	event := bucket.ReserveN(now, 1)
	wait := event.DelayFrom(now)
	if wait > 0 {
		wait = max(wait.Round(time.Millisecond), time.Millisecond) // the bucket counts in floating point
	}
	if !keep(wait) {
		event.CancelAt(now)
		return wait
	}
	if most := cmp.Or(k.Max, DefaultMax); !known && len(k.buckets) >= most {
		k.evict(most-most/10, now)
	}
	if k.buckets == nil {
		k.buckets = make(map[string]*rate.Limiter)
	}
	k.buckets[key] = bucket
	return wait
}

// resize returns a bucket of another rate from which as much has been spent.
func resize(old *rate.Limiter, r Rate, now time.Time) *rate.Limiter {
	spent := int(math.Ceil(float64(old.Burst()) - old.TokensAt(now)))
	resized := rate.NewLimiter(rate.Every(r.Every), r.Burst)
	resized.ReserveN(now, min(spent, r.Burst))
	return resized
}

// evict drops the full buckets and, until no more than keep are left, others.
func (k *Keyed) evict(keep int, now time.Time) {
	for key, bucket := range k.buckets {
		if bucket.TokensAt(now) >= float64(bucket.Burst()) {
			delete(k.buckets, key)
		}
	}
	for key := range k.buckets {
		if len(k.buckets) <= keep {
			return
		}
		delete(k.buckets, key)
	}
}
