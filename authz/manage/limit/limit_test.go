package limit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/manage/limit"
)

var start = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func TestKeyedTake(t *testing.T) {
	k, r := limit.Keyed{Max: 10}, limit.Rate{Every: 10 * time.Minute, Burst: 3}
	for n := range 3 {
		if wait := k.Take("a", r, start); wait != 0 {
			t.Errorf("event %d waits %s", n, wait)
		}
	}
	for _, c := range []struct {
		after, want time.Duration
	}{
		{0, 10 * time.Minute}, {time.Minute, 9 * time.Minute}, {10 * time.Minute, 0}, {10 * time.Minute, 10 * time.Minute},
	} {
		if wait := k.Take("a", r, start.Add(c.after)); wait != c.want {
			t.Errorf("after %s: wait %s, want %s", c.after, wait, c.want)
		}
	}
	if wait := k.Take("b", r, start); wait != 0 {
		t.Errorf("another key waits %s", wait)
	}
	if wait := k.Take("a", limit.Rate{}, start); wait != 0 || k.Len() != 1 {
		t.Errorf("without a limit: wait %s, %d keys", wait, k.Len())
	}
	var none *limit.Keyed
	if wait := none.Take("a", r, start); wait != 0 {
		t.Errorf("the nil Keyed: wait %s", wait)
	}
}

func TestKeyedWaitAndCharge(t *testing.T) {
	k, r := limit.Keyed{Max: 10}, limit.Rate{Every: time.Second, Burst: 1}
	for range 5 {
		if wait := k.Wait("a", r, start); wait != 0 || k.Len() != 0 {
			t.Errorf("Wait counts: wait %s, %d keys", wait, k.Len())
		}
	}
	for range 3 {
		k.Charge("a", r, start)
	}
	if wait := k.Wait("a", r, start); wait != 3*time.Second {
		t.Errorf("wait %s after three events of one", wait)
	}
	if wait := k.Take("a", r, start.Add(3*time.Second)); wait != 0 {
		t.Errorf("wait %s after the wait", wait)
	}
}

// After a change of the rate, what was spent stays spent.
func TestKeyedResize(t *testing.T) {
	k := limit.Keyed{Max: 10}
	allowed := func(r limit.Rate) (n int) {
		for k.Take("a", r, start) == 0 {
			n++
		}
		return n
	}
	for _, c := range []struct {
		burst, want int
	}{{3, 3}, {5, 2}, {2, 0}, {4, 0}} {
		if n := allowed(limit.Rate{Every: time.Hour, Burst: c.burst}); n != c.want {
			t.Errorf("burst %d: %d events, want %d", c.burst, n, c.want)
		}
	}
}

func TestKeyedIsBounded(t *testing.T) {
	k, r := limit.Keyed{Max: 100}, limit.Rate{Every: time.Second, Burst: 2}
	for n := range 50 {
		k.Take(fmt.Sprint("full again ", n), r, start)
	}
	later := start.Add(time.Minute)
	for n := range 50 {
		k.Charge(fmt.Sprint("empty ", n), r, later)
		k.Charge(fmt.Sprint("empty ", n), r, later)
	}
	k.Take("one more", r, later)
	if k.Len() != 51 {
		t.Errorf("%d keys, want the 50 that have spent something and the new one", k.Len())
	}
	for n := range 50 {
		if k.Wait(fmt.Sprint("empty ", n), r, later) == 0 {
			t.Fatalf("key %d was dropped before the full buckets", n)
		}
	}
	for n := range 1000 {
		k.Charge(fmt.Sprint("many ", n), r, later)
	}
	if k.Len() > 100 || k.Len() < 90 {
		t.Errorf("%d keys of very many", k.Len())
	}
}
