package envoy

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store/cached"
)

var (
	noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	some = token.ID([]byte("0123456789ab"))
)

// asked is a typical request.
func asked() *authz.Request {
	return &authz.Request{
		Method: "GET", Path: "/rest/api/2/issue/DEMO-1234?fields=summary,status", Client: netip.MustParseAddr("10.120.33.4"),
		RequestID: "5f3e0a34-6d1b-4d0e-9d2b-0c1b8d5b8a10",
	}
}

// jsonCore returns a core with the format of cmd/tokengate.
func jsonCore(w io.Writer) zapcore.Core {
	encoder := zap.NewProductionEncoderConfig()
	encoder.TimeKey, encoder.EncodeTime = "time", zapcore.ISO8601TimeEncoder
	return zapcore.NewCore(zapcore.NewJSONEncoder(encoder), zapcore.AddSync(w), zapcore.InfoLevel)
}

// Lines are compared completely, including the order of fields.
func TestLines(t *testing.T) {
	v, err := token.Mint(token.Ordinary, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	value := v.Reveal()
	cut := value[:18] + "…"
	const at = `"time":"2026-03-14T12:00:00.000Z",`
	const common = `"method":"GET","path":"/rest/api/2/issue/DEMO-1234","client":"10.120.33.4","request_id":"5f3e0a34-6d1b-4d0e-9d2b-0c1b8d5b8a10"`
	odd := asked()
	odd.Method, odd.Path, odd.RequestID, odd.Client = "GET\n\""+value, "/rest/%74"+value[1:]+"?x="+value, value, netip.Addr{}
	long := asked()
	long.Method, long.Path, long.RequestID, long.Client = strings.Repeat("x", 1000)+value, "/"+strings.Repeat("x", 1100), "", netip.MustParseAddr("fe80::1")
	for name, c := range map[string]struct {
		request  *authz.Request
		decision authz.Decision
		want     string
	}{
		"allowed": {asked(), authz.Decision{Outcome: authz.Allowed, Reason: authz.TokenAllowed, User: "fred", TokenID: some},
			`{"level":"info",` + at + `"msg":"fred authenticated via API Token (0123456789ab)","user":"fred","token":"0123456789ab",` + common + `}`},
		"a user to escape": {asked(), authz.Decision{Outcome: authz.Allowed, Reason: authz.TokenAllowed, User: `f"red`, TokenID: some},
			`{"level":"info",` + at + `"msg":"f\"red authenticated via API Token (0123456789ab)","user":"f\"red","token":"0123456789ab",` + common + `}`},
		"denied, verified": {asked(), authz.Decision{Reason: authz.ReadOnly, User: "fred", TokenID: some},
			`{"level":"info",` + at + `"msg":"request denied: read_only",` + common + `,"reason":"read_only","token":"0123456789ab","user":"fred"}`},
		"denied, with an id": {asked(), authz.Decision{Reason: authz.WrongSecret, TokenID: some},
			`{"level":"info",` + at + `"msg":"request denied: wrong_secret",` + common + `,"reason":"wrong_secret","token":"0123456789ab"}`},
		"denied, without an id": {asked(), authz.Decision{Reason: authz.MalformedCredential},
			`{"level":"info",` + at + `"msg":"request denied: malformed_credential",` + common + `,"reason":"malformed_credential"}`},
		"denied, with a detail": {asked(), authz.Decision{Reason: authz.MalformedToken, Detail: authz.WrongLength, Length: 66},
			`{"level":"info",` + at + `"msg":"request denied: malformed_token",` + common + `,"reason":"malformed_token","detail":"length"}`},
		"nothing decided": {&authz.Request{}, authz.Decision{},
			`{"level":"error",` + at + `"msg":"request denied: undecided","method":"","path":"","client":"invalid IP","request_id":"","reason":"undecided"}`},
		"unreadable": {&authz.Request{}, authz.Decision{Reason: authz.BadCheck},
			`{"level":"error",` + at + `"msg":"request denied: bad_check","method":"","path":"","client":"invalid IP","request_id":"","reason":"bad_check"}`},
		"a password": {asked(), authz.Decision{Outcome: authz.PassThrough, Reason: authz.Password}, ""},
		"a password observed": {asked(), authz.Decision{Outcome: authz.PassThrough, Reason: authz.Password, WouldBlock: true},
			`{"level":"info",` + at + `"msg":"password passed through; mode block would deny it",` + common + `}`},
		"no credential": {asked(), authz.Decision{Outcome: authz.PassThrough, Reason: authz.NoCredential}, ""},
		"secrets": {odd, authz.Decision{Reason: authz.MalformedCredential},
			`{"level":"info",` + at + `"msg":"request denied: malformed_credential","method":"GET\n\"` + cut + `","path":"/rest/` + cut + `","client":"invalid IP","request_id":"` + cut + `","reason":"malformed_credential"}`},
		"long": {long, authz.Decision{Reason: authz.UnknownToken, TokenID: some},
			`{"level":"info",` + at + `"msg":"request denied: unknown_token","method":"` + strings.Repeat("x", 1000) + cut + `…","path":"/` + strings.Repeat("x", 1023) + `…","client":"fe80::1","request_id":"","reason":"unknown_token","token":"0123456789ab"}`},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			s := &Server{Log: zap.New(jsonCore(&got)), Usage: cached.NewUsageRecorder(new(cached.Store))}
			for range 2 { // the second line reuses the memory of the first
				got.Reset()
				s.report(c.request, c.decision, noon)
			}
			if diff := cmp.Diff(c.want, strings.TrimSuffix(got.String(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", strings.ReplaceAll(diff, value[18:], "SECRET"))
			}
		})
	}
}

// Allowed, denied and unauthenticated requests have different logs.
func TestLinesByResult(t *testing.T) {
	var own, allowed, denied, unauthenticated bytes.Buffer
	s := &Server{
		Log: zap.New(jsonCore(&own)), Usage: cached.NewUsageRecorder(new(cached.Store)),
		RequestLogs: RequestLogs{Allowed: jsonCore(&allowed), Denied: jsonCore(&denied), Unauthenticated: jsonCore(&unauthenticated)},
	}
	for _, reason := range authz.Reasons() {
		for _, outcome := range reason.Outcomes() {
			for _, lines := range []*bytes.Buffer{&allowed, &denied, &unauthenticated} {
				lines.Reset()
			}
			want := &unauthenticated
			switch {
			case outcome == authz.Allowed:
				want = &allowed
			case reason.SecretVerified():
				want = &denied
			}
			s.report(asked(), authz.Decision{Outcome: outcome, Reason: reason, User: "fred", TokenID: some, WouldBlock: outcome == authz.PassThrough}, noon)
			if all := allowed.Len() + denied.Len() + unauthenticated.Len(); all == 0 || all != want.Len() || own.Len() > 0 {
				t.Errorf("%v %v is in the wrong log", outcome, reason)
			}
		}
	}
}

// Lines below the log level are not written.
func TestLinesByLevel(t *testing.T) {
	var got bytes.Buffer
	s := &Server{Log: zap.New(jsonCore(&got), zap.IncreaseLevel(zap.ErrorLevel)), Usage: cached.NewUsageRecorder(new(cached.Store))}
	s.report(asked(), authz.Decision{Outcome: authz.Allowed, Reason: authz.TokenAllowed, User: "fred", TokenID: some}, noon)
	s.report(asked(), authz.Decision{Reason: authz.UnknownToken}, noon)
	if got.Len() > 0 {
		t.Errorf("logged %s", &got)
	}
	s.report(asked(), authz.Decision{Reason: authz.NoClientAddress}, noon)
	if !strings.Contains(got.String(), "no_client_address") {
		t.Errorf("logged %s", &got)
	}
}

func BenchmarkLine(b *testing.B) {
	s := &Server{Log: zap.New(jsonCore(io.Discard))}
	for _, d := range []authz.Decision{
		{Outcome: authz.Allowed, Reason: authz.TokenAllowed, User: "fred", TokenID: some},
		{Reason: authz.ReadOnly, User: "fred", TokenID: some},
		{Reason: authz.UnknownToken, TokenID: some},
	} {
		b.Run(d.Reason.String(), func(b *testing.B) {
			r := asked()
			b.ReportAllocs()
			for b.Loop() {
				s.log(r, d, noon)
			}
		})
	}
}

// The budget limits lines at once and per time, and saves up to a limit.
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
		t.Errorf("%d suppressed since %v, want %d since %v", counted.counts[authz.UnknownToken], counted.since, total, noon)
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

// full is a core that has no space.
type full struct{ zapcore.Core }

func (full) Write(zapcore.Entry, []zapcore.Field) error { return errors.New("no space") }

// Lines beyond the budget are counted, and only lines of unauthenticated requests
// have a budget.
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
		full  bool // the log has no space
		first []authz.Decision
		then  []authz.Decision
		lines int
		sum   string
	}{
		"nothing":             {0, false, nil, nil, 0, ""},
		"within it":           {0, false, ask(100, unknown), nil, 100, ""},
		"malformed":           {0, false, ask(1000, unknown), ask(111, authz.Decision{Reason: authz.MalformedToken}), 200, `{"level":"info"` + sum + `,"malformed_token":11,"unknown_token":900}`},
		"password among them": {0, false, ask(1000, unknown), ask(100, observed), 200, `{"level":"info"` + sum + `,"unknown_token":900}`},
		"passwords":           {0, false, ask(150, observed), nil, 100, `{"level":"info"` + sum + `,"password":50}`},
		"bad checks":          {0, false, ask(150, badCheck), ask(103, unknown), 200, `{"level":"error"` + sum + `,"bad_check":50,"unknown_token":3}`},
		"nothing decided":     {0, false, ask(101, authz.Decision{}), nil, 100, `{"level":"error"` + sum + `,"undecided":1}`},
		"passed":              {0, false, ask(1000, authz.Decision{Outcome: authz.PassThrough, Reason: authz.NoCredential}), ask(1, unknown), 1, ""},
		"allowed":             {0, false, ask(1000, allowed), ask(100, unknown), 1100, ""},
		"verified":            {0, false, ask(1000, authz.Decision{Reason: authz.ReadOnly, User: "fred", TokenID: some}), ask(100, unknown), 1100, ""},
		"verified, 503":       {0, false, ask(1000, authz.Decision{Reason: authz.NoClientAddress, User: "fred", TokenID: some}), nil, 1000, ""},
		"allowed after it":    {0, false, ask(101, unknown), ask(1000, allowed), 1100, `{"level":"info"` + sum + `,"unknown_token":1}`},
		"no space":            {0, true, ask(50, unknown), ask(10, allowed), 10, `{"level":"info"` + sum + `,"unknown_token":50}`},
		"a level off":         {zapcore.ErrorLevel, false, ask(1000, unknown), ask(101, badCheck), 100, `{"level":"error"` + sum + `,"bad_check":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			at := noon
			s := &Server{
				Log: zap.New(jsonCore(&got), zap.IncreaseLevel(c.level)), Usage: cached.NewUsageRecorder(new(cached.Store)),
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
				t.Errorf("the line of suppressed requests (-want +got):\n%s", diff)
			}
			got.Reset()
			if s.LogSuppressed(); got.Len() > 0 {
				t.Errorf("logged twice: %s", &got)
			}
		})
	}
}
