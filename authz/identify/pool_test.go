package identify

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
)

// queue fills a pool, queues requests in the order of names, and returns the
// names in the order in which they get a slot. A name begins with its origins.
func queue(t *testing.T, l *pool, held []string, names ...string) (order []string) {
	t.Helper()
	for _, share := range held {
		if err := l.enter(t.Context(), share); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, name := range names {
		shares := strings.Split(name, "/")[:1]
		all.Go(func() {
			err := l.enter(t.Context(), shares...)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				name += " dropped"
			} else {
				defer l.leave(shares...)
			}
			order = append(order, name)
		})
		synctest.Wait()
	}
	for _, share := range held {
		l.leave(share)
		synctest.Wait()
	}
	all.Wait()
	if l.inFlight != 0 || len(l.byOrigin) != 0 || len(l.waiting) != 0 {
		t.Errorf("left in the pool: %d in flight, %v, %d waiting", l.inFlight, l.byOrigin, len(l.waiting))
	}
	return order
}

// A free slot goes to the network with the fewest requests in flight, and then
// to the newest request.
func TestPoolOrder(t *testing.T) {
	for name, c := range map[string]struct {
		held, ask, want []string
	}{
		"the newest first":             {[]string{"a"}, []string{"a/1", "a/2", "a/3"}, []string{"a/3", "a/2", "a/1"}},
		"other networks before":        {[]string{"a", "a"}, []string{"b/1", "a/2", "a/3"}, []string{"b/1", "a/3", "a/2"}},
		"the fewest":                   {[]string{"a", "a", "a", "b"}, []string{"b/1", "a/2"}, []string{"b/1", "a/2"}},
		"the newest of other networks": {[]string{"a", "a"}, []string{"b/1", "c/2", "a/3"}, []string{"c/2", "b/1", "a/3"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := queue(t, newPool(len(c.held), time.Minute), c.held, c.ask...); !slices.Equal(got, c.want) {
					t.Errorf("%v, want %v", got, c.want)
				}
			})
		})
	}
}

// Requests that wait too long are dropped, and the oldest if too many wait.
func TestPoolDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPool(1, 2*time.Second)
		if err := l.enter(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if err := l.enter(t.Context(), "b"); !errors.Is(err, directory.ErrBusy) || time.Since(begun) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.enter(ctx, "b"); !errors.Is(err, directory.ErrBusy) || time.Since(begun) != 3*time.Second {
			t.Errorf("a caller who leaves early: %v after %v", err, time.Since(begun))
		}
		dropped := make(chan int, maxWaiting+2)
		var all sync.WaitGroup
		for n := range maxWaiting + 2 {
			all.Go(func() {
				if err := l.enter(t.Context(), "c"); err != nil {
					dropped <- n
					return
				}
				l.leave("c")
			})
			synctest.Wait()
		}
		if len(dropped) != 2 || <-dropped != 0 || <-dropped != 1 {
			t.Error("the dropped requests are not the two oldest")
		}
		l.leave("a")
		all.Wait()
		if len(dropped) != 0 || l.dropped.Load() != 4 || l.inFlight != 0 || len(l.byOrigin) != 0 {
			t.Errorf("%d more dropped, %d counted, %d in flight", len(dropped), l.dropped.Load(), l.inFlight)
		}
	})
}

// A slot that becomes free while a request gives up is not lost.
func TestSlotsAreNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPool(3, time.Millisecond)
		var all sync.WaitGroup
		for n := range 300 {
			all.Go(func() {
				for range 20 {
					if l.enter(t.Context(), fmt.Sprint(n%7)) == nil {
						time.Sleep(time.Millisecond) // as long as others wait
						l.leave(fmt.Sprint(n % 7))
					}
				}
			})
		}
		all.Wait()
		if l.inFlight != 0 || len(l.byOrigin) != 0 || len(l.waiting) != 0 {
			t.Errorf("left in the pool: %d in flight, %v, %d waiting", l.inFlight, l.byOrigin, len(l.waiting))
		}
	})
}

func TestNetworks(t *testing.T) {
	for address, want := range map[string][]string{
		"192.0.2.7":         {"192.0.2.7/32", "192.0.2.0/24", "192.0.0.0/16"},
		"2001:db8:1:2:3::4": {"2001:db8:1:2::/64", "2001:db8:1::/48", "2001:db8::/32"},
	} {
		if got := networks(netip.MustParseAddr(address)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
	if got := networks(netip.Addr{}); !slices.Equal(got, []string{""}) {
		t.Errorf("unknown address: %q", got)
	}
}
