package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"
)

// A log that is not read delays no request, and lost lines are counted.
func TestLogSinkNeverWaits(t *testing.T) {
	reader, writer := io.Pipe()
	sink := newLogSink(writer, 160)
	line := []byte(strings.Repeat("x", 39) + "\n")
	for range 50 {
		if n, err := sink.allowed.Write(line); n != len(line) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	lost := sink.Lost()
	if lost < 45 { // one batch at most is in the pipe, two lines wait
		t.Errorf("%d lines lost", lost)
	}
	expired, cancel := context.WithCancel(context.Background())
	cancel()
	if err := sink.Close(expired); !errors.Is(err, context.Canceled) {
		t.Errorf("Close with a stuck reader: %v", err)
	}
	var got bytes.Buffer
	go func() {
		<-sink.done
		writer.Close()
	}()
	if _, err := io.Copy(&got, reader); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(got.String(), string(line)); uint64(n)+lost != 50 {
		t.Errorf("%d lines written, %d lost, of 50", n, lost)
	}
	// One line reports the loss, or several if some lines were written in between.
	told := uint64(0)
	for _, m := range regexp.MustCompile(`"lines":(\d+)}`).FindAllStringSubmatch(got.String(), -1) {
		n, err := strconv.ParseUint(m[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		told += n
	}
	if told != lost {
		t.Errorf("%d lost lines are told of %d: %s", told, lost, got.String())
	}
}

func TestLogSinkWritesAllAtTheEnd(t *testing.T) {
	var got bytes.Buffer
	sink := newLogSink(&got, logBuffer)
	for range 1000 {
		sink.own.Write([]byte("line\n"))
	}
	if err := sink.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(got.String(), "line\n"); n != 1000 || sink.Lost() != 0 {
		t.Errorf("%d lines, %d lost", n, sink.Lost())
	}
	if sink.own.Write([]byte("late\n")); sink.Lost() != 1 {
		t.Error("a line after the end is not counted as lost")
	}
}

// batches are the writes that a sink makes. fails says which writes fail.
type batches struct {
	mu     sync.Mutex
	writes []string
	fails  []int // by write still to come: how many bytes go out before an error; -1: all, and none
}

func (b *batches) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.fails) > 0 {
		n := b.fails[0]
		b.fails = b.fails[1:]
		if n >= 0 {
			b.writes = append(b.writes, string(p[:n]))
			return n, io.ErrShortWrite
		}
	}
	b.writes = append(b.writes, string(p))
	return len(p), nil
}

// all returns the writes so far.
func (b *batches) all() []string {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.writes)
}

// tick lets the time of one flush go by, in a test's own time.
func tick() {
	<-time.After(flushLogEvery)
	synctest.Wait()
}

// Lines go out together: at the next tick, or when many have come.
func TestLogSinkWritesBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to batches
		sink := newLogSink(&to, 1600)
		<-time.After(flushLogEvery / 2) // between two ticks from now on
		for range 4 {
			sink.allowed.Write([]byte("line\n"))
		}
		sink.own.Write([]byte("own\n"))
		if got := to.all(); len(got) != 0 {
			t.Errorf("written at once: %q", got)
		}
		tick()
		want := []string{strings.Repeat("line\n", 4) + "own\n"}
		if got := to.all(); !slices.Equal(got, want) {
			t.Errorf("written at a tick: %q, want %q", got, want)
		}
		tick()
		if got := to.all(); len(got) != 1 {
			t.Errorf("written with nothing to write: %q", got[1:])
		}
		many := strings.Repeat("line\n", 20) // a sixteenth
		for line := range strings.Lines(many) {
			sink.allowed.Write([]byte(line))
		}
		if got := to.all(); !slices.Equal(got[1:], []string{many}) {
			t.Errorf("written at once: %q, want %q", got[1:], many)
		}
		if err := sink.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// stuckWriter takes nothing while it holds a value.
type stuckWriter chan struct{}

func (w stuckWriter) Write(p []byte) (int, error) {
	w <- struct{}{}
	<-w
	return len(p), nil
}

// No line takes the room of others than those of its kind.
func TestLogSinkShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := make(stuckWriter, 1)
		sink := newLogSink(to, 1600)
		line := []byte(strings.Repeat("x", 9) + "\n")
		counts := func(share *logShare) (taken, refused int) {
			for range 1000 {
				lost := sink.Lost()
				_, err := share.Write(line)
				switch {
				case err != nil:
					refused++
				case sink.Lost() == lost:
					taken++
				}
			}
			return taken, refused
		}
		for range 2 { // what went out makes room for as much again
			to <- struct{}{}
			sink.own.Write([]byte("the writer is stuck with this\n"))
			tick()
			for _, c := range []struct {
				name           string
				share          *logShare
				taken, refused int
			}{
				{"unproved", &sink.unauthenticated, 20, 980},
				{"refused", &sink.denied, 20, 0},
				{"admitted", &sink.allowed, 100, 0},
				{"own", &sink.own, 20, 0},
				{"unproved again", &sink.unauthenticated, 0, 1000},
				{"own again", &sink.own, 0, 0},
			} {
				if taken, refused := counts(c.share); taken != c.taken || refused != c.refused {
					t.Errorf("%s: %d lines taken, %d refused, want %d and %d", c.name, taken, refused, c.taken, c.refused)
				}
			}
			<-to
			tick()
		}
		if err := sink.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A log that fails loses what it does not take, and says so when it flows
// again. No line is hung on the rest of another.
func TestLogSinkFails(t *testing.T) {
	const told = `"msg":"log lines were dropped because the log was not read fast enough","lines":`
	for _, c := range []struct {
		name  string
		fails []int
		want  []string
		lost  uint64
	}{
		{"nothing fails", nil, []string{"one\ntwo\n", "three\n"}, 0},
		{"all of it", []int{0}, []string{"", told + "2}", "three\n"}, 2},
		{"after a line", []int{4}, []string{"one\n", told + "1}", "three\n"}, 1},
		{"in a line", []int{6}, []string{"one\ntw", "\n", told + "1}", "three\n"}, 1},
		{"twice", []int{6, 0, -1}, []string{"one\ntw", "", "\n", "three\n", told + "1}"}, 1},
		{"the report, too", []int{6, -1, 7}, []string{"one\ntw", "\n", `{"level`, "\n", "three\n", told + "1}"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				to := batches{fails: c.fails}
				sink := newLogSink(&to, 1<<10)
				sink.own.Write([]byte("one\n"))
				sink.own.Write([]byte("two\n"))
				tick()
				tick()
				sink.own.Write([]byte("three\n"))
				if err := sink.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				got := to.all()
				same := slices.EqualFunc(got, c.want, func(got, want string) bool {
					return got == want || strings.HasPrefix(want, `"msg"`) && strings.HasPrefix(got, "{") && strings.HasSuffix(got, want+"\n")
				})
				if !same || sink.Lost() != c.lost {
					t.Errorf("written %q, %d lost; want %q, %d", got, sink.Lost(), c.want, c.lost)
				}
			})
		})
	}
}

// With concurrent writers, each line is either written completely or counted as lost.
func TestLogSinkRaces(t *testing.T) {
	var got bytes.Buffer
	sink := newLogSink(&got, 4<<10)
	const writers, each = 8, 2000
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				fmt.Fprintf(&sink.allowed, "line %d of %d\n", i, w)
			}
		})
	}
	wg.Wait()
	if err := sink.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	written := uint64(0)
	for line := range strings.Lines(got.String()) {
		var i, w int
		if n, _ := fmt.Sscanf(line, "line %d of %d\n", &i, &w); n == 2 {
			written++
		} else if !strings.HasPrefix(line, "{") {
			t.Errorf("a broken line: %q", line)
		}
	}
	if lost := sink.Lost(); written+lost != writers*each {
		t.Errorf("%d lines written, %d lost, of %d", written, lost, writers*each)
	}
}

// Times read as zap's own encoder writes them, whatever was written before.
func TestLogTime(t *testing.T) {
	east, west := time.FixedZone("", 5*3600+1800), time.FixedZone("", -3600)
	at := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	for _, c := range []time.Time{
		at, at, at.Add(time.Millisecond), at.Add(999*time.Millisecond + 999999), at.Add(time.Second), at.Add(120 * time.Millisecond),
		at.In(east), at.In(west), at, at.Add(-time.Nanosecond), at.Local(), {}, time.Unix(0, 0), time.Unix(-1, 5e8).UTC(),
		time.Date(12345, 1, 1, 0, 0, 0, 78e6, time.UTC), time.Date(-5, 1, 1, 0, 0, 0, 9e6, east),
	} {
		if got, want := encodedTime(encodeLogTime, c), encodedTime(zapcore.ISO8601TimeEncoder, c); got != want {
			t.Errorf("%v: %s, want %s", c, got, want)
		}
	}
}

func encodedTime(encode zapcore.TimeEncoder, t time.Time) string {
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{EncodeTime: encode, SkipLineEnding: true})
	encoder.AddTime("time", t)
	line, err := encoder.EncodeEntry(zapcore.Entry{}, nil)
	if err != nil {
		return err.Error()
	}
	return line.String()
}

func BenchmarkLogTime(b *testing.B) {
	for name, encode := range map[string]zapcore.TimeEncoder{"ours": encodeLogTime, "zap's": zapcore.ISO8601TimeEncoder} {
		encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{TimeKey: "time", EncodeTime: encode})
		at := time.Now()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				at = at.Add(12 * time.Microsecond)
				line, err := encoder.EncodeEntry(zapcore.Entry{Time: at}, nil)
				if err != nil {
					b.Fatal(err)
				}
				line.Free()
			}
		})
	}
}
