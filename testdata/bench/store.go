package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/tokengate/tokengate/authz/token"
)

const mebibyte = 1 << 20

// measureStore is row d: memory, start and writes.
func measureStore(ctx context.Context, sizes scale, r *report) error {
	s := r.add(fmt.Sprintf("(d) The store: %s tokens of %s owners in Badger", count(sizes.tokens), count(min(owners, sizes.tokens))),
		"", "measured", "compared with")
	bytes, err := heapPerToken(sizes.tokens, func() (any, error) { return newIndex(sizes.tokens) })
	if err != nil {
		return err
	}
	s.line("index, bytes per token", bytes.String(), "")
	r.atMost("decision index, per token, at "+count(sizes.tokens), 200, "B", bytes)
	if err := measureProcess(ctx, sizes, sizes.small, r, s); err != nil {
		return err
	}
	return measureProcess(ctx, sizes, sizes.tokens, r, s)
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
func measureProcess(ctx context.Context, sizes scale, tokens int, r *report, table *section) (err error) {
	s, err := startServer(ctx, tokens, "127.0.0.1:1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	at, large := " at "+count(tokens)+" tokens", tokens == sizes.tokens

	starts := []float64{s.ready.Seconds()}
	for range sizes.starts - 1 {
		if err := s.restart(ctx); err != nil {
			return err
		}
		starts = append(starts, s.ready.Seconds())
	}
	table.line("start to ready"+at+", s", spreadOf(starts...).String(), "")

	ready, _, err := s.resident()
	if err != nil {
		return err
	}
	credentials, err := newCredentials(tokens)
	if err != nil {
		return err
	}
	load, err := newGRPCLoad(s.check, full, true, credentials)
	if err != nil {
		return err
	}
	if _, err = load.run(ctx, sizes.settle); err != nil {
		return err
	}
	now, peak, err := s.resident()
	if err != nil {
		return err
	}
	table.line("resident after load"+at+", MiB", number(now/mebibyte), fmt.Sprintf("%s when ready, %s at peak", number(ready/mebibyte), number(peak/mebibyte)))
	if !large {
		r.atMost("resident"+at+", after load", 60, "MB", spreadOf(now/1e6))
		return nil
	}
	r.atMost("start to ready"+at+" in Badger", 2, "s", spreadOf(starts...))
	r.atMost("resident"+at+", after load", 600, "MB", spreadOf(now/1e6))
	// Stops the recording of the uses of the load's tokens.
	if err := s.restart(ctx); err != nil {
		return err
	}
	return measureWrites(ctx, sizes, s, r, table)
}

// writeTimes are the times of a round of writes.
type writeTimes struct{ create, revoke, bare samples }

// measureWrites creates and revokes tokens over the admin socket. A Check after each
// write must see it. The baseline before each write is the minimum of a durable
// write: an append of as many bytes and an fsync on the same disk.
func measureWrites(ctx context.Context, sizes scale, s *server, r *report, table *section) error {
	w, err := newWriter(s, sizes.tokens)
	if err != nil {
		return err
	}
	defer w.close()
	results, err := alternate(ctx, sizes.rounds, []variant[writeTimes]{{"writes", func(ctx context.Context) (times writeTimes, err error) {
		for range sizes.writes {
			if err := errors.Join(w.create(ctx, &times), w.revoke(ctx, &times)); err != nil {
				return times, err
			}
		}
		return times, nil
	}}})
	if err != nil {
		return err
	}
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
				r.atMost(kind.name+at+", in force and durable, p99 ÷ append + fsync", 3, "×", ratio)
			}
		}
	}
	table.note("Writes go over the admin socket of a server without other load, one at a time, %d of each kind in a round. The Check after each one saw it. The bare append is %d bytes on the same disk.", sizes.writes, appendLength)
	return nil
}

// appendLength is about the size of a create: a record, its audit record and three
// short keys.
const appendLength = 1024

// writer makes one write after another.
type writer struct {
	server *server
	file   *os.File
	conn   *grpc.ClientConn
	old    []int // tokens to revoke
	number int
}

func newWriter(s *server, tokens int) (*writer, error) {
	file, err := os.OpenFile(filepath.Join(s.data, "append"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("unix://"+s.check, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &writer{server: s, file: file, conn: conn, old: pickAmong(tokens, tokens, reads)}, nil
}

func (w *writer) close() {
	w.conn.Close()
	w.file.Close()
}

// append measures the baseline.
func (w *writer) append(times *writeTimes) error {
	began := time.Now()
	_, err := w.file.Write(make([]byte, appendLength))
	err = errors.Join(err, w.file.Sync())
	times.bare = append(times.bare, time.Since(began))
	return err
}

func (w *writer) create(ctx context.Context, times *writeTimes) error {
	if err := w.append(times); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{
		"label": fmt.Sprintf("bench %d", w.number), "user": ownerOf(w.number), "purpose": "reads the backlog for the status page",
	})
	if err != nil {
		return err
	}
	answer, took, err := w.send(ctx, http.MethodPost, "", body, http.StatusOK)
	if err != nil {
		return err
	}
	times.create = append(times.create, took)
	var created struct {
		Value string `json:"passwordValue"`
	}
	if err := json.Unmarshal(answer, &created); err != nil {
		return fmt.Errorf("read the answer to a create: %w", err)
	}
	return w.expect(ctx, created.Value, codes.OK)
}

func (w *writer) revoke(ctx context.Context, times *writeTimes) error {
	value, err := valueOf(w.old[w.number%len(w.old)])
	if err != nil {
		return err
	}
	w.number++
	if err := w.append(times); err != nil {
		return err
	}
	_, took, err := w.send(ctx, http.MethodDelete, "/"+value.ID().String(), nil, http.StatusNoContent)
	if err != nil {
		return err
	}
	times.revoke = append(times.revoke, took)
	return w.expect(ctx, value.Reveal(), codes.PermissionDenied)
}

// send sends a request to the management API. It returns the body of the answer,
// which must have the given status, and the time until it was read.
func (w *writer) send(ctx context.Context, method, path string, body []byte, status int) ([]byte, time.Duration, error) {
	began := time.Now()
	request, err := http.NewRequestWithContext(ctx, method, "http://tokengate/rest/api-tokens/latest"+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := w.server.admin.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	took := time.Since(began)
	if err == nil && response.StatusCode != status {
		err = fmt.Errorf("%s of a token: status %s: %s", method, response.Status, token.Redact(string(answer)))
	}
	return answer, took, err
}

// expect sends a Check with a token, whose answer must have the code.
func (w *writer) expect(ctx context.Context, value string, code codes.Code) error {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "x-client-ip", "10.1.2.3"), 5*time.Second)
	defer cancel()
	answer, err := authv3.NewAuthorizationClient(w.conn).Check(ctx, checkRequest(trimmed, authorization(bearer, "", value)))
	if err != nil {
		return err
	}
	if got := codes.Code(answer.GetStatus().GetCode()); answer.GetStatus() == nil || got != code {
		return fmt.Errorf("the Check after a write was answered with %v, not %v", got, code)
	}
	return nil
}
