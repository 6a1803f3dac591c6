package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// h1load sends requests to Envoy, or past it to the upstream.
type h1load struct {
	address     string
	conns       int
	credentials *credentials
	user        userSeen // whom the upstream must see
	cursor      int
}

// userSeen says whom the upstream must see in a request.
type userSeen int

const (
	seesNobody userSeen = iota
	seesOwner           // the token's
	seesAlways          // the same user, that of token 0
)

// expect returns the name that the upstream must answer with.
func (l *h1load) expect(owner uint32) []byte {
	switch l.user {
	case seesOwner:
		return l.credentials.name(owner)
	case seesAlways:
		return l.credentials.name(0)
	}
	return []byte(nobody)
}

// closed keeps a request under way on every connection: as fast as answers
// come.
func (l *h1load) closed(ctx context.Context, length time.Duration) (loadResult, error) {
	began, cpu := time.Now(), cpuOf(syscall.RUSAGE_SELF)
	deadline := began.Add(length)
	answers := make([]int, l.conns)
	err := l.onEach(func(n int, c *h1conn) error {
		for cursor := l.cursor + n*10_007; time.Now().Before(deadline) && ctx.Err() == nil; cursor++ {
			_, credential, owner := l.credentials.at(cursor)
			if err := errors.Join(c.send(credential), c.receive(l.expect(owner))); err != nil {
				return err
			}
			answers[n]++
		}
		return nil
	})
	result := loadResult{took: time.Since(began), generator: cpuOf(syscall.RUSAGE_SELF) - cpu}
	for _, n := range answers {
		result.answers += n
	}
	l.cursor += result.answers
	if err == nil {
		err = ctx.Err()
	}
	return result, err
}

// onEach connects, runs a part of the load on every connection, and waits.
func (l *h1load) onEach(part func(n int, c *h1conn) error) error {
	var all sync.WaitGroup
	failed := make([]error, l.conns)
	for n := range l.conns {
		all.Go(func() {
			c, err := dialH1(l.address)
			if err == nil {
				defer c.close()
				if err = c.conn.SetDeadline(time.Now().Add(time.Minute)); err == nil {
					err = part(n, c)
				}
			}
			failed[n] = err
		})
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("load on %s: %w", l.address, err)
	}
	return nil
}

// pacedResult is what a slice at a fixed rate saw.
type pacedResult struct {
	p50, p99, p999 time.Duration
	late           time.Duration // how long after its time the load itself sent, at p99
}

// due is a request and the moment it was to be sent.
type due struct {
	at    time.Duration // since the slice began
	owner uint32
}

// paced sends requests at a fixed rate, whether answers come or not. The time of
// a request counts from the moment at which it was to be sent: one that has to
// wait, because the answers before it are late, is late itself. (Otherwise a
// stall would be counted once, and not for all that it holds up.)
func (l *h1load) paced(ctx context.Context, rate float64, length time.Duration) (result pacedResult, err error) {
	ctx, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	idle := make(chan *pacedConn, l.conns)
	for range l.conns {
		c, err := dialH1(l.address)
		if err != nil {
			return result, fmt.Errorf("load on %s: %w", l.address, err)
		}
		defer c.close()
		if err := c.conn.SetDeadline(time.Now().Add(length + drainTime)); err != nil {
			return result, err
		}
		idle <- &pacedConn{h1conn: c, sent: make(chan due, 1), written: make(chan error, 1)}
	}
	began := time.Now()
	var all sync.WaitGroup
	conns := make([]*pacedConn, 0, l.conns)
	for range l.conns {
		p := <-idle
		conns = append(conns, p)
		idle <- p
		all.Go(func() {
			for request := range p.sent {
				err := p.receive(l.expect(request.owner))
				p.times.add(time.Since(began) - request.at)
				if err = errors.Join(err, <-p.written); err != nil {
					failed(err)
					return
				}
				idle <- p
			}
		})
	}
	total := int(rate * length.Seconds())
	var late histogram
	all.Go(func() {
		late = l.pace(ctx, idle, began, total, time.Duration(float64(time.Second)/rate))
		for _, p := range conns {
			close(p.sent)
		}
	})
	all.Wait()
	l.cursor += total
	if ctx.Err() != nil {
		return result, fmt.Errorf("load on %s: %w", l.address, context.Cause(ctx))
	}
	var times histogram
	for _, p := range conns {
		times.merge(&p.times)
	}
	if times.total != uint64(total) {
		return result, fmt.Errorf("load on %s: %d of %d answers came", l.address, times.total, total)
	}
	return pacedResult{times.quantile(0.50), times.quantile(0.99), times.quantile(0.999), late.quantile(0.99)}, nil
}

// pace sends the requests, each at its moment on a connection that is idle, and
// returns how much after it.
func (l *h1load) pace(ctx context.Context, idle <-chan *pacedConn, began time.Time, total int, interval time.Duration) (late histogram) {
	// Go's own timers wake up to a millisecond late; the kernel's do not, in a
	// thread that waits for nothing else, and that goes before others where the
	// system lets it. Never unlocked, the thread ends with its goroutine.
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -15)
	for n := range total {
		at := time.Duration(n) * interval
		sleepUntil(began.Add(at))
		late.add(time.Since(began) - at)
		select {
		case p := <-idle:
			_, credential, owner := l.credentials.at(l.cursor + n)
			p.sent <- due{at, owner}
			p.written <- p.send(credential)
		case <-ctx.Done():
			return late
		}
	}
	return late
}

// pacedConn is a connection that waits for its next request.
type pacedConn struct {
	*h1conn
	sent    chan due
	written chan error // how the sending went
	times   histogram
}

// sleepUntil sleeps in the kernel, to within some microseconds.
func sleepUntil(t time.Time) {
	for {
		left := time.Until(t)
		if left <= 0 {
			return
		}
		// Interrupted by a signal, it sleeps on.
		request := unix.NsecToTimespec(left.Nanoseconds())
		_ = unix.Nanosleep(&request, nil)
	}
}
