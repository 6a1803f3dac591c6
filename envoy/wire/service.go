package wire

import (
	"context"
	"sync"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Handler answers Check.
//
// The Request and every string in it are good until Check returns, then the
// memory serves another call: what is kept longer must be copied
// (strings.Clone). An answer without an error must be a Response from
// NewResponse or NewAllowed; a nil or zero one becomes a gRPC error.
type Handler interface {
	Check(context.Context, *Request) (*Response, error)
}

// Register makes h answer Check on s, under the names of the generated
// Authorization service. The server must use Codec.
func Register(s grpc.ServiceRegistrar, h Handler) {
	check := func(ctx context.Context, in any) (any, error) {
		request, ok := in.(*Request)
		if !ok {
			return nil, status.Errorf(codes.Internal, "the question is a %T", in)
		}
		return h.Check(ctx, request)
	}
	// Made once, not for each call as in generated code.
	info := &grpc.UnaryServerInfo{Server: h, FullMethod: authv3.Authorization_Check_FullMethodName}
	method := func(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := requests.Get().(*Request)
		// After a panic the Request is not used again: who panicked may hold it.
		if err := decode(in); err != nil {
			in.release()
			return nil, err
		}
		var answer any
		var err error
		if interceptor == nil {
			answer, err = h.Check(ctx, in)
		} else {
			answer, err = interceptor(ctx, in, info, check)
		}
		in.release()
		if err != nil {
			return nil, err
		}
		// gRPC sends an empty message for an interceptor's nil, without asking
		// the codec, and Envoy takes that for an OK.
		if _, ok := answer.(*Response); !ok {
			return nil, status.Error(codes.Internal, errEmptyResponse.Error())
		}
		return answer, nil
	}
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "envoy.service.auth.v3.Authorization",
		HandlerType: (*Handler)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Check", Handler: method}},
		Streams:     []grpc.StreamDesc{},
		Metadata:    "envoy/service/auth/v3/external_auth.proto",
	}, h)
}

var requests = sync.Pool{New: func() any { return new(Request) }}

// maxPooled is the size of a buffer, in bytes, that is kept for another call.
// Envoy's own limit on a request's headers is 60 KiB.
const maxPooled = 64 << 10

// release gives the Request's memory to other calls, unless it has grown too
// large. It is wiped first, so that no secret waits in it, and a string that
// somebody kept by mistake does not turn into another client's.
func (r *Request) release() {
	if cap(r.frame) > maxPooled || cap(r.joined) > maxPooled || cap(r.Memory) > maxPooled || cap(r.mapped.list)+cap(r.raw.list) > maxPooled/64 {
		return
	}
	clear(r.frame)
	clear(r.joined[:cap(r.joined)]) // all of it: a panic may have cut its length
	clear(r.Memory[:cap(r.Memory)])
	r.reset()
	requests.Put(r)
}
