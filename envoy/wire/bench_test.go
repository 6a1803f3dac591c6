package wire_test

import (
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/tokengate/tokengate/envoy/wire"
)

// BenchmarkDecode compares the decoder with the generated types.
func BenchmarkDecode(b *testing.B) {
	codec := wire.Codec(addressHeader)
	for _, c := range []struct {
		name  string
		check *authv3.CheckRequest
	}{{"full", full()}, {"trimmed", trimmed()}} {
		frame := frameOf(c.check)
		data := mem.BufferSlice{mem.SliceBuffer(frame)}
		b.Run(c.name+"/wire", func(b *testing.B) {
			r := new(wire.Request)
			b.ReportAllocs()
			for b.Loop() {
				if err := codec.Unmarshal(data, r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/generated", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := proto.Unmarshal(frame, new(authv3.CheckRequest)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAnswer compares building and encoding an answer with the generated
// types.
func BenchmarkAnswer(b *testing.B) {
	codec, ok, denial := wire.Codec(""), newResponse(b, allowed("", "", "")), newResponse(b, denied("", ""))
	for _, c := range []struct {
		name      string
		wire      func() *wire.Response
		generated func() *authv3.CheckResponse
	}{
		{
			"allowed", func() *wire.Response { return allow(ok, "fred", "0123456789ab", "") },
			func() *authv3.CheckResponse { return allowed("fred", "0123456789ab", "") },
		},
		{
			"denied", func() *wire.Response { return denial.WithMetadata("fred", "0123456789ab") },
			func() *authv3.CheckResponse { return denied("fred", "0123456789ab") },
		},
		{"prebuilt", func() *wire.Response { return denial }, func() *authv3.CheckResponse { return denied("", "") }},
	} {
		b.Run(c.name+"/wire", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				data, err := codec.Marshal(c.wire())
				if err != nil {
					b.Fatal(err)
				}
				data.Free()
			}
		})
		b.Run(c.name+"/generated", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := proto.Marshal(c.generated()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
