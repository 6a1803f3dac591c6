package envoy

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/store"
)

// So many lines are allowed at once, so many as time goes by, and no more after
// a quiet night.
func TestBudget(t *testing.T) {
	var b lineBudget
	at := noon
	total := uint64(0)
	for _, c := range []struct {
		after time.Duration
		asks  int
		want  int
	}{
		{0, 1000, 100}, {0, 10, 0}, {49 * time.Millisecond, 10, 0}, {time.Millisecond, 10, 1}, {time.Second, 100, 20},
		{time.Second, 15, 15}, {0, 10, 5}, {12 * time.Hour, 200, 100}, {-time.Second, 10, 0}, {time.Second + 50*time.Millisecond, 10, 1},
	} {
		at = at.Add(c.after)
		got := 0
		for range c.asks {
			if b.take(authz.UnknownToken, zapcore.InfoLevel, at) {
				got++
			}
		}
		if got != c.want {
			t.Errorf("at %v: %d lines, want %d", at, got, c.want)
		}
		total += uint64(c.asks - got)
	}
	if counted := b.reset(); counted.counts[authz.UnknownToken] != total || counted.since != noon {
		t.Errorf("%d counted since %v, want %d since %v", counted.counts[authz.UnknownToken], counted.since, total, noon)
	}
	if counted := b.reset(); counted != (suppressed{}) {
		t.Errorf("counted again: %v", counted)
	}
}

func TestBudgetRaces(t *testing.T) {
	var b lineBudget
	var mu sync.Mutex
	var shown, counted uint64
	var wg sync.WaitGroup
	const workers, each = 8, 1000
	for range workers {
		wg.Go(func() {
			for i := range each {
				taken := b.take(authz.WrongSecret, zapcore.InfoLevel, noon.Add(time.Duration(i)*time.Millisecond))
				mu.Lock()
				if taken {
					shown++
				}
				if i%100 == 0 {
					counted += b.reset().counts[authz.WrongSecret]
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	counted += b.reset().counts[authz.WrongSecret]
	if shown < 100 || shown > 120 || shown+counted != workers*each {
		t.Errorf("%d shown, %d counted, of %d", shown, counted, workers*each)
	}
}

// full is a core that has no room.
type full struct{ zapcore.Core }

func (full) Write(zapcore.Entry, []zapcore.Field) error { return errors.New("no room") }

// What is beyond the budget is summed up, and only lines of requests without a
// proved token have one.
func TestBeyondTheBudget(t *testing.T) {
	ask := func(n int, d authz.Decision) []authz.Decision {
		all := make([]authz.Decision, n)
		for i := range all {
			all[i] = d
		}
		return all
	}
	allowed := authz.Decision{Outcome: authz.Allowed, Reason: authz.TokenAllowed, User: "fred", TokenID: some}
	observed := authz.Decision{Outcome: authz.PassThrough, Reason: authz.Password, WouldBlock: true}
	unknown, badCheck := authz.Decision{Reason: authz.UnknownToken, TokenID: some}, authz.Decision{Reason: authz.BadCheck}
	const sum = `,"time":"2026-03-14T12:00:08.000Z","msg":"requests without a verified token that were not logged individually","span_seconds":8`
	for name, c := range map[string]struct {
		level zapcore.Level
		full  bool // there is no room for them
		first []authz.Decision
		then  []authz.Decision
		lines int
		sum   string
	}{
		"nothing":          {0, false, nil, nil, 0, ""},
		"within it":        {0, false, ask(100, unknown), nil, 100, ""},
		"junk":             {0, false, ask(1000, unknown), ask(111, authz.Decision{Reason: authz.MalformedToken}), 200, `{"level":"info"` + sum + `,"malformed_token":11,"unknown_token":900}`},
		"password in junk": {0, false, ask(1000, unknown), ask(100, observed), 200, `{"level":"info"` + sum + `,"unknown_token":900}`},
		"passwords":        {0, false, ask(150, observed), nil, 100, `{"level":"info"` + sum + `,"password":50}`},
		"no client's junk": {0, false, ask(150, badCheck), ask(103, unknown), 200, `{"level":"error"` + sum + `,"bad_check":50,"unknown_token":3}`},
		"nothing decided":  {0, false, ask(101, authz.Decision{}), nil, 100, `{"level":"error"` + sum + `,"undecided":1}`},
		"passed":           {0, false, ask(1000, authz.Decision{Outcome: authz.PassThrough, Reason: authz.NoCredential}), ask(1, unknown), 1, ""},
		"allowed":          {0, false, ask(1000, allowed), ask(100, unknown), 1100, ""},
		"proved":           {0, false, ask(1000, authz.Decision{Reason: authz.ReadOnly, User: "fred", TokenID: some}), ask(100, unknown), 1100, ""},
		"proved, 503":      {0, false, ask(1000, authz.Decision{Reason: authz.NoClientAddress, User: "fred", TokenID: some}), nil, 1000, ""},
		"allowed after it": {0, false, ask(101, unknown), ask(1000, allowed), 1100, `{"level":"info"` + sum + `,"unknown_token":1}`},
		"no room":          {0, true, ask(50, unknown), ask(10, allowed), 10, `{"level":"info"` + sum + `,"unknown_token":50}`},
		"a level off":      {zapcore.ErrorLevel, false, ask(1000, unknown), ask(101, badCheck), 100, `{"level":"error"` + sum + `,"bad_check":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			at := noon
			s := &Server{
				Log: zap.New(jsonCore(&got), zap.IncreaseLevel(c.level)), Usage: store.NewUsageRecorder(new(store.Cached)),
				Now: func() time.Time { return at },
			}
			if c.full {
				s.RequestLogs.Unauthenticated = full{jsonCore(&got)}
			}
			for _, d := range append(c.first, c.then...) {
				s.report(asked(), d, noon)
			}
			if lines := strings.Count(got.String(), "\n"); lines != c.lines {
				t.Errorf("%d lines, want %d", lines, c.lines)
			}
			got.Reset()
			at = noon.Add(8 * time.Second)
			s.LogSuppressed()
			if diff := cmp.Diff(c.sum, strings.TrimSuffix(got.String(), "\n")); diff != "" {
				t.Errorf("the sum (-want +got):\n%s", diff)
			}
			got.Reset()
			if s.LogSuppressed(); got.Len() > 0 {
				t.Errorf("summed up twice: %s", &got)
			}
		})
	}
}
