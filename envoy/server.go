// Package envoy is tokengate's interface to Envoy: the external authorization
// server (envoy.service.auth.v3) that Envoy asks about every request, and the
// generator of the matching Envoy configuration.
//
// It turns Envoy's CheckRequest into an authz.Request and an authz.Decision into
// the answer, and records the result in log, metrics and usage. It decides
// nothing itself. Start at handler.Check.
package envoy

import (
	"context"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/envoy/wire"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/index"
)

// Server answers Check. All fields but HTTPS, RequestLogs, Records and Anonymous are required, and
// are set before the first request; the Policy can be swapped at any time.
type Server struct {
	Policy        *atomic.Pointer[policy.Policy]
	Index         *index.Index
	Usage         *cached.UsageRecorder
	ClientAddress config.ClientAddress // where the client's address comes from
	Upstream      config.Upstream      // the product, and how it learns who is calling
	HTTPS         bool                 // clients use https (publicURL)
	Log           *zap.Logger          // the server's own lines
	RequestLogs   RequestLogs          // lines about requests
	Metrics       *Metrics
	Fingerprint   string            // of the configuration; see Fingerprint
	Records       *Recorder         // counts password use by user; may be nil
	Anonymous     *AnonymousAnswers // nil without upstream.identity.pat
	Now           func() time.Time

	budget         lineBudget   // for lines about unauthenticated requests
	plain          atomic.Int64 // when reportPlain last wrote a line, in Unix nanoseconds
	configurations configurations
}

// RequestLogs are the logs of requests by result, separate so that none can fill
// the space of another. The Server's Log replaces one that is nil.
type RequestLogs struct {
	Allowed         zapcore.Core // allowed token requests
	Denied          zapcore.Core // denied requests whose token secret was verified
	Unauthenticated zapcore.Core // all others; if Write fails for lack of space, the line is only counted
}

// handler answers Check for a Server.
type handler struct {
	*Server
	responses *responses
}

// Check answers one CheckRequest. If its deadline has passed, or it cannot be
// answered, the result is a gRPC error, which Envoy turns into status_on_error. It
// is never an empty answer, which would be an OK. A panic becomes an error, too:
// grpc-go would let it end the process.
func (h *handler) Check(ctx context.Context, in *wire.Request) (answer *wire.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			answer, err = nil, h.panicked(p)
		}
	}()
	now := h.Now()
	decision := authz.Decision{Reason: authz.BadCheck}
	current := h.Policy.Load()
	if in.HTTP {
		in.Client = clientOf(ctx, in, h.ClientAddress)
		decision = authz.Decide(&in.Request, authz.View{Policy: current, Index: h.Index, Now: now})
		decision.CountAgainstRate(now)
	}
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	answer = h.responses.to(decision)
	if decision.Outcome == authz.Denied && in.Origin != "" && current != nil && slices.Contains(current.Origins, in.Origin) {
		answer = answer.Merge(corsHeaders(in.Origin))
	}
	h.Metrics.count(decision, now, h.Now)
	h.report(&in.Request, decision, now)
	if in.Plain && h.HTTPS && decision.User != "" {
		h.reportPlain(&in.Request, decision, now)
	}
	return answer, nil
}

// panicked logs a panic without its text, which could quote a client's request.
func (s *Server) panicked(p any) error {
	s.Metrics.panics.Inc()
	s.Log.Error("a request made the server panic; it was refused", zap.String("kind", fmt.Sprintf("%T", p)), zap.ByteString("stack", debug.Stack()))
	return status.Error(codes.Internal, "internal error")
}

const (
	// streamWorkers is how many goroutines are kept for calls; further calls get
	// one each. A kept goroutine's stack grows only once. With fewer than the calls
	// at a time, a call costs 5 % more.
	streamWorkers = 256

	// maxCheckSize is the largest CheckRequest, in bytes. Envoy accepts 60 KiB of
	// headers by default, and sends at most 8 KiB of a body.
	maxCheckSize = 96 << 10

	// maxStreams is the limit of concurrent calls on a connection. Envoy opens
	// more connections, up to max_connections in its configuration, and queues the
	// rest. With the listener's limit on connections this bounds the memory of
	// unfinished calls.
	maxStreams = 64

	// maxMetadata is the limit of a call's gRPC metadata, in bytes.
	maxMetadata = 16 << 10

	handshakeTimeout = 5 * time.Second  // of a new connection
	checkTimeout     = 10 * time.Second // of a call; Envoy waits two seconds

	// Flow control windows (RFC 9113 §5.2), in bytes: a stream's holds the largest
	// CheckRequest. Fixed sizes also avoid gRPC's pings for estimating them.
	streamWindow     = maxCheckSize
	connectionWindow = 1 << 20
)

// GRPC returns a gRPC server for Check and the standard health service, and the
// health server, which starts as NOT_SERVING. It fails if an answer cannot be
// encoded, for example if Upstream names no identity header.
func (s *Server) GRPC() (*grpc.Server, *health.Server, error) {
	answers, err := newResponses(s.Upstream)
	if err != nil {
		return nil, nil, err
	}
	server := grpc.NewServer(
		grpc.ForceServerCodecV2(wire.Codec(clientHeader(s.ClientAddress))),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.MaxRecvMsgSize(maxCheckSize),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxMetadata),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.InTapHandle(limitTime),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		// The default of five minutes would close connections on which Envoy's
		// connection_keepalive pings more often.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	wire.Register(server, &handler{s, answers})
	state := health.NewServer()
	state.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	healthv1.RegisterHealthServer(server, &healthServer{state, s})
	if s.Anonymous != nil {
		if err := prepareDecoding(); err != nil {
			return nil, nil, fmt.Errorf("decode an access log entry: %w", err)
		}
		accesslogv3.RegisterAccessLogServiceServer(server, &accessLogServer{AnonymousAnswers: s.Anonymous})
	}
	return server, state, nil
}

// limitTime limits a call to checkTimeout. Without a deadline, which Envoy sets but
// other clients may not, gRPC would wait for the rest of a request forever. It
// also ends a watch of the health service; Envoy polls instead.
func limitTime(ctx context.Context, call *tap.Info) (context.Context, error) {
	if call != nil && call.FullMethodName == accesslogv3.AccessLogService_StreamAccessLogs_FullMethodName {
		return ctx, nil // Envoy keeps it open
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= checkTimeout {
		return ctx, nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	_ = cancel // gRPC cancels the parent when the stream ends, which stops the timer
	return ctx, nil
}

// clientOf returns the client's address from the configured source. It is
// invalid if the address is missing or unreadable.
func clientOf(ctx context.Context, r *wire.Request, from config.ClientAddress) netip.Addr {
	switch {
	case from.Metadata != "":
		values := metadata.ValueFromIncomingContext(ctx, from.Metadata)
		if len(values) != 1 {
			return netip.Addr{}
		}
		return authz.ClientAddress(values[0], 0)
	case from.Source:
		return authz.ClientAddress(r.Source, 0)
	}
	return authz.ClientAddress(r.ClientHeader, from.TrustedHops)
}

// clientHeader returns the name, in lower case, of the header with the client's
// address; empty if the address comes from elsewhere.
func clientHeader(from config.ClientAddress) string {
	if from.TrustedHops > 0 {
		return authz.ForwardedHeader
	}
	return from.Header
}
