package app

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/index"
)

// A flood of junk tokens displaces no line of a request with a good one, even
// while the log is not read, and all junk is counted.
func TestFloodOfJunk(t *testing.T) {
	const floods, workers, each, goodEvery, basicEvery = 2, 50, 40, 40, 5
	reader, writer := io.Pipe()
	sink := newLogSink(writer, 64<<10) // 40 KiB of it for admitted requests: more than a flood's good lines
	tokens, value := oneToken(t)
	var clock atomic.Int64 // each look at it is 20 µs later
	began := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	now := func() time.Time { return began.Add(time.Duration(clock.Add(1)) * 20 * time.Microsecond) }
	server, ask := checkInto(t, sink, tokens, now)
	long := strings.Repeat("x", 1000) // as a request id
	basicJunk, tokenJunk := questionOf("Basic !", long), questionOf("Bearer tgate_x", long)
	wantReason := func(want string, q *authv3.CheckRequest) {
		if got := ask(q); got != want {
			t.Errorf("reason %s, want %s", got, want)
		}
	}

	log, summed := make(chan loggedLines, 1), make(chan struct{}, floods)
	for flood := range floods {
		if flood == 1 { // in the first one the log is stuck, in this one it is slow
			go func() { log <- readLines(t, reader, summed) }()
			select {
			case <-summed:
			case <-time.After(waitTime):
				t.Fatal("the first flood is not summed up")
			}
		}
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range each {
					if i%goodEvery == goodEvery-1 {
						wantReason("allowed", questionOf("Bearer "+value.Reveal(), fmt.Sprintf("%d/%d/%d", flood, w, i)))
					}
					if i%basicEvery == 0 {
						wantReason("malformed_credential", basicJunk)
					} else {
						wantReason("malformed_token", tokenJunk)
					}
				}
			})
		}
		wg.Wait()
		server.LogSuppressed()
	}
	if err := sink.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	got := <-log
	if n := sink.Lost(); n != 0 {
		t.Errorf("%d lines were dropped", n)
	}
	const good = floods * workers * each / goodEvery
	if len(got.good) != good {
		t.Errorf("%d of %d lines of good requests", len(got.good), good)
	}
	budget := 2 * (100 + int(now().Sub(began)/(50*time.Millisecond))) // of two reasons
	if shown := got.shown["malformed_token"] + got.shown["malformed_credential"]; shown < 5 || shown > budget {
		t.Errorf("%d lines of junk, of %d in the budget", shown, budget)
	}
	all := maps.Clone(got.shown)
	for reason, n := range got.summed {
		all[reason] += n
	}
	const junk, basics = floods * workers * each, floods * workers * each / basicEvery
	want := map[string]int{"malformed_token": junk - basics, "malformed_credential": basics}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("junk shown and summed up (-want +got):\n%s", diff)
	}
}

// A flood of refused requests with a valid token displaces no line of an allowed request.
func TestFloodOfRefusals(t *testing.T) {
	reader, writer := io.Pipe()
	sink := newLogSink(writer, 64<<10)
	tokens, value := oneToken(t)
	_, ask := checkInto(t, sink, tokens, time.Now)
	refused := questionOf("Basic "+base64.StdEncoding.EncodeToString([]byte("barney:"+value.Reveal())), strings.Repeat("x", 1000))
	const good, each = 50, 20
	for i := range good * each {
		if got := ask(refused); got != "wrong_user" {
			t.Fatalf("reason %s", got)
		}
		if i%each == 0 {
			if got := ask(questionOf("Bearer "+value.Reveal(), fmt.Sprint(i))); got != "allowed" {
				t.Fatalf("reason %s", got)
			}
		}
	}
	log := make(chan loggedLines, 1)
	go func() { log <- readLines(t, reader, nil) }()
	if err := sink.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	got := <-log
	delete(got.good, strings.Repeat("x", 1000)) // the refused ones name the owner, too
	if len(got.good) != good || sink.Lost() == 0 {
		t.Errorf("%d of %d lines of good requests, and %d lines lost", len(got.good), good, sink.Lost())
	}
}

// checkInto serves Check for these tokens, with its log in sink, and returns how
// to ask.
func checkInto(t *testing.T, sink *logSink, tokens *cached.Store, now func() time.Time) (*envoy.Server, func(*authv3.CheckRequest) string) {
	t.Helper()
	tokens.Index().UpdateOwnerStatus(func(store.Owner, index.OwnerStatus) index.OwnerStatus { return index.OwnerPermitted }, store.Forever)
	server := &envoy.Server{
		Policy: new(atomic.Pointer[policy.Policy]), Index: tokens.Index(), Usage: cached.NewUsageRecorder(tokens),
		ClientAddress: config.ClientAddress{Source: true}, Upstream: config.Default().Upstream,
		Log: zap.New(newLogCore(&sink.own, zapcore.InfoLevel)), RequestLogs: envoy.RequestLogs{
			Allowed: newLogCore(&sink.allowed, zapcore.InfoLevel), Denied: newLogCore(&sink.denied, zapcore.InfoLevel),
			Unauthenticated: newLogCore(&sink.unauthenticated, zapcore.InfoLevel),
		},
		Metrics: envoy.NewMetrics(prometheus.NewRegistry()), Now: now,
	}
	server.Policy.Store(policy.New(config.Default()))
	return server, dialCheck(t, server)
}

// repeat calls its function at each tick and at the end, and not afterwards.
func TestRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done atomic.Int64
		last := repeat(time.Second, func() { done.Add(1) })
		for _, want := range []int64{0, 1, 2} {
			<-time.After(900 * time.Millisecond)
			if synctest.Wait(); done.Load() != want {
				t.Errorf("done %d times, want %d", done.Load(), want)
			}
		}
		if err := last(t.Context()); err != nil || done.Load() != 3 {
			t.Errorf("done %d times at the end, error %v", done.Load(), err)
		}
		<-time.After(time.Minute)
		if synctest.Wait(); done.Load() != 3 {
			t.Errorf("done %d times after the end", done.Load())
		}
	})
}

// waitTime bounds every wait.
const waitTime = 20 * time.Second

// loggedLines are what a log holds about requests.
type loggedLines struct {
	good   map[string]bool // by request id
	shown  map[string]int  // refused ones, by reason
	summed map[string]int  // refused ones that are not shown, by reason
}

// readLines reads a log to its end. It signals each line that sums up on summed.
func readLines(t *testing.T, log io.Reader, summed chan<- struct{}) loggedLines {
	got := loggedLines{map[string]bool{}, map[string]int{}, map[string]int{}}
	for lines := json.NewDecoder(log); ; {
		var line struct {
			User, Reason string
			RequestID    string `json:"request_id"`
			Token        int    `json:"malformed_token"`
			Credential   int    `json:"malformed_credential"`
		}
		if err := lines.Decode(&line); err == io.EOF {
			return got
		} else if err != nil {
			t.Errorf("read the log: %v", err)
			io.Copy(io.Discard, log)
			return got
		}
		switch {
		case line.User != "":
			got.good[line.RequestID] = true
		case line.Reason != "":
			got.shown[line.Reason]++
		case line.Token+line.Credential > 0:
			got.summed["malformed_token"] += line.Token
			got.summed["malformed_credential"] += line.Credential
			summed <- struct{}{}
		}
	}
}

// oneToken returns a store that holds one token, of Fred's.
func oneToken(t *testing.T) (*cached.Store, token.Value) {
	t.Helper()
	db, err := badger.Open(t.Context(), badger.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	tokens, err := cached.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	value, err := token.Mint(token.Ordinary, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tokens.Create(t.Context(), store.Token{
		ID: value.ID().String(), Owner: store.Owner{Name: "Fred"}, Name: "test", State: store.Active, Created: time.Unix(0, 0), CreatedBy: "test",
		Secret: store.Secret{Salt: [16]byte{1}, Hash: value.Hash([16]byte{1})},
	}, func([]store.Token) (store.Audit, error) { return store.Audit{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	return tokens, value
}

// dialCheck serves Check on a socket and returns a function that asks and
// returns the reason of the answer.
func dialCheck(t *testing.T, s *envoy.Server) func(*authv3.CheckRequest) (reason string) {
	t.Helper()
	server, _, err := s.GRPC()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := listen(config.Address{Network: "unix", Address: socket}, OwnerSocket)
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	client := authv3.NewAuthorizationClient(conn)
	return func(q *authv3.CheckRequest) string {
		answer, err := client.Check(t.Context(), q)
		if err != nil {
			return err.Error()
		}
		return answer.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
	}
}

// questionOf is what Envoy asks about a request with this Authorization and
// request id.
func questionOf(auth, id string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "10.1.2.3"},
		}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: "/rest/api/2/myself", Headers: map[string]string{"authorization": auth, "x-request-id": id},
		}},
	}}
}
