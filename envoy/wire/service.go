// Package wire reads Envoy's CheckRequest and writes the CheckResponse without
// the generated protobuf types in between.
//
// It serves envoy.service.auth.v3.Authorization/Check. The few fields of a
// CheckRequest that a decision uses are read straight from the frame. Answers
// are encoded once from generated types, and the parts that differ between calls
// are appended. Start at Register and Codec, which connect both to gRPC.
package wire

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// Handler answers Check.
//
// The Request and every string in it are valid until Check returns, then their
// memory is reused: copy (strings.Clone) what is kept longer. An answer without
// an error must come from NewResponse; a nil or zero one becomes a gRPC error.
type Handler interface {
	Check(context.Context, *Request) (*Response, error)
}

// Register makes h answer Check on s, under the names of the generated
// Authorization service. The server must use Codec and no unary interceptor.
func Register(s grpc.ServiceRegistrar, h Handler) {
	method := func(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		if interceptor != nil { // it must not be skipped silently
			return nil, status.Error(codes.Internal, "Check does not support interceptors")
		}
		in := requests.Get().(*Request)
		// A panic skips release: a Request that may still be referenced is not reused.
		if err := decode(in); err != nil {
			in.release()
			return nil, err
		}
		answer, err := h.Check(ctx, in)
		in.release()
		if err != nil {
			return nil, err
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

// maxPooled is the largest buffer, in bytes, that is kept for another call.
// Envoy's own limit on a request's headers is 60 KiB.
const maxPooled = 64 << 10

// release returns the Request to the pool, unless it has grown too large. It is
// wiped first, so that no secret stays in memory and a string that was kept by
// mistake does not turn into another client's.
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

// Codec returns the codec for grpc.ForceServerCodecV2. It decodes *Request and
// encodes *Response; all other messages go to gRPC's own protobuf codec.
// clientHeader is the name, in lower case, of the request header that is read
// into Request.ClientHeader, or empty.
func Codec(clientHeader string) encoding.CodecV2 {
	return &codec{clientHeader: clientHeader, standard: encoding.GetCodecV2(proto.Name)}
}

type codec struct {
	clientHeader string
	standard     encoding.CodecV2
}

// Name returns the content-subtype that the codec replaces.
func (c *codec) Name() string { return proto.Name }

// Unmarshal copies the frame into the Request's own memory, because gRPC reuses
// its buffers as soon as Unmarshal returns.
//
// gRPC calls it outside of any recover, so a panic would end the process: it
// becomes an error instead.
func (c *codec) Unmarshal(data mem.BufferSlice, v any) (err error) {
	r, ok := v.(*Request)
	if !ok {
		return c.standard.Unmarshal(data, v)
	}
	defer func() {
		if recover() != nil {
			r.reset()
			err = errMalformed
		}
	}()
	r.frame = r.frame[:0]
	for _, part := range data {
		r.frame = append(r.frame, part.ReadOnlyData()...)
	}
	return r.decode(c.clientHeader)
}

// errEmptyResponse is the error of an empty answer, which Envoy would take for an
// OK.
var errEmptyResponse = errors.New("an empty answer to Check was refused; use NewResponse")

// Marshal returns a Response's bytes. A nil or zero Response is an error.
func (c *codec) Marshal(v any) (mem.BufferSlice, error) {
	r, ok := v.(*Response)
	if !ok {
		return c.standard.Marshal(v)
	}
	return r.buffers()
}
