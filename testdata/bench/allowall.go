package main

import (
	"context"
	"net"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tokengate/tokengate/envoy"
)

// The roles of a rival: see playRole.
const (
	roleAllowAll   = "allow-all"
	roleSameAnswer = "allow-all, tokengate's answer"
)

// allowAll is the server that everyone would write first: stock grpc-go and
// the generated types, registered as usual. It decides nothing, logs nothing,
// counts nothing, and gives everyone the one answer that it made at the start.
type allowAll struct {
	authv3.UnimplementedAuthorizationServer
	answer *authv3.CheckResponse
}

// Check implements authv3.AuthorizationServer.
func (a *allowAll) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return a.answer, nil
}

// serveAllowAll serves until l fails.
func serveAllowAll(l net.Listener, answer *authv3.CheckResponse) error {
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, &allowAll{answer: answer})
	return server.Serve(l)
}

// plainAllow is the least that Envoy takes for an allow and that says so.
func plainAllow() *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}
}

// sameAnswer is what tokengate answers when it lets a token in, for always the
// same user. What it costs beyond plainAllow is Envoy's work: it changes headers,
// chooses the route again, keeps metadata.
func sameAnswer() *authv3.CheckResponse {
	set := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
	}
	user := ownerOf(0)
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers:         []*corev3.HeaderValueOption{set(identityHeader, user), set(envoy.MarkerHeader, "1")},
			HeadersToRemove: []string{"authorization", "cookie"},
		}},
		DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			"reason":   structpb.NewStringValue("allowed"),
			"user":     structpb.NewStringValue(user),
			"token_id": structpb.NewStringValue("000000000000"),
		}},
	}
}
