package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// unlimited is a lifetime without end, or no rate limit.
const unlimited = "unlimited"

const day = 24 * time.Hour

// lifetimeUnits are the units of a lifetime, largest first.
var lifetimeUnits = []struct {
	letter byte
	length time.Duration
}{
	{'w', 7 * day},
	{'d', day},
	{'h', time.Hour},
	{'m', time.Minute},
	{'s', time.Second},
}

// ParseLifetime reads whole numbers with the units w, d, h, m and s, the largest
// first and each at most once (90d, 12h, 1d12h), or unlimited. A day has 24 hours.
// Zero and more than a time.Duration (292 years) are errors.
func ParseLifetime(text string) (Lifetime, error) {
	if text == unlimited {
		return Lifetime{Unlimited: true}, nil
	}
	switch total, err := parseUnits(text); {
	case errors.Is(err, errTooLong):
		return Lifetime{}, fmt.Errorf("%s is too long; at most 106751d, or unlimited", quote(text))
	case err != nil:
		return Lifetime{}, fmt.Errorf("%s is not a lifetime; write whole numbers with the units w, d, h, m, s, "+
			"largest first, such as 90d or 1d12h, or unlimited", quote(text))
	case total == 0:
		return Lifetime{}, fmt.Errorf("%s is zero; write at least 1s, or unlimited", quote(text))
	default:
		return Lifetime{Duration: total}, nil
	}
}

var (
	errNoUnits = errors.New("no whole numbers with units")
	errTooLong = errors.New("longer than a time.Duration holds")
)

// parseUnits reads a duration as in ParseLifetime, including zero.
func parseUnits(text string) (time.Duration, error) {
	if text == "" {
		return 0, errNoUnits
	}
	var total time.Duration
	units := lifetimeUnits
	for rest := text; rest != ""; {
		end := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
		if end < 1 {
			return 0, errNoUnits
		}
		unit := 0
		for unit < len(units) && units[unit].letter != rest[end] {
			unit++
		}
		if unit == len(units) {
			return 0, errNoUnits
		}
		n, err := strconv.ParseInt(rest[:end], 10, 64)
		if err != nil || n > int64((math.MaxInt64-total)/units[unit].length) {
			return 0, errTooLong
		}
		total += time.Duration(n) * units[unit].length
		units = units[unit+1:]
		rest = rest[end+1:]
	}
	return total, nil
}

// Compare returns -1 if l is shorter than o, 1 if it is longer, and 0 if both
// are the same.
func (l Lifetime) Compare(o Lifetime) int {
	length := func(l Lifetime) time.Duration {
		if l.Unlimited {
			return math.MaxInt64 // longer than any Duration of whole seconds
		}
		return l.Duration
	}
	return cmp.Compare(length(l), length(o))
}

// String returns the lifetime as ParseLifetime reads it, in days, hours,
// minutes and whole seconds: 365d, 1d12h, unlimited.
func (l Lifetime) String() string {
	if l.Unlimited {
		return unlimited
	}
	var b strings.Builder
	rest := l.Duration
	for _, unit := range lifetimeUnits[1:] {
		if n := rest / unit.length; n > 0 {
			fmt.Fprintf(&b, "%d%c", n, unit.letter)
			rest -= n * unit.length
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// UnmarshalText reads what ParseLifetime reads.
func (l *Lifetime) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLifetime(string(text))
	return err
}

// duration decodes a time.Duration: like a Lifetime, but with zero and without
// unlimited.
type duration time.Duration

// UnmarshalText reads 90s, 15m, 1d12h.
func (d *duration) UnmarshalText(text []byte) error {
	total, err := parseUnits(string(text))
	switch {
	case errors.Is(err, errTooLong):
		return fmt.Errorf("%s is too long", quote(string(text)))
	case err != nil:
		return fmt.Errorf("%s is not a duration; write whole numbers with the units w, d, h, m, s, "+
			"largest first, such as 90s or 1d12h", quote(string(text)))
	}
	*d = duration(total)
	return nil
}

// spell returns a duration of whole seconds in the file's notation: 7d, 1m, 0s.
func spell(d time.Duration) string { return Lifetime{Duration: d}.String() }

const maxRequests = 1_000_000 // of one token in one period

// checkRate checks a rate.
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

// Compare returns -1 if r is lower than o, 1 if it is higher, and 0 if both are
// equivalent. Requests over time count first, then bursts; unlimited is the highest.
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

// Within reports whether neither the requests over time nor the burst of r exceed
// the limit.
func (r Rate) Within(limit Rate) bool {
	return limit == Rate{} || r.compareSpeed(limit) <= 0 && r.Burst <= limit.Burst
}

// Narrower returns the lower requests over time with the smaller burst.
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

// String returns unlimited, or a text such as "600 per 1m, 100 at once".
func (r Rate) String() string {
	if r == (Rate{}) {
		return unlimited
	}
	return fmt.Sprintf("%d per %s, %d at once", r.Requests, spell(r.Per), r.Burst)
}

// zeroWord returns unlimited.
func (Rate) zeroWord() string { return unlimited }

// complete sets the default of burst.
func (r *Rate) complete(given func(key string) bool) {
	if !given("burst") {
		r.Burst = r.Requests
	}
}
