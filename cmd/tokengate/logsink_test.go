package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// A log that nobody reads holds nobody up, and what is lost is told.
func TestLogSinkNeverWaits(t *testing.T) {
	reader, writer := io.Pipe()
	sink := newLogSink(writer, 100)
	line := []byte(strings.Repeat("x", 39) + "\n")
	for range 50 {
		if n, err := sink.Write(line); n != len(line) || err != nil {
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
	if !strings.Contains(got.String(), `"lines":`) {
		t.Errorf("the loss is not told: %s", got.String())
	}
}

func TestLogSinkWritesAllAtTheEnd(t *testing.T) {
	var got bytes.Buffer
	sink := newLogSink(&got, logBuffer)
	for range 1000 {
		sink.Write([]byte("line\n"))
	}
	if err := sink.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(got.String(), "line\n"); n != 1000 || sink.Lost() != 0 {
		t.Errorf("%d lines, %d lost", n, sink.Lost())
	}
}
