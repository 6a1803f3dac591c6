package config

import (
	"cmp"
	"fmt"
	"math/bits"
	"time"
)

const maxRequests = 1_000_000 // of one token in one period

// checkRate checks how many requests a token may make.
func checkRate(key string, r Rate, report reporter) {
	if r == (Rate{}) {
		return
	}
	if r.Requests < 1 || r.Requests > maxRequests {
		report(key+".requests", "must be a number from 1 to %d", maxRequests)
	} else if r.Burst < 1 || r.Burst > r.Requests {
		report(key+".burst", "%d: must be 1 to requests (%d)", r.Burst, r.Requests)
	}
	if r.Per < time.Second || r.Per > day {
		report(key+".per", "must be a time from 1s to %s", spell(day))
	}
}

// Compare returns -1 if r is lower than o, 1 if it is higher, and 0 if both let
// the same through. Requests over time count first, and bursts between equals;
// unlimited is the highest.
func (r Rate) Compare(o Rate) int {
	return cmp.Or(r.compareSpeed(o), cmp.Compare(r.Burst, o.Burst))
}

// compareSpeed compares requests over time.
func (r Rate) compareSpeed(o Rate) int {
	switch none := (Rate{}); {
	case r == none && o == none:
		return 0
	case r == none:
		return 1
	case o == none:
		return -1
	}
	// Without rounding: r.Requests/r.Per against o.Requests/o.Per.
	rHigh, rLow := bits.Mul64(uint64(r.Requests), uint64(o.Per))
	oHigh, oLow := bits.Mul64(uint64(o.Requests), uint64(r.Per))
	return cmp.Or(cmp.Compare(rHigh, oHigh), cmp.Compare(rLow, oLow))
}

// Within reports whether r lets nothing through that the limit does not:
// neither in the long run nor at once.
func (r Rate) Within(limit Rate) bool {
	return limit == Rate{} || r.compareSpeed(limit) <= 0 && r.Burst <= limit.Burst
}

// Narrower returns the rate of a token that both bind: the fewer requests over
// time, and the smaller burst.
func (r Rate) Narrower(o Rate) Rate {
	narrow := r
	if c := o.compareSpeed(r); c < 0 || c == 0 && o.Per < r.Per {
		narrow = o
	}
	if r != (Rate{}) && o != (Rate{}) {
		narrow.Burst = min(r.Burst, o.Burst)
	}
	return narrow
}

// String returns unlimited, or such as "600 per 1m, 100 at once".
func (r Rate) String() string {
	if r == (Rate{}) {
		return unlimited
	}
	return fmt.Sprintf("%d per %s, %d at once", r.Requests, spell(r.Per), r.Burst)
}

// zeroWord says that a rate of nothing is no limit.
func (Rate) zeroWord() string { return unlimited }

// complete makes the burst all requests of a period.
func (r *Rate) complete(given func(key string) bool) {
	if !given("burst") {
		r.Burst = r.Requests
	}
}

// MarshalYAML returns unlimited, or the keys.
func (r Rate) MarshalYAML() (any, error) {
	if r == (Rate{}) {
		return unlimited, nil
	}
	type keys Rate
	return keys(r), nil
}
