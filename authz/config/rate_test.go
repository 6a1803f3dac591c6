package config_test

import (
	"math"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/config"
)

// rate returns a rate of the file's bounds.
func rate(requests int, per time.Duration, burst int) config.Rate {
	return config.Rate{Requests: requests, Per: per, Burst: burst}
}

func TestRate(t *testing.T) {
	unlimited := config.Rate{}
	tests := []struct {
		name     string
		a, b     config.Rate
		compare  int
		within   bool // a within b
		narrower config.Rate
	}{
		{"both unlimited", unlimited, unlimited, 0, true, unlimited},
		{"one unlimited", rate(1e6, time.Second, 1e6), unlimited, -1, true, rate(1e6, time.Second, 1e6)},
		{"the same", rate(600, time.Minute, 100), rate(600, time.Minute, 100), 0, true, rate(600, time.Minute, 100)},
		{"fewer requests", rate(599, time.Minute, 100), rate(600, time.Minute, 100), -1, true, rate(599, time.Minute, 100)},
		{"over a longer time", rate(600, time.Hour, 100), rate(600, time.Minute, 100), -1, true, rate(600, time.Hour, 100)},
		{"more, over a longer time", rate(10000, day, 10), rate(600, time.Minute, 100), -1, true, rate(10000, day, 10)},
		{"slower with more at once", rate(10000, day, 5000), rate(600, time.Minute, 100), -1, false, rate(10000, day, 100)},
		{"as fast, in other words", rate(600, time.Minute, 10), rate(10, time.Second, 10), 0, true, rate(10, time.Second, 10)},
		{"as fast, with less at once", rate(600, time.Minute, 9), rate(10, time.Second, 10), -1, true, rate(10, time.Second, 9)},
		{"as fast, with more at once", rate(600, time.Minute, 600), rate(10, time.Second, 1), 1, false, rate(10, time.Second, 1)},
		{"a hair slower", rate(999_999, day, 1), rate(1e6, day, 1), -1, true, rate(999_999, day, 1)},
		{"beyond 64 bits", rate(math.MaxInt, math.MaxInt64-1, 1), rate(math.MaxInt, math.MaxInt64, 1), 1, false, rate(math.MaxInt, math.MaxInt64, 1)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.a.Compare(test.b); got != test.compare {
				t.Errorf("Compare returns %d; want %d", got, test.compare)
			}
			if got := test.b.Compare(test.a); got != -test.compare {
				t.Errorf("Compare the other way returns %d; want %d", got, -test.compare)
			}
			if got := test.a.Within(test.b); got != test.within {
				t.Errorf("Within is %v", got)
			}
			if got := test.a.Narrower(test.b); got != test.narrower {
				t.Errorf("Narrower returns %s; want %s", got, test.narrower)
			}
			if got := test.b.Narrower(test.a); got != test.narrower {
				t.Errorf("Narrower the other way returns %s; want %s", got, test.narrower)
			}
		})
	}
	if unlimited.Within(rate(1e6, time.Second, 1e6)) {
		t.Error("unlimited is within a limit")
	}
}

func TestRateString(t *testing.T) {
	for want, r := range map[string]config.Rate{
		"unlimited":                 {},
		"600 per 1m, 100 at once":   rate(600, time.Minute, 100),
		"5 per 1h1m1s, 5 at once":   rate(5, time.Hour+time.Minute+time.Second, 5),
		"1000000 per 1d, 1 at once": rate(1e6, day, 1),
	} {
		if got := r.String(); got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
}

func TestLifetimeCompare(t *testing.T) {
	forever, short, long := config.Lifetime{Unlimited: true}, config.Lifetime{Duration: day}, config.Lifetime{Duration: 2 * day}
	for _, test := range []struct {
		a, b config.Lifetime
		want int
	}{
		{short, short, 0}, {short, long, -1}, {long, forever, -1}, {forever, forever, 0}, {config.Lifetime{}, short, -1},
	} {
		if got, back := test.a.Compare(test.b), test.b.Compare(test.a); got != test.want || back != -test.want {
			t.Errorf("%v to %v is %d and back %d; want %d", test.a, test.b, got, back, test.want)
		}
	}
}
