//go:build !race

// Under the race detector a sync.Pool forgets now and then what was put into
// it, so allocations can be counted only without it.

package wire_test

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/tokengate/tokengate/envoy/wire"
)

func TestResponseAllocations(t *testing.T) {
	codec, allowed, refusal := wire.Codec(""), newAllowed(t), newResponse(t, denied("", ""))
	id := [12]byte([]byte("0123456789ab")) // as a decision has it
	send := func(r *wire.Response) {
		data, err := codec.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		data.Free()
	}
	allocates(t, "letting in", 0, func() { send(allowed.Response("fred", string(id[:]), "")) })
	allocates(t, "letting in with a path", 0, func() { send(allowed.Response("fred", string(id[:]), "/x")) })
	allocates(t, "refusing somebody", 0, func() { send(refusal.WithMetadata("fred", string(id[:]))) })
}

// A whole call, but for what gRPC does itself.
func TestCallAllocations(t *testing.T) {
	allowed := newAllowed(t)
	var method grpc.MethodDesc
	wire.Register(registrar(func(d *grpc.ServiceDesc) { method = d.Methods[0] }), handler(func(_ context.Context, r *wire.Request) (*wire.Response, error) {
		return allowed.Response(r.UserAgent, r.RequestID, r.Path), nil
	}))
	codec, data := wire.Codec(addressHeader), mem.BufferSlice{mem.SliceBuffer(frameOf(full()))}
	decode := func(v any) error { return codec.Unmarshal(data, v) }
	pass := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		return next(ctx, req)
	}
	for name, interceptor := range map[string]grpc.UnaryServerInterceptor{"a call": nil, "a call with an interceptor": pass} {
		allocates(t, name, 0, func() {
			answer, err := method.Handler(nil, context.Background(), decode, interceptor)
			if err != nil {
				t.Fatal(err)
			}
			out, err := codec.Marshal(answer)
			if err != nil {
				t.Fatal(err)
			}
			out.Free()
		})
	}
}
