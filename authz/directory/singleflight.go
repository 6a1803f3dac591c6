package directory

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// singleflight let those who ask the same at the same time share one answer. The
// zero flights are ready. A lane bounds how many there are.
//
// It is not golang.org/x/sync/singleflight because a question here goes on
// when the one who asked first has gone, and ends within a time of its own.
type singleflight[K comparable] struct {
	mu  sync.Mutex
	all map[K]*inflight
}

type inflight struct {
	done chan struct{} // closed when what follows is set
	user User
	err  error
}

// do returns the answer that ask gives for key, its own or that of somebody
// who asked before.
func (f *singleflight[K]) do(ctx context.Context, key K, within time.Duration, ask func(context.Context) (User, error)) (User, error) {
	x := f.start(ctx, key, within, ask)
	select {
	case <-x.done:
		return x.user, x.err
	case <-ctx.Done():
		return User{}, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// start asks, unless somebody has asked for key and waits for the answer. It
// does not wait.
func (f *singleflight[K]) start(ctx context.Context, key K, within time.Duration, ask func(context.Context) (User, error)) *inflight {
	f.mu.Lock()
	defer f.mu.Unlock()
	x, ok := f.all[key]
	if !ok {
		if f.all == nil {
			f.all = make(map[K]*inflight)
		}
		x = &inflight{done: make(chan struct{})}
		f.all[key] = x
		go f.fly(context.WithoutCancel(ctx), key, x, within, ask)
	}
	return x
}

func (f *singleflight[K]) fly(ctx context.Context, key K, x *inflight, within time.Duration, ask func(context.Context) (User, error)) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	user, err := ask(ctx)
	f.mu.Lock()
	delete(f.all, key)
	f.mu.Unlock()
	x.user, x.err = user, err
	close(x.done)
}
