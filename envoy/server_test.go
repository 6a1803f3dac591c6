package envoy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/index"
)

var now = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// gate is a server on a real connection, with one token of fred.
type gate struct {
	server   *envoy.Server
	client   authv3.AuthorizationClient
	log      *logText
	registry *prometheus.Registry
	tokens   *cached.Store
	usage    *cached.UsageRecorder
	value    token.Value
}

func newGate(t *testing.T, from config.ClientAddress) *gate {
	t.Helper()
	ctx := context.Background()
	db, err := badger.Open(ctx, badger.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	tokens, err := cached.New(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	tokens.Index().UpdateOwnerStatus(func(store.Owner, index.OwnerStatus) index.OwnerStatus { return index.OwnerPermitted }, store.Forever)
	value, err := token.Mint(token.Ordinary, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tokens.Create(ctx, store.Token{
		ID: value.ID().String(), Owner: store.Owner{Name: "fred"}, Name: "test", State: store.Active, Created: now, CreatedBy: "test",
		Secret: store.Secret{Salt: [16]byte{1}, Hash: value.Hash([16]byte{1})},
	}, func([]store.Token) (store.Audit, error) { return store.Audit{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	lines := &logText{}
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg", LevelKey: "level", EncodeLevel: zapcore.LowercaseLevelEncoder}), lines, zapcore.DebugLevel)
	g := &gate{log: lines, registry: prometheus.NewRegistry(), tokens: tokens, usage: cached.NewUsageRecorder(tokens), value: value}
	g.server = &envoy.Server{
		Policy: new(atomic.Pointer[policy.Policy]), Index: tokens.Index(), Usage: g.usage,
		ClientAddress: from, Upstream: config.Default().Upstream,
		Log: zap.New(core), Metrics: envoy.NewMetrics(g.registry), Now: func() time.Time { return now },
	}
	g.server.Policy.Store(policy.New(config.Default()))
	g.client = serve(t, g.server)
	return g
}

// logText keeps the encoded log. A request's strings do not outlive its answer.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) Sync() error { return nil }

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// lines returns the log's lines, decoded.
func (l *logText) lines(t *testing.T) (lines []map[string]any) {
	t.Helper()
	for text := range strings.Lines(l.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

func serve(t *testing.T, s *envoy.Server) authv3.AuthorizationClient {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server, _, err := s.GRPC()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return authv3.NewAuthorizationClient(conn)
}

// checkRequest is Envoy's check of GET /rest/api/2/myself.
func checkRequest(headers map[string]string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: peer("192.0.2.1"),
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: "/rest/api/2/myself?expand=groups", Headers: headers,
		}},
	}}
}

func peer(address string) *authv3.AttributeContext_Peer {
	return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
		SocketAddress: &corev3.SocketAddress{Address: address},
	}}}
}

func raw(q *authv3.CheckRequest, headers ...*corev3.HeaderValue) *authv3.CheckRequest {
	http := q.Attributes.Request.Http
	http.Headers = nil
	http.HeaderMap = &corev3.HeaderMap{Headers: headers}
	return q
}

func from(addresses ...string) context.Context {
	ctx := context.Background()
	for _, a := range addresses {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-client-ip", a)
	}
	return ctx
}

var byMetadata = config.ClientAddress{Metadata: "x-client-ip"}

func (g *gate) ask(t *testing.T, ctx context.Context, q *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	answer, err := g.client.Check(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func reasonOf(answer *authv3.CheckResponse) string {
	return answer.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
}

func TestAllowedAnswer(t *testing.T) {
	g := newGate(t, byMetadata)
	q := checkRequest(map[string]string{"authorization": "Bearer " + g.value.Reveal(), "x-request-id": "r-1"})
	q.Attributes.Request.Http.Path = "/rest/api/2/myself?os_authType=basic&a=b%2f&&"
	answer := g.ask(t, from("10.1.2.3"), q)

	if code := answer.GetStatus().GetCode(); code != 0 {
		t.Fatalf("code %d, reason %s", code, reasonOf(answer))
	}
	set := map[string]string{}
	for _, h := range answer.GetOkResponse().GetHeaders() {
		//lint:ignore SA1019 Envoy still reads append; append_action it ignores on request headers
		if h.GetAppend() != nil {
			t.Errorf("append is set on %s", h.GetHeader().GetKey())
		}
		set[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	wantSet := map[string]string{"x-forwarded-user": "fred", envoy.MarkerHeader: "1", ":path": "/rest/api/2/myself?a=b%2f&&"}
	if diff := cmp.Diff(wantSet, set); diff != "" {
		t.Errorf("headers set (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"authorization", "cookie"}, answer.GetOkResponse().GetHeadersToRemove()); diff != "" {
		t.Errorf("headers removed (-want +got):\n%s", diff)
	}
	wantMetadata := map[string]any{"user": "fred", "token_id": g.value.ID().String(), "reason": "allowed"}
	if diff := cmp.Diff(wantMetadata, answer.GetDynamicMetadata().AsMap()); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}

	lines := g.log.lines(t)
	if len(lines) != 1 {
		t.Fatalf("logged %v", lines)
	}
	wantFields := map[string]any{
		"level": "info", "msg": fmt.Sprintf("fred authenticated via API Token (%s)", g.value.ID()),
		"user": "fred", "token": g.value.ID().String(), "method": "GET", "path": "/rest/api/2/myself", "client": "10.1.2.3", "request_id": "r-1",
	}
	if diff := cmp.Diff(wantFields, lines[0]); diff != "" {
		t.Errorf("log fields (-want +got):\n%s", diff)
	}
	use, err := g.usage.Usage(context.Background(), []string{g.value.ID().String()})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]store.Usage{g.value.ID().String(): {Count: 1, LastUsed: now, LastAddress: netip.MustParseAddr("10.1.2.3")}}
	if diff := cmp.Diff(want, use, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
	if n := testutil.ToFloat64(counter(t, g, "allowed", "allowed")); n != 1 {
		t.Errorf("counted %v", n)
	}
}

func TestPassThroughAnswer(t *testing.T) {
	g := newGate(t, byMetadata)
	answer := g.ask(t, from("10.1.2.3"), checkRequest(nil))
	if answer.GetStatus() == nil || answer.GetStatus().GetCode() != 0 || len(answer.GetOkResponse().GetHeaders()) != 0 {
		t.Fatalf("answer %v", answer)
	}
	if diff := cmp.Diff([]string{"x-forwarded-user", envoy.MarkerHeader}, answer.GetOkResponse().GetHeadersToRemove()); diff != "" {
		t.Errorf("headers removed (-want +got):\n%s", diff)
	}
	if text := g.log.String(); text != "" {
		t.Errorf("a browser's request wrote %s", text)
	}
}

func withPath(q *authv3.CheckRequest, path string) *authv3.CheckRequest {
	q.Attributes.Request.Http.Path = path
	return q
}

func pair(key, value string) *corev3.HeaderValue { return &corev3.HeaderValue{Key: key, Value: value} }

func TestHeaderForms(t *testing.T) {
	g := newGate(t, byMetadata)
	bearer := "Bearer " + g.value.Reveal()
	for name, q := range map[string]*authv3.CheckRequest{
		"headers":                 checkRequest(map[string]string{"authorization": bearer}),
		"header_map, raw_value":   raw(checkRequest(nil), &corev3.HeaderValue{Key: "authorization", RawValue: []byte(bearer)}),
		"header_map, value":       raw(checkRequest(nil), pair("authorization", bearer)),
		"header_map, odd case":    raw(checkRequest(nil), pair("Authorization", bearer)),
		"headers, odd case":       checkRequest(map[string]string{"AUTHORIZATION": bearer}),
		"an empty header_map too": {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/rest/", Headers: map[string]string{"authorization": bearer}, HeaderMap: &corev3.HeaderMap{}}}}},
	} {
		if answer := g.ask(t, from("10.1.2.3"), q); reasonOf(answer) != "allowed" {
			t.Errorf("%s: %s", name, reasonOf(answer))
		}
	}
}

func TestClientAddress(t *testing.T) {
	byHeader := config.ClientAddress{Header: "x-envoy-external-address"}
	bySource := config.ClientAddress{Source: true}
	spoof := map[string]string{"x-forwarded-for": "10.9.9.9, 10.8.8.8:80,127.0.0.1", "x-client-ip": "10.9.9.9", "x-envoy-external-address": "203.0.113.7"}
	for name, c := range map[string]struct {
		by   config.ClientAddress
		ctx  context.Context
		want string
	}{
		"metadata":                {byMetadata, from("10.1.2.3"), "10.1.2.3"},
		"metadata, mapped":        {byMetadata, from("::ffff:10.1.2.3"), "10.1.2.3"},
		"metadata, zone":          {byMetadata, from("fe80::1%eth0"), "fe80::1"},
		"metadata, IPv6":          {byMetadata, from("2001:DB8:0::1"), "2001:db8::1"},
		"metadata, none":          {byMetadata, from(), ""},
		"metadata, two":           {byMetadata, from("10.1.2.3", "10.1.2.3"), ""},
		"metadata, port":          {byMetadata, from("10.1.2.3:80"), "10.1.2.3"},
		"metadata, list":          {byMetadata, from("10.1.2.3,10.1.2.4"), ""},
		"metadata, space":         {byMetadata, from("10.1.2.3 x"), ""},
		"metadata, leading zero":  {byMetadata, from("010.1.2.3"), ""},
		"source":                  {bySource, from("10.1.2.3"), "192.0.2.1"},
		"header":                  {byHeader, from("10.1.2.3"), "203.0.113.7"},
		"header that is not sent": {config.ClientAddress{Header: "x-real-ip"}, from("10.1.2.3"), ""},
		"nothing configured":      {config.ClientAddress{}, from("10.1.2.3"), ""},
		"one hop":                 {config.ClientAddress{TrustedHops: 1}, from("10.1.2.3"), "10.8.8.8"},
		"two hops":                {config.ClientAddress{TrustedHops: 2}, from("10.1.2.3"), "10.9.9.9"},
		"three hops, too short":   {config.ClientAddress{TrustedHops: 3}, from("10.1.2.3"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, c.by)
			headers := map[string]string{"authorization": "Bearer " + g.value.Reveal()}
			for k, v := range spoof {
				headers[k] = v
			}
			answer := g.ask(t, c.ctx, checkRequest(headers))
			if c.want == "" {
				if reasonOf(answer) != "no_client_address" {
					t.Errorf("reason %s", reasonOf(answer))
				}
				if lines := g.log.lines(t); len(lines) != 1 || !strings.Contains(fmt.Sprint(lines[0]["hint"]), "clientAddress.trustedHops") {
					t.Errorf("logged %v", lines)
				}
				return
			}
			lines := g.log.lines(t)
			if reasonOf(answer) != "allowed" || len(lines) != 1 || lines[0]["client"] != c.want {
				t.Errorf("reason %s, logged %v", reasonOf(answer), lines)
			}
		})
	}
}

// A panic results in an error, which Envoy does not take for an OK.
func TestPanicIsAnErrorAndLogged(t *testing.T) {
	g := newGate(t, byMetadata)
	g.server.Policy = nil
	answer, err := g.client.Check(from("10.1.2.3"), checkRequest(nil))
	if answer != nil || status.Code(err) != codes.Internal {
		t.Fatalf("Check = %v, %v", answer, err)
	}
	if n := testutil.ToFloat64(collector(t, g, "tokengate_panics_total")); n != 1 {
		t.Errorf("%v panics counted", n)
	}
	if n := strings.Count(g.log.String(), "made the server panic"); n != 1 {
		t.Errorf("logged %s", g.log)
	}
	g.server.Policy = new(atomic.Pointer[policy.Policy])
	if answer := g.ask(t, from("10.1.2.3"), checkRequest(nil)); reasonOf(answer) != "bad_check" {
		t.Errorf("with no policy loaded: %s", reasonOf(answer))
	}
}

func counter(t *testing.T, g *gate, outcome, reason string) prometheus.Collector {
	return collector(t, g, "tokengate_decisions_total", outcome, reason)
}

// collector returns the current value of one metric as a gauge.
func collector(t *testing.T, g *gate, name string, labels ...string) prometheus.Collector {
	t.Helper()
	families, err := g.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetValue())
			}
			if cmp.Equal(got, labels) {
				gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "value", Help: "value"})
				gauge.Set(m.GetCounter().GetValue())
				return gauge
			}
		}
	}
	t.Fatalf("no metric %s%v", name, labels)
	return nil
}
