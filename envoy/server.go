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
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
)

// Server answers Check. All fields are required and set before the first
// request; Policy may be swapped at any time.
type Server struct {
	Policy        *atomic.Pointer[policy.Policy]
	Index         *store.Index
	Usage         *store.UsageRecorder
	ClientAddress config.ClientAddress // where the client's address comes from
	Identity      string               // the header that tells Jira who is calling
	Log           *zap.Logger
	Metrics       *Metrics
	Now           func() time.Time

	authv3.UnimplementedAuthorizationServer
}

// Check answers one question of Envoy's. A question whose time has run out, or
// that cannot be answered, gets a gRPC error, which Envoy turns into its
// status_on_error; it never gets an empty answer, which would be an OK.
func (s *Server) Check(ctx context.Context, check *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	now := s.Now()
	decision := authz.Decision{Reason: authz.BadCheck}
	request, ok := requestFrom(ctx, check, s.ClientAddress)
	if ok {
		decision = authz.Decide(&request, authz.View{Policy: s.Policy.Load(), Index: s.Index, Now: now})
	}
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	response := responseTo(decision, s.Identity)
	s.Metrics.count(decision, s.Now().Sub(now))
	s.tell(&request, decision, now)
	return response, nil
}

// GRPC returns a gRPC server that serves Check and the standard health
// service, and the health server to say when Check may be asked: it begins as
// NOT_SERVING.
func (s *Server) GRPC() (*grpc.Server, *health.Server) {
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(s.recoverPanic, s.refuseEmpty),
		// Envoy's connection_keepalive may ping more often than the default
		// of five minutes, which would end the connection.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	authv3.RegisterAuthorizationServer(server, s)
	state := health.NewServer()
	state.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	healthv1.RegisterHealthServer(server, state)
	return server, state
}

// recoverPanic turns a panic into an error: grpc-go does not, and an outage of
// one request must not become one of all.
func (s *Server) recoverPanic(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.Metrics.panics.Inc()
			// The panic's own text might repeat what a client sent.
			s.Log.Error("a request made the server panic; it was refused",
				zap.String("kind", fmt.Sprintf("%T", p)), zap.String("method", info.FullMethod), zap.ByteString("stack", debug.Stack()))
			resp, err = nil, status.Error(codes.Internal, "internal error")
		}
	}()
	return handler(ctx, req)
}

// refuseEmpty is the last look at every answer to Check: one that has no status,
// or an OK that does not say what becomes of the headers, never leaves.
func (s *Server) refuseEmpty(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	if err != nil {
		return nil, err
	}
	if answer, isCheck := resp.(*authv3.CheckResponse); isCheck && !whole(answer) {
		s.Log.Error("an unfinished answer was refused")
		return nil, status.Error(codes.Internal, "internal error")
	}
	return resp, nil
}

func whole(answer *authv3.CheckResponse) bool {
	if answer.GetStatus() == nil {
		return false
	}
	if answer.GetStatus().GetCode() == int32(codes.OK) {
		return len(answer.GetOkResponse().GetHeadersToRemove()) > 0
	}
	return answer.GetDeniedResponse() != nil
}
