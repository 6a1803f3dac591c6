package envoytest

import (
	"bytes"
	"context"
	"sync"
)

// output collects what a process writes. Readers can wait for more.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{} // closed at the next write
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.buf.Write(p)
}

// String is all that was written so far.
func (o *output) String() string {
	s, _ := o.read()
	return s
}

func (o *output) read() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.more
}

// wait returns when ok accepts all that was written so far, or with an error
// when ctx ends first.
func (o *output) wait(ctx context.Context, ok func(string) bool) error {
	for {
		s, more := o.read()
		if ok(s) {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
