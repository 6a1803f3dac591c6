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
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/tokengate/tokengate/authz/token"
)

// writeTimes are what a round of writes took: a create, a revoke, and beside
// each of them a bare append.
type writeTimes struct{ create, revoke, bare histogram }

// measureWrites creates and revokes tokens as an administrator does, over the
// admin socket of a server with all its tokens. Each write is followed by a
// Check, which must see it, and preceded by the least that any durable write
// takes: an append of as many bytes and an fsync, on the same disk.
func measureWrites(ctx context.Context, sizes scale, gate *gate, r *report, s *section) error {
	w, err := newWriter(gate, sizes.tokens)
	if err != nil {
		return err
	}
	defer w.close()
	rounds := make([]*writeTimes, 0, sizes.writeRounds)
	for round := range sizes.writeRounds + 1 {
		times := &writeTimes{}
		for range sizes.writesPerRound {
			if err := w.both(ctx, times); err != nil {
				return fmt.Errorf("writes: %w", err)
			}
		}
		if round > 0 { // the first one warms up
			rounds = append(rounds, times)
		}
	}
	at := " at " + number(float64(sizes.tokens)) + " tokens"
	for _, kind := range []struct {
		name  string
		times func(*writeTimes) *histogram
	}{
		{"create", func(t *writeTimes) *histogram { return &t.create }},
		{"revoke", func(t *writeTimes) *histogram { return &t.revoke }},
	} {
		for _, q := range []float64{0.50, 0.99} {
			ours := each(rounds, func(t *writeTimes) float64 { return micros(kind.times(t).quantile(q)) })
			bare := each(rounds, func(t *writeTimes) float64 { return micros(t.bare.quantile(q)) })
			ratio := spreadOf(ratios(ours, bare))
			name := fmt.Sprintf("%s%s, p%.0f", kind.name, at, 100*q)
			s.Lines = append(s.Lines, []string{
				name + " µs",
				s.cell(name, "µs", spreadOf(ours)),
				fmt.Sprintf("append + fsync %s, ratio %s", s.cell("append + fsync beside "+name, "µs", spreadOf(bare)), s.cell(name+" ÷ append + fsync", "", ratio)),
			})
			if q == 0.99 {
				r.atMost(kind.name+at+", in force and durable, p99 ÷ append + fsync", 3, "×", ratio)
			}
		}
	}
	s.Notes = append(s.Notes, fmt.Sprintf("Writes go over the admin socket of a server without other load, one at a time, %d of each kind in a round; the Check behind each one saw it. The bare append is %d bytes on the same disk.", sizes.writesPerRound, appendLength))
	return nil
}

// appendLength is about what a create writes: a record, its audit record and
// three short keys.
const appendLength = 1024

// writer makes writes one after another.
type writer struct {
	gate   *gate
	file   *os.File
	conn   *grpc.ClientConn
	check  authv3.AuthorizationClient
	old    []int // tokens of the fleet that are still to be revoked
	number int
}

func newWriter(gate *gate, tokens int) (*writer, error) {
	file, err := os.OpenFile(filepath.Join(gate.data, "append"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("unix://"+gate.check, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &writer{
		gate: gate, file: file, conn: conn, check: authv3.NewAuthorizationClient(conn),
		old: pickAmong(tokens, tokens, func(i int) bool { return kindOf(i) == plain }),
	}, nil
}

func (w *writer) close() {
	w.conn.Close()
	w.file.Close()
}

// both creates a token, and revokes another one that has long been there.
func (w *writer) both(ctx context.Context, times *writeTimes) error {
	if err := w.append(times); err != nil {
		return err
	}
	fresh, err := w.create(ctx, times)
	if err != nil {
		return err
	}
	if err := w.expect(ctx, fresh, codes.OK); err != nil {
		return fmt.Errorf("a token that was created: %w", err)
	}
	old, err := valueOf(w.old[w.number%len(w.old)])
	if err != nil {
		return err
	}
	w.number++
	if err := w.append(times); err != nil {
		return err
	}
	began := time.Now()
	if _, err := w.ask(ctx, http.MethodDelete, "/"+old.ID().String(), nil, http.StatusNoContent); err != nil {
		return err
	}
	times.revoke.add(time.Since(began))
	if err := w.expect(ctx, old.Reveal(), codes.PermissionDenied); err != nil {
		return fmt.Errorf("a token that was revoked: %w", err)
	}
	return nil
}

// append is the rival: bytes at the end of a file, and its fsync.
func (w *writer) append(times *writeTimes) error {
	began := time.Now()
	if _, err := w.file.Write(make([]byte, appendLength)); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	times.bare.add(time.Since(began))
	return nil
}

func (w *writer) create(ctx context.Context, times *writeTimes) (value string, err error) {
	body, err := json.Marshal(map[string]string{
		"label": fmt.Sprintf("bench %d", w.number), "user": ownerOf(w.number), "purpose": "reads the backlog for the status page",
	})
	if err != nil {
		return "", err
	}
	began := time.Now()
	answer, err := w.ask(ctx, http.MethodPost, "", body, http.StatusOK)
	if err != nil {
		return "", err
	}
	times.create.add(time.Since(began))
	var issued struct {
		Value string `json:"passwordValue"`
	}
	if err := json.Unmarshal(answer, &issued); err != nil {
		return "", fmt.Errorf("read the answer to a create: %w", err)
	}
	return issued.Value, nil
}

// ask asks the management API and returns the body of its answer.
func (w *writer) ask(ctx context.Context, method, path string, body []byte, status int) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://tokengate/rest/api-tokens/latest"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := w.gate.web.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != status {
		return nil, fmt.Errorf("%s of a token was answered %s: %s", method, response.Status, token.Redact(string(answer)))
	}
	return answer, nil
}

// expect says whether a Check with a token is answered with this code.
func (w *writer) expect(ctx context.Context, value string, code codes.Code) error {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "x-client-ip", "10.1.2.3"), 5*time.Second)
	defer cancel()
	answer, err := w.check.Check(ctx, checkRequest(trimmed, authorization(bearer, "", value)))
	if err != nil {
		return err
	}
	if got := codes.Code(answer.GetStatus().GetCode()); answer.GetStatus() == nil || got != code {
		return fmt.Errorf("the Check behind the write was answered with %v", got)
	}
	return nil
}
