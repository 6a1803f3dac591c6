package app

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// brokenListener fails at every Accept.
type brokenListener struct{ net.Listener }

var errBroken = errors.New("broken")

func (brokenListener) Accept() (net.Conn, error) { return nil, errBroken }
func (brokenListener) Close() error              { return nil }

// A listener opens again after growing pauses, unless it fails too often within a minute.
func TestReopeningListener(t *testing.T) {
	start := func(open func() (net.Listener, error)) (l *reopeningListener, failures *int) {
		failures = new(int)
		return &reopeningListener{open: open, failed: func(error) { *failures++ }, current: brokenListener{}, ended: make(chan struct{})}, failures
	}
	for name, open := range map[string]func() (net.Listener, error){
		"it fails again":      func() (net.Listener, error) { return brokenListener{}, nil },
		"it cannot be opened": func() (net.Listener, error) { return nil, errBroken },
	} {
		synctest.Test(t, func(t *testing.T) {
			l, failures := start(open)
			began := time.Now()
			_, err := l.Accept()
			if took := time.Since(began); !errors.Is(err, errBroken) || *failures != reopenMost || took != 2550*time.Millisecond {
				t.Errorf("%s: %v after %d attempts and %v", name, err, *failures, took)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var l *reopeningListener
		opened := 0
		l, failures := start(func() (net.Listener, error) {
			if opened++; opened == 100 {
				l.Close()
			}
			time.Sleep(reopenWithin / reopenMost)
			return brokenListener{}, nil
		})
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) || *failures != 100 {
			t.Errorf("eight failures a minute: %v after %d", err, *failures)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l, _ := start(func() (net.Listener, error) {
			t.Error("a closed listener was opened")
			return nil, errBroken
		})
		done := make(chan error)
		go func() {
			_, err := l.Accept()
			done <- err
		}()
		synctest.Wait() // it pauses
		began := time.Now()
		l.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) || time.Since(began) != 0 {
			t.Errorf("closed in a pause: %v after %v", err, time.Since(began))
		}
		l.restore("/nonexistent")
	})
	synctest.Test(t, func(t *testing.T) {
		l, failures := start(nil)
		l.current = fullListener{}
		if _, err := l.Accept(); !errors.Is(err, syscall.EMFILE) || *failures != 0 {
			t.Errorf("too many open files: %v, %d failures", err, *failures)
		}
	})
}

// fullListener fails for lack of file descriptors, which is temporary.
type fullListener struct{ net.Listener }

func (fullListener) Accept() (net.Conn, error) {
	return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
}
