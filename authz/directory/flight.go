package directory

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// maxFlights bounds the questions of one kind that are under way at once.
const maxFlights = 256

// flights let those who ask the same at the same time share one answer. The
// zero flights are ready.
//
// It is not golang.org/x/sync/singleflight because a question here goes on
// when the one who asked first has gone, ends within a time of its own, and
// there are only so many.
type flights[K comparable] struct {
	mu  sync.Mutex
	all map[K]*flight
}

type flight struct {
	done chan struct{} // closed when what follows is set
	user User
	err  error
}

// do returns the answer that ask gives for key, its own or that of somebody
// who asked before.
func (f *flights[K]) do(ctx context.Context, key K, within time.Duration, ask func(context.Context) (User, error)) (User, error) {
	f.mu.Lock()
	x, ok := f.all[key]
	if !ok {
		if len(f.all) >= maxFlights {
			f.mu.Unlock()
			return User{}, ErrBusy
		}
		if f.all == nil {
			f.all = make(map[K]*flight)
		}
		x = &flight{done: make(chan struct{})}
		f.all[key] = x
		go f.fly(context.WithoutCancel(ctx), key, x, within, ask)
	}
	f.mu.Unlock()
	select {
	case <-x.done:
		return x.user, x.err
	case <-ctx.Done():
		return User{}, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

func (f *flights[K]) fly(ctx context.Context, key K, x *flight, within time.Duration, ask func(context.Context) (User, error)) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	user, err := ask(ctx)
	f.mu.Lock()
	delete(f.all, key)
	f.mu.Unlock()
	x.user, x.err = user, err
	close(x.done)
}
