//go:build !race

// Under the race detector a sync.Pool drops some values, so allocations can be
// counted only without it.

package wire_test

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/tokengate/tokengate/envoy/wire"
)

func TestResponseAllocations(t *testing.T) {
	codec, ok, denial := wire.Codec(""), newResponse(t, allowed("", "", "")), newResponse(t, denied("", ""))
	id := [12]byte([]byte("0123456789ab")) // as a decision has it
	send := func(r *wire.Response) {
		data, err := codec.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		data.Free()
	}
	allocates(t, "allowing", 0, func() { send(allow(ok, "fred", string(id[:]), "")) })
	allocates(t, "allowing with a path", 0, func() { send(allow(ok, "fred", string(id[:]), "/x")) })
	allocates(t, "denying", 0, func() { send(denial.WithMetadata("fred", string(id[:]))) })
}

// A whole call, except for gRPC's own work.
func TestCallAllocations(t *testing.T) {
	ok := newResponse(t, allowed("", "", ""))
	var method grpc.MethodDesc
	wire.Register(registrar(func(d *grpc.ServiceDesc) { method = d.Methods[0] }), handler(func(_ context.Context, r *wire.Request) (*wire.Response, error) {
		return allow(ok, r.UserAgent, r.RequestID, r.Path), nil
	}))
	codec, data := wire.Codec(addressHeader), mem.BufferSlice{mem.SliceBuffer(frameOf(full()))}
	decode := func(v any) error { return codec.Unmarshal(data, v) }
	allocates(t, "a call", 0, func() {
		answer, err := method.Handler(nil, context.Background(), decode, nil)
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
