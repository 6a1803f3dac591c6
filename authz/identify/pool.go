package identify

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/tokengate/tokengate/authz/directory"
)

const (
	// unknownSlots is the number of concurrent requests about unknown
	// credentials. Clients can invent these at will, but could as well send
	// them to the application. At 50 ms each, 32 slots handle 640 requests a second;
	// Jira's Tomcat handles 100 or more at once.
	unknownSlots = 32
	unknownWait  = 2 * time.Second

	// knownSlots are for recently accepted credentials.
	knownSlots = 16
	knownWait  = 10 * time.Second

	// maxWaiting limits the waiting requests of a pool. Envoy opens 1024
	// connections to the management listener by default; this leaves room for
	// others.
	maxWaiting = 512
)

// pool limits the number of concurrent requests to the application. Pools do not delay
// each other.
//
// A free slot goes to the request whose network or user has the fewest in
// flight, and among equals to the newest: under a flood the oldest would time
// out anyway. Requests that wait too long are dropped, and the oldest if too
// many wait.
type pool struct {
	slots   int
	maxWait time.Duration // for a slot

	flights singleflight.Group // by credentialHash
	dropped atomic.Uint64

	mu       sync.Mutex
	inFlight int            // requests in flight
	byOrigin map[string]int // requests in flight by origin
	waiting  []*waiter      // newest last
}

// waiter is a request that waits for a slot.
type waiter struct {
	origins []string
	result  chan error // buffered; receives nil when there is a slot
}

func newPool(slots int, wait time.Duration) *pool {
	return &pool{slots: slots, maxWait: wait, byOrigin: make(map[string]int)}
}

// enter waits for a slot and returns nil or ErrBusy. The origins identify the
// network or user. After nil, call leave with the same origins.
func (p *pool) enter(ctx context.Context, origins ...string) error {
	ctx, cancel := context.WithTimeout(ctx, p.maxWait)
	defer cancel()
	w := &waiter{origins: origins, result: make(chan error, 1)}
	p.mu.Lock()
	if p.inFlight < p.slots {
		p.admit(w)
	} else {
		if len(p.waiting) >= maxWaiting {
			p.waiting[0].result <- directory.ErrBusy
			p.waiting = slices.Delete(p.waiting, 0, 1)
			p.dropped.Add(1)
		}
		p.waiting = append(p.waiting, w)
	}
	p.mu.Unlock()
	select {
	case err := <-w.result:
		return err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.waiting, w)
	if i < 0 {
		return <-w.result // a result arrived at the deadline
	}
	p.waiting = slices.Delete(p.waiting, i, i+1)
	p.dropped.Add(1)
	return directory.ErrBusy
}

// leave passes the slot to the next request.
func (p *pool) leave(origins ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight--
	for _, origin := range origins {
		if p.byOrigin[origin]--; p.byOrigin[origin] == 0 {
			delete(p.byOrigin, origin)
		}
	}
	if len(p.waiting) == 0 {
		return
	}
	next, fewest := 0, -1
	for i, w := range slices.Backward(p.waiting) {
		if n := p.countInFlight(w.origins); fewest < 0 || n < fewest {
			next, fewest = i, n
		}
		if fewest == 0 {
			break
		}
	}
	w := p.waiting[next]
	p.waiting = slices.Delete(p.waiting, next, next+1)
	p.admit(w)
}

// admit must be called with mu held.
func (p *pool) admit(w *waiter) {
	p.inFlight++
	for _, origin := range w.origins {
		p.byOrigin[origin]++
	}
	w.result <- nil
}

// countInFlight sums the requests in flight over these origins.
func (p *pool) countInFlight(origins []string) (n int) {
	for _, origin := range origins {
		n += p.byOrigin[origin]
	}
	return n
}

// networks returns the origins of a client's address: the networks around it,
// from a subscriber's to a provider's. A flood from many addresses of one
// provider counts as one, and its other customers are still told apart. All
// clients with unknown addresses share one origin.
func networks(client netip.Addr) []string {
	widths := []int{32, 24, 16}
	switch {
	case !client.IsValid():
		return []string{""}
	case client.Is6():
		widths = []int{64, 48, 32}
	}
	origins := make([]string, len(widths))
	for i, width := range widths {
		origins[i] = netip.PrefixFrom(client, width).Masked().String()
	}
	return origins
}
