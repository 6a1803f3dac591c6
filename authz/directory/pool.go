package directory

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// unknownSlots is how many questions about credentials that nothing is known
	// of are under way at once. Anybody can make such credentials up, and could
	// send them to Jira instead. At 50 ms for an answer, 32 places take 640
	// questions a second; Jira's Tomcat works on 100 requests and more at once.
	unknownSlots = 32
	unknownWait   = 2 * time.Second

	// knownSlots are for credentials that were good lately.
	knownSlots = 16
	knownWait   = 10 * time.Second

	// maxWaiting bounds the questions of one lane that wait for a place. Envoy
	// opens 1024 connections to the management listener by default; this leaves
	// it room for others.
	maxWaiting = 512
)

// pool bounds how many questions are under way to Jira at once. Whoever waits in
// another lane delays nobody here.
//
// A free place goes to the question whose network, or user, has the fewest under
// way, and among equals to the newest: under a flood the oldest will not be
// answered in time anyway. A question that has waited too long is dropped, and
// so is the oldest one when too many wait.
type pool struct {
	slots int
	maxWait   time.Duration // at most, for a place

	flights singleflight.Group // by credentialHash
	dropped atomic.Uint64

	mu      sync.Mutex
	inFlight   int            // questions under way
	byOrigin  map[string]int // questions under way, by whose they are
	waiting []*waiter      // the newest comes last
}

// waiter is a question that waits for a place.
type waiter struct {
	origins []string
	result   chan error // holds one: nil when there is a place
}

func newPool(places int, wait time.Duration) *pool {
	return &pool{slots: places, maxWait: wait, byOrigin: make(map[string]int)}
}

// enter returns nil once the question may go, or ErrBusy. The shares say whose
// question it is. After a nil, the caller must call leave with the same shares.
func (l *pool) enter(ctx context.Context, shares ...string) error {
	ctx, cancel := context.WithTimeout(ctx, l.maxWait)
	defer cancel()
	w := &waiter{origins: shares, result: make(chan error, 1)}
	l.mu.Lock()
	if l.inFlight < l.slots {
		l.admit(w)
	} else {
		if len(l.waiting) >= maxWaiting {
			l.waiting[0].result <- ErrBusy
			l.waiting = slices.Delete(l.waiting, 0, 1)
			l.dropped.Add(1)
		}
		l.waiting = append(l.waiting, w)
	}
	l.mu.Unlock()
	select {
	case err := <-w.result:
		return err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.waiting, w)
	if i < 0 {
		return <-w.result // it was told while the time ran out
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	l.dropped.Add(1)
	return ErrBusy
}

// leave gives the place to the next question.
func (l *pool) leave(shares ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	for _, share := range shares {
		if l.byOrigin[share]--; l.byOrigin[share] == 0 {
			delete(l.byOrigin, share)
		}
	}
	if len(l.waiting) == 0 {
		return
	}
	next, fewest := 0, -1
	for i, w := range slices.Backward(l.waiting) {
		if n := l.countInFlight(w.origins); fewest < 0 || n < fewest {
			next, fewest = i, n
		}
		if fewest == 0 {
			break
		}
	}
	w := l.waiting[next]
	l.waiting = slices.Delete(l.waiting, next, next+1)
	l.admit(w)
}

// admit is called with mu held.
func (l *pool) admit(w *waiter) {
	l.inFlight++
	for _, share := range w.origins {
		l.byOrigin[share]++
	}
	w.result <- nil
}

// countInFlight returns how many questions with these shares are under way. One that
// has several of the shares counts as often.
func (l *pool) countInFlight(shares []string) (n int) {
	for _, share := range shares {
		n += l.byOrigin[share]
	}
	return n
}

// networks returns the shares of a client's address: the networks around it, from
// what a subscriber gets to what a provider gets. So a flood from ever new
// addresses of one provider counts as one, and other customers of the provider
// are still told from it. All clients whose address is not known share one.
func networks(client netip.Addr) []string {
	widths := []int{32, 24, 16}
	switch {
	case !client.IsValid():
		return []string{""}
	case client.Is6():
		widths = []int{64, 48, 32}
	}
	shares := make([]string, len(widths))
	for i, width := range widths {
		shares[i] = netip.PrefixFrom(client, width).Masked().String()
	}
	return shares
}
