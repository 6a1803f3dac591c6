package directory

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// pace is a token bucket: it lets requests go one every so often, with a burst
// after a rest.
type pace struct {
	now   func() time.Time
	every time.Duration
	burst int // at least 1

	mu   sync.Mutex
	next time.Time // when the next request may go
}

// wait returns when a request may go, or ErrBusy at once if that is not before
// the context ends.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	delay := p.delay()
	if end, ok := ctx.Deadline(); ok && delay > time.Until(end) {
		p.mu.Unlock()
		return ErrBusy
	}
	p.next = p.next.Add(p.every)
	p.mu.Unlock()
	if delay <= 0 {
		return nil
	}
	return sleep(ctx, delay)
}

// take counts a request that did not wait.
func (p *pace) take() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay()
	p.next = p.next.Add(p.every)
}

// delay returns how long the next request has to wait. It is called with mu
// held.
func (p *pace) delay() time.Duration {
	now := p.now()
	if rested := now.Add(-time.Duration(p.burst-1) * p.every); p.next.Before(rested) {
		p.next = rested
	}
	return p.next.Sub(now)
}

// sleep waits, or returns an error that wraps ErrUnavailable when the context
// ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}
