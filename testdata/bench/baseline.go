package main

import (
	"bytes"
	"context"
	"net"
	"os"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/valyala/fasthttp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tokengate/tokengate/envoy"
)

// The roles of runRole.
const (
	roleAllowAll   = "allow-all"
	roleSameAnswer = "allow-all, tokengate's answer"
	roleUpstream   = "upstream"
)

// allowAll is the baseline: stock grpc-go and the generated types. It decides, logs
// and counts nothing, and always returns the same answer.
type allowAll struct {
	authv3.UnimplementedAuthorizationServer
	answer *authv3.CheckResponse
}

// Check implements authv3.AuthorizationServer.
func (a *allowAll) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return a.answer, nil
}

func serveAllowAll(l net.Listener, answer *authv3.CheckResponse) error {
	s := grpc.NewServer()
	authv3.RegisterAuthorizationServer(s, &allowAll{answer: answer})
	return s.Serve(l)
}

// startAllowAll starts the baseline in a role, on a socket.
func startAllowAll(socket, role string) (*process, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, err
	}
	return startRole(role, l)
}

// plainAllow is the smallest answer that Envoy takes for an allow.
func plainAllow() *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}
}

// identityHeader is the default of upstream.identity.header.
const identityHeader = "x-forwarded-user"

// sameAnswer is tokengate's answer to an allowed token, always for one user. Its
// additional cost is Envoy's: it changes headers, chooses the route again and keeps
// metadata.
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

// noUser is what the upstream answers to a request without an identity.
const noUser = "no user"

// bodyLength is the length of every answer's body.
const bodyLength = 512

// serveUpstream stands for Jira, but answers at once: with the user of the identity
// header or of the personal access token, padded with spaces.
func serveUpstream(l net.Listener) error {
	padding := bytes.Repeat([]byte(" "), bodyLength)
	return fasthttp.Serve(l, func(ctx *fasthttp.RequestCtx) {
		user := ctx.Request.Header.Peek(identityHeader)
		if pat, ok := bytes.CutPrefix(ctx.Request.Header.Peek("authorization"), []byte("Bearer ")); ok && len(pat) == patLength {
			user = pat[:len(ownerOf(0))]
		}
		if len(user) == 0 {
			user = []byte(noUser)
		}
		ctx.Response.AppendBody(user)
		ctx.Response.AppendBody(padding[len(user):])
	})
}
