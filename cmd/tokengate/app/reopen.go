package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// A listener that fails opens again after reopenPause, which doubles with each earlier failure
// within reopenWithin. After reopenMost of them, the next failure ends the process.
const (
	reopenPause  = 10 * time.Millisecond
	reopenMost   = 8
	reopenWithin = time.Minute
)

// restoreEvery is how often a unix socket is looked for. Envoy repeats its question for a second,
// so that a new connection finds the socket again in time.
const restoreEvery = 250 * time.Millisecond

var errSocketRemoved = errors.New("its socket was removed")

// reopeningListener is a listener that opens again when it fails, so that the server behind it
// and its connections go on.
type reopeningListener struct {
	open   func() (net.Listener, error)
	failed func(error) // called before it opens again

	mu       sync.Mutex
	current  net.Listener
	ended    chan struct{} // closed by Close
	failures []time.Time   // only for Accept
}

// Accept implements net.Listener. Temporary errors are for the server, which tries again.
func (l *reopeningListener) Accept() (net.Conn, error) {
	for {
		current := l.inner()
		conn, err := current.Accept()
		if temporary, ok := err.(interface{ Temporary() bool }); err == nil || ok && temporary.Temporary() {
			return conn, err
		}
		current.Close()
		if current != l.inner() {
			continue // it was replaced
		}
		if err := l.reopen(err); err != nil {
			return nil, err
		}
	}
}

// reopen opens a listener in place of one that failed and is closed.
func (l *reopeningListener) reopen(failure error) error {
	for {
		if l.hasEnded() {
			return net.ErrClosed
		}
		now := time.Now()
		l.failures = slices.DeleteFunc(l.failures, func(at time.Time) bool { return now.Sub(at) >= reopenWithin })
		if len(l.failures) == reopenMost {
			return fmt.Errorf("it failed %d times within a minute: %w", reopenMost+1, failure)
		}
		pause := reopenPause << len(l.failures)
		l.failures = append(l.failures, now)
		l.failed(failure)
		select {
		case <-time.After(pause):
		case <-l.ended:
			return net.ErrClosed
		}
		next, err := l.open()
		if err == nil {
			l.replace(next)
			return nil
		}
		failure = err
	}
}

// restore opens the listener again if its unix socket is no longer at path. Without it, only
// those who are connected could ask.
func (l *reopeningListener) restore(path string) {
	if exists(path) || l.hasEnded() {
		return
	}
	next, err := l.open()
	l.failed(errors.Join(errSocketRemoved, err))
	if err == nil {
		l.replace(next)
	}
}

// replace puts next in place of the current listener, and closes that.
func (l *reopeningListener) replace(next net.Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current.Close()
	l.current = next
	if l.hasEnded() {
		next.Close()
	}
}

func (l *reopeningListener) inner() net.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}

func (l *reopeningListener) hasEnded() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// Close implements net.Listener.
func (l *reopeningListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.hasEnded() {
		close(l.ended)
	}
	return l.current.Close()
}

// Addr implements net.Listener.
func (l *reopeningListener) Addr() net.Addr { return l.inner().Addr() }

// reopening opens a listener that is opened again when it fails. Failures are counted and logged.
func (s *Server) reopening(l listener) (*reopeningListener, error) {
	first, err := listen(l.config.Address, l.socket)
	if err != nil {
		return nil, err
	}
	at := l.config.Address
	s.addresses[l.name] = addressOf(first, at)
	if at.Network != "unix" {
		at.Address = first.Addr().String() // with the port that the system chose
	}
	failures := s.listenerFailures.WithLabelValues(l.name)
	r := &reopeningListener{
		open: func() (net.Listener, error) { return listen(at, l.socket) },
		failed: func(err error) {
			failures.Inc()
			s.log.Error("a listener failed and is opened again; its connections stay open", zap.String("listener", l.name), zap.Error(err))
		},
		current: first, ended: make(chan struct{}),
	}
	if at.Network == "unix" {
		go every(s.jobs, restoreEvery, func(context.Context) { r.restore(at.Address) })
	}
	return r, nil
}
