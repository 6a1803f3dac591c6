// Package envoy is tokengate's side towards Envoy: the external authorization
// server (envoy.service.auth.v3) that Envoy asks about every request, and the
// generator of the Envoy configuration that goes with it.
//
// It turns Envoy's question into an authz.Request and an authz.Decision into
// Envoy's answer, and tells what happened: a log line, counters, usage. It holds
// no rule of its own.
package envoy

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/envoy/wire"
	"github.com/tokengate/tokengate/store"
)

// Server answers Check. All fields but Lines and Records are required, and all
// are set before the first request; Policy may be swapped at any time.
type Server struct {
	Policy        *atomic.Pointer[policy.Policy]
	Index         *store.Index
	Usage         *store.UsageRecorder
	ClientAddress config.ClientAddress // where the client's address comes from
	Identity      string               // the header that tells Jira who is calling, in lower case
	Log           *zap.Logger          // takes the server's own lines
	RequestLogs   RequestLogs          // take those of requests
	Metrics       *Metrics
	Records       *Recorder // counts passwords by their user; nil: nobody does
	Now           func() time.Time

	budget lineBudget // for lines of requests that proved no token
}

// RequestLogs are where the log lines of requests go, by what came of the request, so
// that none of them can take the room of others. One that is nil is the Server's
// Log.
type RequestLogs struct {
	Allowed         zapcore.Core // a token was let in
	Denied          zapcore.Core // the client proved a token's secret, and was refused
	Unauthenticated zapcore.Core // all others; it fails where it has no room, and the line is summed up
}

// handler answers Check for a Server.
type handler struct {
	*Server
	responses *responses
}

// Check answers one question of Envoy's. A question whose time has run out, or
// that cannot be answered, gets a gRPC error, which Envoy turns into its
// status_on_error; it never gets an empty answer, which would be an OK. A panic
// becomes an error, too: grpc-go does not see to that, and the outage of one
// request must not become one of all.
func (h *handler) Check(ctx context.Context, in *wire.Request) (answer *wire.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			answer, err = nil, h.panicked(p)
		}
	}()
	now := h.Now()
	decision := authz.Decision{Reason: authz.BadCheck}
	rules := h.Policy.Load()
	if in.HTTP {
		in.Client = clientOf(ctx, in, h.ClientAddress)
		decision = authz.Decide(&in.Request, authz.View{Policy: rules, Index: h.Index, Now: now})
		decision.CountAgainstRate(now)
	}
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	answer = h.responses.to(decision)
	if decision.Outcome == authz.Denied && in.Origin != "" && rules != nil && slices.Contains(rules.Origins, in.Origin) {
		answer = answer.Merge(readableBy(in.Origin))
	}
	h.Metrics.count(decision, now, h.Now)
	h.report(&in.Request, decision, now)
	return answer, nil
}

// panicked logs a panic. Its own text is left out: it might repeat what a
// client sent.
func (s *Server) panicked(p any) error {
	s.Metrics.panics.Inc()
	s.Log.Error("a request made the server panic; it was refused", zap.String("kind", fmt.Sprintf("%T", p)), zap.ByteString("stack", debug.Stack()))
	return status.Error(codes.Internal, "internal error")
}

const (
	// streamWorkers is how many goroutines are kept for questions; when all are
	// busy, a question gets one of its own. A kept one's stack has grown once and
	// for all, a new one's would grow while it decides.
	streamWorkers = 64

	// maxCheckSize is the longest question, in bytes. Envoy takes 60 KiB of headers
	// by default, and hands over no more than 8 KiB of a body.
	maxCheckSize = 96 << 10

	// maxStreams is how many questions of one connection are under way. Envoy opens
	// another connection for more, up to max_connections in its configuration, and
	// keeps what is left waiting. With the listener's bound on connections this
	// bounds what unfinished questions cost.
	maxStreams = 64

	// maxMetadata bounds the headers of a question to gRPC itself, in bytes.
	maxMetadata = 16 << 10

	// handshakeTimeout is for a new connection, questionTime for a question to come
	// and be answered. Envoy waits two seconds.
	handshakeTimeout = 5 * time.Second
	checkTimeout     = 10 * time.Second

	// Flow control windows (RFC 9113 §5.2), in bytes. A stream's holds any
	// question, a connection's those of many streams. Fixed, they also spare the
	// pings by which gRPC would measure what they should be.
	streamWindow     = maxCheckSize
	connectionWindow = 1 << 20
)

// GRPC returns a gRPC server that serves Check and the standard health
// service, and the health server to say when Check may be asked: it begins as
// NOT_SERVING. It fails if an answer cannot be encoded, as with an identity
// header that has no name.
func (s *Server) GRPC() (*grpc.Server, *health.Server, error) {
	answers, err := newResponses(s.Identity)
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
		grpc.InTapHandle(inTime),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		// Envoy's connection_keepalive may ping more often than the default
		// of five minutes, which would end the connection.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	wire.Register(server, &handler{s, answers})
	state := health.NewServer()
	state.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	healthv1.RegisterHealthServer(server, state)
	return server, state, nil
}

// inTime ends a question that does not come to its end: without a deadline, as
// Envoy's questions have one, gRPC would wait for the rest of it for ever. A watch
// of the health service ends then, too; Envoy asks it again and again instead.
func inTime(ctx context.Context, _ *tap.Info) (context.Context, error) {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= checkTimeout {
		return ctx, nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	_ = cancel // gRPC cancels the parent at the end of the stream, which stops the timer
	return ctx, nil
}
