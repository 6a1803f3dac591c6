package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/tokengate/tokengate/authz/token"
)

const mebibyte = 1 << 20

// measureStore is row d: memory, start and writes.
func measureStore(ctx context.Context, sizes scale, r *report) {
	s := r.add(fmt.Sprintf("(d) The store: %s tokens of %s owners in Badger", count(sizes.tokens), count(min(owners, sizes.tokens))),
		"", "measured", "compared with")
	bytes := must(heapPerToken(sizes.tokens, func() (any, error) { return newIndex(sizes.tokens) }))
	s.line("index, bytes per token", bytes.String(), "")
	r.atMost("decision index, per token, at "+count(sizes.tokens), 200, "B", bytes)
	measureProcess(ctx, sizes, sizes.small, r, s)
	measureProcess(ctx, sizes, sizes.tokens, r, s)
}

// heapPerToken returns how many bytes of live heap the result of build takes for
// each token.
func heapPerToken(tokens int, build func() (any, error)) (spread, error) {
	live := func() float64 {
		runtime.GC()
		runtime.GC() // frees what finalizers released
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	before := live()
	built, err := build()
	after := live()
	runtime.KeepAlive(built)
	return spreadOf((after - before) / float64(tokens)), err
}

// measureProcess measures tokengate's start and its memory, and on the large store
// the time of writes.
func measureProcess(ctx context.Context, sizes scale, tokens int, r *report, table *section) {
	s := must(startServer(ctx, tokens, "127.0.0.1:1"))
	defer func() { try(s.close()) }()
	at, large := " at "+count(tokens)+" tokens", tokens == sizes.tokens

	starts := []float64{s.ready.Seconds()}
	for range sizes.starts - 1 {
		try(s.restart(ctx))
		starts = append(starts, s.ready.Seconds())
	}
	table.line("start to ready"+at+", s", spreadOf(starts...).String(), "")

	ready, _, err := s.resident()
	try(err)
	credentials := must(newCredentials(tokens))
	load := must(newGRPCLoad(s.check, full, true, credentials))
	must(load.run(ctx, sizes.settle))
	now, peak, err := s.resident()
	try(err)
	table.line("resident after load"+at+", MiB", number(now/mebibyte), fmt.Sprintf("%s when ready, %s at peak", number(ready/mebibyte), number(peak/mebibyte)))
	if !large {
		r.atMost("resident"+at+", after load", 60, "MB", spreadOf(now/1e6))
		return
	}
	r.atMost("start to ready"+at+" in Badger", 2, "s", spreadOf(starts...))
	r.atMost("resident"+at+", after load", 600, "MB", spreadOf(now/1e6))
	// Stops the recording of the uses of the load's tokens.
	try(s.restart(ctx))
	measureWrites(ctx, sizes, s, r, table)
}

// writeTimes are the times of a round of writes.
type writeTimes struct{ create, revoke, bare samples }

// measureWrites creates and revokes tokens over the admin socket. The baseline before
// each write is the minimum of a durable write: an append of as many bytes and an
// fsync on the same disk.
func measureWrites(ctx context.Context, sizes scale, s *server, r *report, table *section) {
	file := must(os.OpenFile(filepath.Join(s.data, "append"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600))
	defer file.Close()
	w := &writer{admin: s.admin, file: file, old: pickAmong(sizes.tokens, sizes.tokens, reads)}
	results, err := alternate(ctx, sizes.rounds, []variant[writeTimes]{{"writes", func(ctx context.Context) (times writeTimes, _ error) {
		for range sizes.writes {
			w.write(ctx, &times)
		}
		return times, nil
	}}})
	try(err)
	at := " at " + count(sizes.tokens) + " tokens"
	for _, kind := range []struct {
		name  string
		times func(writeTimes) samples
	}{
		{"create", func(t writeTimes) samples { return t.create }},
		{"revoke", func(t writeTimes) samples { return t.revoke }},
	} {
		for _, q := range []float64{0.50, 0.99} {
			measured := each(results[0], func(t writeTimes) float64 { return micros(kind.times(t).quantile(q)) })
			bare := each(results[0], func(t writeTimes) float64 { return micros(t.bare.quantile(q)) })
			ratio := ratios(measured, bare)
			table.line(fmt.Sprintf("%s%s, p%.0f µs", kind.name, at, 100*q), spreadOf(measured...).String(),
				fmt.Sprintf("append + fsync %v, ratio %v", spreadOf(bare...), ratio))
			if q == 0.99 {
				r.atMost(kind.name+at+", p99 ÷ append + fsync", 3, "×", ratio)
			}
		}
	}
	table.note("Writes go over the admin socket of a server without other load, one at a time, %d of each kind in a round. The bare append is %d bytes on the same disk.", sizes.writes, appendLength)
}

// appendLength is about the size of a create: a record, its audit record and three
// short keys.
const appendLength = 1024

// writer makes one write after another.
type writer struct {
	admin  *http.Client
	file   *os.File
	old    []int // tokens to revoke
	number int
}

// append measures the baseline.
func (w *writer) append(times *writeTimes) {
	began := time.Now()
	must(w.file.Write(make([]byte, appendLength)))
	try(w.file.Sync())
	times.bare = append(times.bare, time.Since(began))
}

// write creates a token and revokes an older one.
func (w *writer) write(ctx context.Context, times *writeTimes) {
	w.append(times)
	body := must(json.Marshal(map[string]string{
		"label": fmt.Sprintf("bench %d", w.number), "user": ownerOf(w.number), "purpose": "reads the backlog for the status page",
	}))
	times.create = append(times.create, w.send(ctx, http.MethodPost, "", body, http.StatusOK))
	w.append(times)
	id := must(idOf(w.old[w.number%len(w.old)]))
	times.revoke = append(times.revoke, w.send(ctx, http.MethodDelete, "/"+id, nil, http.StatusNoContent))
	w.number++
}

// send sends a request to the management API. It returns the time until the answer,
// which must have the given status, was read.
func (w *writer) send(ctx context.Context, method, path string, body []byte, status int) time.Duration {
	began := time.Now()
	request := must(http.NewRequestWithContext(ctx, method, "http://tokengate/rest/api-tokens/latest"+path, bytes.NewReader(body)))
	request.Header.Set("Content-Type", "application/json")
	response := must(w.admin.Do(request))
	defer response.Body.Close()
	answer := must(io.ReadAll(response.Body))
	took := time.Since(began)
	if response.StatusCode != status {
		try(fmt.Errorf("%s of a token: status %s: %s", method, response.Status, token.Redact(string(answer))))
	}
	return took
}
