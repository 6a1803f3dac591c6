package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// h2load asks a server Check as fast as it answers.
type h2load struct {
	socket      string
	conns       int // connections; Envoy has one for each worker
	streams     int // Checks under way on each
	questions   [forms]question
	credentials *credentials
	named       bool // answers must name the token's owner
	cursor      int  // where the next slice goes on
}

func newH2load(socket string, s shape, named bool, c *credentials) (*h2load, error) {
	l := &h2load{socket: socket, conns: 2, streams: 64, credentials: c, named: named}
	for f := range forms {
		var err error
		if l.questions[f], err = newQuestion(s, f); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// loadResult is what one slice of load saw.
type loadResult struct {
	answers   int
	took      time.Duration // until the last answer
	generator time.Duration // CPU time that the load itself used
}

func (r loadResult) perSecond() float64 { return float64(r.answers) / r.took.Seconds() }

// run asks for the given time, and then until every question is answered. An
// answer that is missing, late or not the right one is an error.
func (l *h2load) run(ctx context.Context, length time.Duration) (loadResult, error) {
	began, cpu := time.Now(), cpuOf(syscall.RUSAGE_SELF)
	deadline := began.Add(length)
	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		result loadResult
		failed error
	)
	for n := range l.conns {
		all.Go(func() {
			// A server may end a connection because of its age; a client then
			// makes another. The connections begin far apart in the tokens.
			for cursor := l.cursor + n*100_003; time.Now().Before(deadline) && ctx.Err() == nil; {
				c, err := dialH2(l, cursor)
				answers := 0
				if err == nil {
					err = c.run(deadline)
					cursor, answers = c.cursor, c.answers
				}
				mu.Lock()
				result.answers += answers
				failed = errors.Join(failed, err)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	all.Wait()
	result.took, result.generator = time.Since(began), cpuOf(syscall.RUSAGE_SELF)-cpu
	l.cursor += result.answers
	if failed == nil {
		failed = ctx.Err()
	}
	if failed == nil && result.answers == 0 {
		failed = errors.New("nothing was answered")
	}
	if failed != nil {
		return result, fmt.Errorf("load on %s: %w", l.socket, failed)
	}
	return result, nil
}
