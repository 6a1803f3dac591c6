package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// logSink writes log lines off the path of a request. What it holds is bounded:
// if the reader of the log is stuck, lines are dropped and counted rather than
// requests held up.
type logSink struct {
	to   io.Writer
	most int // bytes held

	mu      sync.Mutex
	pending []byte
	lost    uint64        // lines dropped since the start
	closed  bool          // nothing more is taken
	wake    chan struct{} // holds one value while there is something to do
	done    chan struct{} // closed when the last line is out
}

// logBuffer is how much may wait to be written: some thousands of lines.
const logBuffer = 1 << 20

func newLogSink(to io.Writer, most int) *logSink {
	s := &logSink{to: to, most: most, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go s.run()
	return s
}

// Write takes a line. It never waits and never fails.
func (s *logSink) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.pending)+len(line) > s.most {
		s.lost++
		return len(line), nil
	}
	s.pending = append(s.pending, line...)
	s.signal()
	return len(line), nil
}

func (s *logSink) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *logSink) drop(lines uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost += lines
}

// Lost returns how many lines were dropped.
func (s *logSink) Lost() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

func (s *logSink) run() {
	defer close(s.done)
	var batch []byte
	var reported uint64
	for range s.wake {
		s.mu.Lock()
		batch, s.pending = s.pending, batch[:0]
		lost, closed := s.lost-reported, s.closed
		s.mu.Unlock()
		if _, err := s.to.Write(batch); err != nil {
			s.drop(uint64(bytes.Count(batch, []byte("\n"))))
		}
		if lost > 0 {
			reported += lost
			fmt.Fprintf(s.to, `{"level":"warn","time":%q,"msg":"log lines were dropped because the log was not read fast enough","lines":%d}`+"\n",
				time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), lost)
		}
		if closed {
			return
		}
	}
}

// Close writes what is held, until ctx ends.
func (s *logSink) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.signal()
	s.mu.Unlock()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("write the last log lines: %w", ctx.Err())
	}
}
