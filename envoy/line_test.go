package envoy

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

var (
	noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	some = token.ID([]byte("0123456789ab"))
)

// asked is a request as most are.
func asked() *authz.Request {
	return &authz.Request{
		Method: "GET", Path: "/rest/api/2/issue/DEMO-1234?fields=summary,status", Client: netip.MustParseAddr("10.120.33.4"),
		RequestID: "5f3e0a34-6d1b-4d0e-9d2b-0c1b8d5b8a10",
	}
}

// jsonCore returns a core that writes to w what cmd/tokengate writes.
func jsonCore(w io.Writer) zapcore.Core {
	encoder := zap.NewProductionEncoderConfig()
	encoder.TimeKey, encoder.EncodeTime = "time", zapcore.ISO8601TimeEncoder
	return zapcore.NewCore(zapcore.NewJSONEncoder(encoder), zapcore.AddSync(w), zapcore.InfoLevel)
}

// Each line is pinned whole, the order of its fields included.
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
		"refused, proved": {asked(), authz.Decision{Reason: authz.ReadOnly, User: "fred", TokenID: some},
			`{"level":"info",` + at + `"msg":"request denied: read_only",` + common + `,"reason":"read_only","token":"0123456789ab","user":"fred"}`},
		"refused, with an id": {asked(), authz.Decision{Reason: authz.WrongSecret, TokenID: some},
			`{"level":"info",` + at + `"msg":"request denied: wrong_secret",` + common + `,"reason":"wrong_secret","token":"0123456789ab"}`},
		"refused, without": {asked(), authz.Decision{Reason: authz.MalformedCredential},
			`{"level":"info",` + at + `"msg":"request denied: malformed_credential",` + common + `,"reason":"malformed_credential"}`},
		"refused, with a detail": {asked(), authz.Decision{Reason: authz.MalformedToken, Detail: authz.WrongLength, Length: 66},
			`{"level":"info",` + at + `"msg":"request denied: malformed_token",` + common + `,"reason":"malformed_token","detail":"length"}`},
		"nothing decided": {&authz.Request{}, authz.Decision{},
			`{"level":"error",` + at + `"msg":"request denied: undecided","method":"","path":"","client":"invalid IP","request_id":"","reason":"undecided"}`},
		"unreadable": {&authz.Request{}, authz.Decision{Reason: authz.BadCheck},
			`{"level":"error",` + at + `"msg":"request denied: bad_check","method":"","path":"","client":"invalid IP","request_id":"","reason":"bad_check"}`},
		"a password": {asked(), authz.Decision{Outcome: authz.PassThrough, Reason: authz.Password}, ""},
		"a password observed": {asked(), authz.Decision{Outcome: authz.PassThrough, Reason: authz.Password, WouldBlock: true},
			`{"level":"info",` + at + `"msg":"password let through that block would refuse",` + common + `}`},
		"no credential": {asked(), authz.Decision{Outcome: authz.PassThrough, Reason: authz.NoCredential}, ""},
		"secrets": {odd, authz.Decision{Reason: authz.MalformedCredential},
			`{"level":"info",` + at + `"msg":"request denied: malformed_credential","method":"GET\n\"` + cut + `","path":"/rest/` + cut + `","client":"invalid IP","request_id":"` + cut + `","reason":"malformed_credential"}`},
		"long": {long, authz.Decision{Reason: authz.UnknownToken, TokenID: some},
			`{"level":"info",` + at + `"msg":"request denied: unknown_token","method":"` + strings.Repeat("x", 1000) + cut + `…","path":"/` + strings.Repeat("x", 1023) + `…","client":"fe80::1","request_id":"","reason":"unknown_token","token":"0123456789ab"}`},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			s := &Server{Log: zap.New(jsonCore(&got)), Usage: store.NewUsageRecorder(new(store.Cached))}
			for range 2 { // the second line is made of the memory of the first
				got.Reset()
				s.report(c.request, c.decision, noon)
			}
			if diff := cmp.Diff(c.want, strings.TrimSuffix(got.String(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", strings.ReplaceAll(diff, value[18:], "SECRET"))
			}
		})
	}
}

// RequestLogs of admitted requests, of refused ones and of junk go different ways.
func TestLinesBySort(t *testing.T) {
	var own, admitted, refused, unproved bytes.Buffer
	s := &Server{
		Log: zap.New(jsonCore(&own)), Usage: store.NewUsageRecorder(new(store.Cached)),
		RequestLogs: RequestLogs{Allowed: jsonCore(&admitted), Denied: jsonCore(&refused), Unauthenticated: jsonCore(&unproved)},
	}
	for _, reason := range authz.Reasons() {
		for _, outcome := range reason.Outcomes() {
			for _, lines := range []*bytes.Buffer{&admitted, &refused, &unproved} {
				lines.Reset()
			}
			want := &unproved
			switch {
			case outcome == authz.Allowed:
				want = &admitted
			case reason.SecretVerified():
				want = &refused
			}
			s.report(asked(), authz.Decision{Outcome: outcome, Reason: reason, User: "fred", TokenID: some, WouldBlock: outcome == authz.PassThrough}, noon)
			if all := admitted.Len() + refused.Len() + unproved.Len(); all == 0 || all != want.Len() || own.Len() > 0 {
				t.Errorf("%v %v went elsewhere", outcome, reason)
			}
		}
	}
}

// A level that is off writes nothing.
func TestLinesByLevel(t *testing.T) {
	var got bytes.Buffer
	s := &Server{Log: zap.New(jsonCore(&got), zap.IncreaseLevel(zap.ErrorLevel)), Usage: store.NewUsageRecorder(new(store.Cached))}
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
