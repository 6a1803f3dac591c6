package app

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokengate/tokengate/authz/config"
)

// A shutdown takes its steps in reverse order of the start, each within its time limit.
// A step that fails or hangs prevents neither the other steps nor the end of the process.
func TestStopIsOrderedAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer("", config.Default(), Options{Log: io.Discard})
		var mu sync.Mutex
		var taken []string
		note := func(name string, do func(context.Context) error) {
			s.atStop(name, func(ctx context.Context) error {
				mu.Lock()
				taken = append(taken, name)
				mu.Unlock()
				return do(ctx)
			})
		}
		failure := errors.New("no space")
		release := make(chan struct{})
		note("last", func(context.Context) error { return nil })
		note("fails", func(context.Context) error { return failure })
		note("hangs", func(context.Context) error { <-release; return nil })
		note("minds its context", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		note("first", func(context.Context) error { return nil })

		began := time.Now()
		err := s.Stop()
		mu.Lock()
		defer mu.Unlock()
		if want := []string{"first", "minds its context", "hangs", "fails", "last"}; !slices.Equal(taken, want) {
			t.Errorf("steps taken: %v, want %v", taken, want)
		}
		if took := time.Since(began); took > 3*stepTime {
			t.Errorf("it took %v", took)
		}
		if !errors.Is(err, failure) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "hangs: it did not end in time") {
			t.Errorf("stop: %v", err)
		}
		close(release)
	})
}

// The log is complete when stop returns.
func TestStopWritesTheLog(t *testing.T) {
	var log bytes.Buffer
	s := newServer("", config.Default(), Options{Log: &log})
	s.log.Info("before")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"before", "tokengate has stopped"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("the log lacks %q: %s", line, &log)
		}
	}
}
