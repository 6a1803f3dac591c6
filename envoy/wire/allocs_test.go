package wire_test

import (
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/mem"

	"github.com/tokengate/tokengate/envoy/wire"
)

// allocates checks how many allocations a warmed-up run of f makes.
func allocates(t *testing.T, name string, want float64, f func()) {
	t.Helper()
	if got := testing.AllocsPerRun(200, f); got != want {
		t.Errorf("%s allocates %v times, not %v", name, got, want)
	}
}

func TestDecodeAllocations(t *testing.T) {
	capitals := "User-Agent"
	for name, c := range map[string]struct {
		check *authv3.CheckRequest
		want  float64
	}{
		"full":     {full(), 0},
		"trimmed":  {trimmed(), 0},
		"metadata": {withMetadata(full()), 0},
		"raw":      {rawHeaders(full(), "authorization", authorization, "user-agent", "curl"), 0},
		"repeated": {rawHeaders(full(), "upgrade", "a", "authorization", "b", "upgrade", "c"), 0},
		// Envoy never sends capitals.
		"capitals": {rawHeaders(full(), "authorization", authorization, capitals, "curl"), 1},
	} {
		codec := wire.Codec(addressHeader)
		data := mem.BufferSlice{mem.SliceBuffer(frameOf(c.check))}
		r := new(wire.Request)
		allocates(t, "decoding "+name, c.want, func() {
			if err := codec.Unmarshal(data, r); err != nil {
				t.Fatal(err)
			}
		})
	}
	r, frame := new(wire.Request), malformed["an earlier path, not UTF-8"]
	allocates(t, "decoding a malformed frame", 0, func() {
		if err := wire.Decode(frame, r, addressHeader); err == nil {
			t.Fatal("it was read")
		}
	})
}

func TestPrebuiltResponseAllocations(t *testing.T) {
	codec, denial := wire.Codec(""), newResponse(t, denied("", ""))
	allocates(t, "sending a prebuilt answer", 0, func() {
		data, err := codec.Marshal(denial.WithMetadata("", ""))
		if err != nil {
			t.Fatal(err)
		}
		data.Free()
	})
}
