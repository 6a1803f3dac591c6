package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

const mebibyte = 1 << 20

// measureStore is row d: memory, start, writes, and lookups beside writes.
func measureStore(ctx context.Context, sizes scale, r *report) error {
	s := section{Row: "d", Columns: []string{"", "found", "beside it"}}
	s.Title = fmt.Sprintf("The store: %s tokens of %s owners in Badger", number(float64(sizes.tokens)), number(float64(min(owners, sizes.tokens))))
	steps := []func(context.Context, scale, *report, *section) error{
		measureIndex, measureProcesses, measureTail,
	}
	for _, step := range steps {
		if err := step(ctx, sizes, r, &s); err != nil {
			return err
		}
	}
	r.Sections = append(r.Sections, s)
	return nil
}

// measureIndex weighs an index: what the heap holds more with it than without.
func measureIndex(_ context.Context, sizes scale, r *report, s *section) error {
	before := heap()
	index, err := newIndex(sizes.tokens)
	if err != nil {
		return err
	}
	each := (heap() - before) / float64(sizes.tokens)
	runtime.KeepAlive(index)
	found := spread{each, each, each}
	s.Lines = append(s.Lines, []string{"index, bytes per token", s.cell("index per token", "B", found), ""})
	r.atMost(fmt.Sprintf("decision index, per token, at %s", number(float64(sizes.tokens))), 200, "B", found)
	return nil
}

// heap returns the bytes of live objects.
func heap() float64 {
	runtime.GC()
	runtime.GC() // what finalizers let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// measureProcesses starts tokengate on the large and the small store: how long
// it takes, what memory it takes, and how long writes take on the large one.
func measureProcesses(ctx context.Context, sizes scale, r *report, s *section) error {
	if err := measureProcess(ctx, sizes, sizes.small, r, s); err != nil {
		return err
	}
	return measureProcess(ctx, sizes, sizes.tokens, r, s)
}

func measureProcess(ctx context.Context, sizes scale, tokens int, r *report, s *section) (err error) {
	gate, err := startGate(ctx, tokens, "127.0.0.1:1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gate.close()) }()
	at := " at " + number(float64(tokens)) + " tokens"
	large := tokens == sizes.tokens

	starts := []float64{gate.ready.Seconds()}
	for range sizes.starts - 1 {
		if err := gate.restart(ctx); err != nil {
			return err
		}
		starts = append(starts, gate.ready.Seconds())
	}
	s.Lines = append(s.Lines, []string{"start to ready" + at + ", s", s.cell("start to ready"+at, "s", spreadOf(starts)), ""})
	if large {
		r.atMost("start to ready"+at+" in Badger", 2, "s", spreadOf(starts))
	}

	ready, _, err := gate.resident()
	if err != nil {
		return err
	}
	if err := loadFor(ctx, sizes, tokens, gate); err != nil {
		return err
	}
	now, peak, err := gate.resident()
	if err != nil {
		return err
	}
	found := spread{now / mebibyte, now / mebibyte, now / mebibyte}
	s.Lines = append(s.Lines, []string{
		"resident after load" + at + ", MiB",
		s.cell("resident after load"+at, "MiB", found),
		fmt.Sprintf("%s when ready, %s at most", number(ready/mebibyte), number(peak/mebibyte)),
	})
	limit := 60e6
	if large {
		limit = 600e6
	}
	r.atMost("resident"+at+", after load", limit/1e6, "MB", spread{now / 1e6, now / 1e6, now / 1e6})
	if large {
		// The use of the load's tokens is still being written: not here.
		if err := gate.restart(ctx); err != nil {
			return err
		}
		return measureWrites(ctx, sizes, gate, r, s)
	}
	return nil
}

// loadFor puts load on a server for long enough that its memory has settled.
func loadFor(ctx context.Context, sizes scale, tokens int, gate *gate) error {
	credentials, err := newCredentials(tokens)
	if err != nil {
		return err
	}
	load, err := newH2load(gate.check, full, true, credentials)
	if err != nil {
		return err
	}
	_, err = load.run(ctx, sizes.settle)
	return errors.Join(err, gate.trimLog())
}
