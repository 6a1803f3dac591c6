package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// logBuffer is how much may wait to be written: some thousands of lines.
	logBuffer = 1 << 20

	// flushLogEvery is how long a line waits at most before it is written, and
	// how much of the log a crash can lose.
	flushLogEvery = 100 * time.Millisecond
)

// errLogFull says that a line found no room in a logSink.
var errLogFull = errors.New("the log is not read fast enough")

// logSink writes log lines off the path of a request, many at a time. What it
// holds is bounded: if the reader of the log is stuck, lines are dropped and
// counted rather than requests held up.
//
// Lines come in by shares, each with a bound of its own, so that what clients
// can cause without a good token never takes the room of other lines.
type logSink struct {
	own             logShare // the server's own lines
	allowed         logShare // lines of requests that a token let in
	denied          logShare // lines of requests that proved a token, and were refused
	unauthenticated logShare // lines of all others; it says so where one finds no room

	to    io.Writer
	early int // bytes held that are written at once, and not at the next tick: few, so that much is free while they are

	mu      sync.Mutex
	pending []byte
	lost    uint64 // lines dropped since the start
	closed  bool   // nothing more is taken

	wake chan struct{} // holds a value when there is something to do before the next tick
	done chan struct{} // closed when the last line is out
}

// logShare takes lines for a logSink. It implements zapcore.WriteSyncer.
type logShare struct {
	sink *logSink
	most int   // bytes held
	held int   // of the sink's pending; guarded by its mu
	full error // what Write returns where there is no room; nil: the line counts as lost
}

func newLogSink(to io.Writer, most int) *logSink {
	s := &logSink{
		to: to, early: most / 16, pending: make([]byte, 0, most),
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	s.own = logShare{sink: s, most: most / 8}
	s.allowed = logShare{sink: s, most: most * 5 / 8}
	s.denied = logShare{sink: s, most: most / 8}
	s.unauthenticated = logShare{sink: s, most: most / 8, full: errLogFull}
	go s.run(most)
	return s
}

// Write takes a line. It never waits, and fails only in the share for requests
// that proved no token.
func (h *logShare) Write(line []byte) (int, error) {
	s := h.sink
	s.mu.Lock()
	before := len(s.pending)
	after := before + len(line)
	if s.closed || h.held+len(line) > h.most {
		if h.full == nil {
			s.lost++
		}
		s.mu.Unlock()
		return len(line), h.full
	}
	h.held += len(line)
	s.pending = append(s.pending, line...)
	s.mu.Unlock()
	if before < s.early && after >= s.early {
		s.signal()
	}
	return len(line), nil
}

// Sync does nothing: Close writes the last line.
func (h *logShare) Sync() error { return nil }

func (s *logSink) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Lost returns how many lines were dropped.
func (s *logSink) Lost() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

func (s *logSink) run(most int) {
	defer close(s.done)
	every := time.NewTicker(flushLogEvery)
	defer every.Stop()
	out := logWriter{to: s.to}
	batch := make([]byte, 0, most)
	for closed := false; !closed; {
		select {
		case <-every.C:
		case <-s.wake:
		}
		var lost uint64
		batch, lost, closed = s.take(batch)
		if dropped := out.write(batch, lost); dropped > 0 {
			s.mu.Lock()
			s.lost += dropped
			s.mu.Unlock()
		}
	}
}

// take returns what is held, how many lines were lost so far, and whether
// nothing more will come. The sink goes on with the memory of empty.
func (s *logSink) take(empty []byte) (batch []byte, lost uint64, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch, s.pending = s.pending, empty[:0]
	s.own.held, s.allowed.held, s.denied.held, s.unauthenticated.held = 0, 0, 0, 0
	return batch, s.lost, s.closed
}

// logWriter writes batches of lines, and tells of lost ones as soon as the log
// flows again.
type logWriter struct {
	to   io.Writer
	torn bool   // the last line out is not whole
	told uint64 // lost lines that were told of
}

// write writes a batch and returns how many of its lines were lost. lost is how
// many were before it, since the start.
func (w *logWriter) write(batch []byte, lost uint64) (dropped uint64) {
	if len(batch) > 0 {
		if n, err := w.put(batch); err != nil {
			return uint64(bytes.Count(batch[n:], []byte("\n")))
		}
	}
	if lost > w.told {
		report := fmt.Appendf(nil, `{"level":"warn","time":%q,"msg":"log lines were dropped because the log was not read fast enough","lines":%d}`+"\n",
			time.Now().Format(logTimeLayout), lost-w.told)
		if _, err := w.put(report); err == nil {
			w.told = lost
		}
	}
	return 0
}

// put writes whole lines, and returns how much of them went out. What follows a
// line that was cut off begins on a new one.
func (w *logWriter) put(lines []byte) (int, error) {
	if w.torn {
		if _, err := w.to.Write([]byte("\n")); err != nil {
			return 0, err
		}
	}
	n, err := w.to.Write(lines)
	w.torn = err != nil && n > 0 && lines[n-1] != '\n'
	return n, err
}

// Close writes what is held, until ctx ends.
func (s *logSink) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.signal()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("write the last log lines: %w", ctx.Err())
	}
}
