package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.uber.org/zap/zapcore"
)

const (
	// logBuffer is the size of the buffer in bytes: some thousands of lines.
	logBuffer = 1 << 20

	// flushLogEvery is the longest time before a line is written, and how much of the
	// log a crash can lose.
	flushLogEvery = 100 * time.Millisecond
)

// errLogFull is returned for a line that does not fit in a logSink.
var errLogFull = errors.New("the log is not read fast enough")

// logSink writes log lines in batches, outside the path of a request. Its buffer is
// bounded: if the log's reader is stuck, lines are dropped and counted, and no request
// waits.
//
// Lines arrive through shares with bounds of their own, so lines that clients can cause
// without a valid token never displace others.
type logSink struct {
	own             logShare // the server's own lines
	allowed         logShare // lines of allowed requests
	denied          logShare // lines of denied requests with a valid token
	unauthenticated logShare // lines of other requests; Write reports a full share

	to    io.Writer
	early int // buffered bytes that trigger a write before the next tick; small, so that most of the buffer is free during the write

	mu      sync.Mutex
	pending []byte
	lost    uint64 // lines dropped since the start
	closed  bool   // no more lines are accepted

	wake chan struct{} // holds a value when there is something to do before the next tick
	done chan struct{} // closed when the last line is out
}

// logShare takes lines for a logSink. It implements zapcore.WriteSyncer.
type logShare struct {
	sink *logSink
	most int   // limit of held
	held int   // bytes in the sink's pending; guarded by its mu
	full error // returned by Write when the share is full; nil: the line is counted as lost
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

// Write accepts a line. It never waits, and fails only in the share for requests
// without a valid token.
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

// take returns the buffered lines, the number of lines lost so far, and whether the
// sink is closed. The sink reuses empty as its next buffer.
func (s *logSink) take(empty []byte) (batch []byte, lost uint64, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch, s.pending = s.pending, empty[:0]
	s.own.held, s.allowed.held, s.denied.held, s.unauthenticated.held = 0, 0, 0, 0
	return batch, s.lost, s.closed
}

// logWriter writes batches of lines, and reports lost lines when the log can be
// written again.
type logWriter struct {
	to   io.Writer
	torn bool   // the last line was written only in part
	told uint64 // lost lines already reported
}

// write writes a batch and returns how many of its lines were lost. lost counts the
// lines lost before it.
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

// put writes whole lines and returns the number of bytes written. Text after a partial
// line begins on a new line.
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

// Close writes the buffered lines, until ctx ends.
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

// logTimeLayout is the layout of zapcore.ISO8601TimeEncoder.
const logTimeLayout = "2006-01-02T15:04:05.000Z0700"

// timestampCache is the formatted time of one second, with room for the milliseconds.
type timestampCache struct {
	second int64
	zone   *time.Location
	text   []byte
	millis int // their position in text
}

var stamps = sync.Pool{New: func() any { return &timestampCache{} }}

// encodeLogTime writes the same text as zapcore.ISO8601TimeEncoder. Most lines fall into
// the same second as the previous one; for these it formats only the milliseconds.
func encodeLogTime(t time.Time, to zapcore.PrimitiveArrayEncoder) {
	s := stamps.Get().(*timestampCache)
	if second := t.Unix(); len(s.text) == 0 || s.second != second || s.zone != t.Location() {
		s.second, s.zone = second, t.Location()
		s.text = t.AppendFormat(s.text[:0], logTimeLayout)
		s.millis = bytes.IndexByte(s.text, '.') + 1
	}
	ms := t.Nanosecond() / 1e6
	s.text[s.millis], s.text[s.millis+1], s.text[s.millis+2] = byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10)
	to.AppendByteString(s.text)
	stamps.Put(s)
}
