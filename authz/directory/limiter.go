package directory

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// limiter lets requests go one every so often.
type limiter struct {
	now   func() time.Time
	every time.Duration

	mu   sync.Mutex
	next time.Time // when the next request may go
}

// wait returns when a request may go, or ErrBusy at once if that is not before
// the context ends.
func (p *limiter) wait(ctx context.Context) error {
	p.mu.Lock()
	now := p.now()
	if p.next.Before(now) {
		p.next = now
	}
	delay := p.next.Sub(now)
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
