package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/store"
)

// stepTime limits each step of a shutdown, such as ending running requests or closing
// the store.
const stepTime = 5 * time.Second

// step is one named step of a shutdown.
type step struct {
	name string
	do   func(context.Context) error
}

// atStop adds a step that Stop runs before those added so far.
func (s *Server) atStop(name string, do func(context.Context) error) {
	s.steps = append(s.steps, step{name, do})
}

// Stop undoes New and Start, last step first. A step that does not end in time is
// abandoned, because a hanging disk must not keep the process. Stop continues after a
// step that fails, and returns all errors.
func (s *Server) Stop() error {
	s.endJobs()
	if s.ready.Load() {
		s.log.Info("shutting down")
	}
	var all error
	for ; len(s.steps) > 0; s.steps = s.steps[:len(s.steps)-1] {
		if len(s.steps) == 1 {
			s.log.Info("tokengate has stopped") // the last step writes the log out
		}
		if err := s.steps[len(s.steps)-1].take(); err != nil {
			s.log.Error("shutdown", zap.Error(err))
			if !errors.Is(err, store.ErrNoSpace) { // logged above; a full disk is not a failure of this program
				all = errors.Join(all, err)
			}
		}
	}
	return all
}

func (s step) take() error {
	// A step that respects its context ends in time; others get a second more.
	ctx, cancel := context.WithTimeout(context.Background(), stepTime)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.do(ctx) }()
	select {
	case err := <-done:
		return s.wrap(err)
	case <-time.After(stepTime + time.Second):
		return s.wrap(errors.New("it did not end in time and was abandoned"))
	}
}

func (s step) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", s.name, err)
}
