package envoy

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/envoy/wire"
	"github.com/tokengate/tokengate/store/index"
)

// Envoy takes an empty message for an OK, so no decision may be encoded as one, and
// only the outcomes that forward a request may be encoded as an OK.
func TestEveryDecisionHasACompleteAnswer(t *testing.T) {
	const identity = "x-forwarded-user"
	answers, err := newResponses(config.Default().Upstream)
	if err != nil {
		t.Fatal(err)
	}
	for outcome := range authz.Outcome(6) {
		for reason := range authz.Reason(40) {
			for _, user := range []string{"", "fred"} {
				for _, id := range []token.ID{{}, token.ID([]byte("0123456789ab"))} {
					answer := encoded(t, answers.to(authz.Decision{Outcome: outcome, Reason: reason, User: user, TokenID: id}))
					ok := answer.GetStatus().GetCode() == 0
					passes := outcome == authz.PassThrough && (reason == authz.NoCredential || reason == authz.Password || reason == authz.OtherBearer || reason == authz.ManagementPath)
					allows := outcome == authz.Allowed && reason == authz.TokenAllowed && user != ""
					if ok != (passes || allows) {
						t.Errorf("%v %v for user %q encodes as OK: %v", outcome, reason, user, ok)
					}
					if denied := answer.GetDeniedResponse(); !ok && (denied == nil || denied.GetStatus().GetCode() < 400 && reason != authz.SessionKept) {
						t.Errorf("%v %v is denied with %v", outcome, reason, denied.GetStatus())
					}
					if names := answer.GetOkResponse().GetHeadersToRemove(); passes && names[0] != identity {
						t.Errorf("%v %v removes %v", outcome, reason, names)
					}
					fields := answer.GetDynamicMetadata().GetFields()
					if fields["user"].GetStringValue() != user || fields["token_id"].GetStringValue() != id.String() || fields["reason"] == nil {
						t.Errorf("%v %v has the metadata %v", outcome, reason, fields)
					}
				}
			}
		}
	}
}

// Envoy permits every header that an allowed request gets or loses, and takes from
// clients those that only tokengate may set.
func TestUpstreamHeaders(t *testing.T) {
	h := newUpstreamHeaders(config.Default().Upstream)
	set := h.set(nil, &authz.Decision{User: "fred", Path: "/x"})
	if len(set) > maxUpstreamHeaders {
		t.Errorf("%d headers, more than %d", len(set), maxUpstreamHeaders)
	}
	permitted, credentials := h.changed(), append(h.removed(), ":path")
	for _, header := range set {
		if !slices.Contains(permitted, header.Name) {
			t.Errorf("Envoy does not permit %s", header.Name)
		}
		if !slices.Contains(h.reserved(), header.Name) && !slices.Contains(credentials, header.Name) {
			t.Errorf("a client's own %s would be forwarded", header.Name)
		}
	}
	for _, name := range append(h.reserved(), h.removed()...) {
		if !slices.Contains(permitted, name) {
			t.Errorf("Envoy does not permit the removal of %s", name)
		}
	}
}

// encoded returns the answer that Envoy receives.
func encoded(t *testing.T, r *wire.Response) *authv3.CheckResponse {
	t.Helper()
	buffers, err := wire.Codec("").Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	defer buffers.Free()
	data := buffers.MaterializeToBuffer(mem.NopBufferPool{})
	answer := &authv3.CheckResponse{}
	if err := proto.Unmarshal(data.ReadOnlyData(), answer); err != nil || data.Len() == 0 {
		t.Fatalf("%d bytes, %v", data.Len(), err)
	}
	return answer
}

// A check whose caller has gone gets an error, and is neither counted nor logged.
func TestErrorAfterTheDeadline(t *testing.T) {
	answers, err := newResponses(config.Default().Upstream)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/rest/", Headers: map[string]string{"authorization": "Bearer tgate_x"}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	var in wire.Request
	if err := wire.Codec("").Unmarshal(mem.BufferSlice{mem.SliceBuffer(frame)}, &in); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	core, lines := observer.New(zap.DebugLevel)
	h := &handler{&Server{
		Policy: new(atomic.Pointer[policy.Policy]), Index: &index.Index{}, Log: zap.New(core), Metrics: NewMetrics(registry), Now: time.Now,
	}, answers}
	h.Policy.Store(policy.New(config.Default()))
	ctx, cancel := context.WithCancel(context.Background())
	if answer, err := h.Check(ctx, &in); err != nil || answer == nil || lines.Len() != 1 {
		t.Fatalf("Check = %v, %v, and %d lines", answer, err, lines.Len())
	}
	cancel()
	if answer, err := h.Check(ctx, &in); answer != nil || status.Code(err) != codes.Canceled || lines.Len() != 1 {
		t.Errorf("Check = %v, %v, and %d lines", answer, err, lines.Len())
	}
}

// Without the name of the identity header, a client's own would not be removed.
func TestIdentityHeaderIsRequired(t *testing.T) {
	if _, _, err := (&Server{}).GRPC(); err == nil {
		t.Error("a server without an identity header starts")
	}
}

// Every call ends within checkTimeout, whatever deadline its client sets.
func TestCallsEndInTime(t *testing.T) {
	for name, c := range map[string]struct{ deadline, want time.Duration }{
		"Envoy's":  {2 * time.Second, 2 * time.Second},
		"none":     {0, checkTimeout},
		"far away": {time.Hour, checkTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.deadline > 0 {
				ctx, cancel = context.WithTimeout(ctx, c.deadline)
				defer cancel()
			}
			began := time.Now()
			ctx, err := limitTime(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			<-ctx.Done()
			if took := time.Since(began); took != c.want {
				t.Errorf("%s: it ended after %v, want %v", name, took, c.want)
			}
		})
	}
}
