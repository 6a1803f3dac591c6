package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// unlimited is the text of a lifetime without an end.
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

// ParseLifetime reads whole numbers with the units w, d, h, m and s, the
// largest first and each at most once (90d, 12h, 1d12h), or the word
// unlimited. A day is 24 hours. Zero, and more than a time.Duration holds (292
// years), are refused.
func ParseLifetime(text string) (Lifetime, error) {
	if text == unlimited {
		return Lifetime{Unlimited: true}, nil
	}
	switch total, err := parseUnits(text); {
	case errors.Is(err, errTooLong):
		return Lifetime{}, fmt.Errorf("%s is too long; at most 106751d, or unlimited", quote(text))
	case err != nil:
		return Lifetime{}, fmt.Errorf("%s is no lifetime; write whole numbers with the units w, d, h, m, s, "+
			"largest first, such as 90d or 1d12h, or unlimited", quote(text))
	case total == 0:
		return Lifetime{}, fmt.Errorf("%s is no time at all; write at least 1s, or unlimited", quote(text))
	default:
		return Lifetime{Duration: total}, nil
	}
}

var (
	errNoUnits = errors.New("no whole numbers with units")
	errTooLong = errors.New("longer than a time.Duration holds")
)

// parseUnits reads what ParseLifetime reads, but for the word; zero too.
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
	switch {
	case l.Unlimited && o.Unlimited:
		return 0
	case l.Unlimited:
		return 1
	case o.Unlimited:
		return -1
	}
	return cmp.Compare(l.Duration, o.Duration)
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

// MarshalText returns what String returns.
func (l Lifetime) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what ParseLifetime reads.
func (l *Lifetime) UnmarshalText(text []byte) error {
	parsed, err := ParseLifetime(string(text))
	if err != nil {
		return err
	}
	*l = parsed
	return nil
}

// duration is how a time.Duration stands in the file: as a Lifetime does, but
// never unlimited. Zero is read; whether it is good is a matter of the key.
type duration time.Duration

// UnmarshalText reads 90s, 15m, 1d12h.
func (d *duration) UnmarshalText(text []byte) error {
	total, err := parseUnits(string(text))
	switch {
	case errors.Is(err, errTooLong):
		return fmt.Errorf("%s is too long", quote(string(text)))
	case err != nil:
		return fmt.Errorf("%s is no duration; write whole numbers with the units w, d, h, m, s, "+
			"largest first, such as 90s or 1d12h", quote(string(text)))
	}
	*d = duration(total)
	return nil
}

// spell returns a duration of whole seconds as the file has it: 7d, 1m, 0s.
func spell(d time.Duration) string { return Lifetime{Duration: d}.String() }
