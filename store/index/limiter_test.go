package index_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
	"github.com/tokengate/tokengate/store/storetest"
)

// limited adds a token with a rate to the index and returns its limiter.
func limited(x *index.Index, r store.Rate) *index.Limiter {
	t := storetest.NewToken(1, "fred")
	t.Rate = r
	x.Put(t)
	entry, _ := x.Lookup(t.ID)
	return entry.Limiter
}

func TestLimiter(t *testing.T) {
	const s = time.Second
	type step struct {
		at   time.Duration // since Epoch
		take int           // requests allowed at once
		wait time.Duration // of the one after them
	}
	for name, c := range map[string]struct {
		rate  store.Rate
		steps []step
	}{
		"one a second":         {store.Rate{Requests: 1, Per: s, Burst: 1}, []step{{0, 1, s}, {s - 1, 0, 1}, {s, 1, s}, {9 * s, 1, s}}},
		"a burst, then evenly": {store.Rate{Requests: 60, Per: time.Minute, Burst: 10}, []step{{0, 10, s}, {s, 1, s}, {3 * s, 2, s}, {99 * s, 10, s}}},
		"a whole period's":     {store.Rate{Requests: 3, Per: 3 * s, Burst: 3}, []step{{0, 3, s}, {s, 1, s}, {4 * s, 3, s}}},
		"the clock goes back":  {store.Rate{Requests: 1, Per: s, Burst: 1}, []step{{9 * s, 1, s}, {0, 0, s}, {10 * s, 1, s}}},
		"the most":             {store.Rate{Requests: store.MaxRateRequests, Per: s, Burst: 5}, []step{{0, 5, time.Microsecond}}},
		"the slowest":          {store.Rate{Requests: 1, Per: store.MaxRatePer, Burst: 1}, []step{{0, 1, store.MaxRatePer}}},
	} {
		l := limited(new(index.Index), c.rate)
		for _, step := range c.steps {
			now := storetest.Epoch.Add(step.at)
			for n := range step.take {
				if wait := l.Take(now); wait != 0 {
					t.Errorf("%s: at %v request %d has to wait %v", name, step.at, n+1, wait)
				}
			}
			if looked, wait := l.Wait(now), l.Take(now); wait != step.wait || looked != wait {
				t.Errorf("%s: at %v Wait is %v and Take %v, want %v", name, step.at, looked, wait, step.wait)
			}
		}
	}
	var none *index.Limiter
	if none.Take(storetest.Epoch) != 0 || none.Wait(storetest.Epoch) != 0 || limited(new(index.Index), store.Rate{}) != nil {
		t.Error("a token without a rate has to wait")
	}
}

// TestLimiterSurvivesChanges checks that a limiter's state survives changes of the token, of its
// rate, and compaction.
func TestLimiterSurvivesChanges(t *testing.T) {
	x := new(index.Index)
	rate := store.Rate{Requests: 2, Per: time.Hour, Burst: 2}
	l := limited(x, rate)
	now := storetest.Epoch
	if l.Take(now) != 0 || limited(x, rate).Take(now) != 0 {
		t.Error("a full burst is refused")
	}
	for n := range 3000 {
		x.Put(storetest.NewToken(2+n, "fred"))
		x.Put(storetest.NewToken(2+n, "wilma"))
	}
	if limited(x, rate).Take(now) == 0 || l.Take(now) == 0 {
		t.Error("a change reset the limiter")
	}
	if wait := limited(x, store.Rate{Requests: 1, Per: time.Hour, Burst: 1}).Wait(now); wait != time.Hour {
		t.Errorf("with a lower rate the wait is %v", wait)
	}
}

// TestLimiterRaces checks that concurrent requests do not exceed the burst.
func TestLimiterRaces(t *testing.T) {
	l := limited(new(index.Index), store.Rate{Requests: 100, Per: time.Hour, Burst: 100})
	var through atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if l.Take(storetest.Epoch) == 0 {
					through.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := through.Load(); n != 100 {
		t.Errorf("%d requests were allowed, want 100", n)
	}
}
