// Package wire reads Envoy's question and writes the answer without the
// generated protobuf types in between.
//
// It serves envoy.service.auth.v3.Authorization/Check. Of a CheckRequest it
// reads the few fields that a decision uses straight from the frame, and holds
// the frame to everything else that proto.Unmarshal would hold it to. Answers
// are built once from generated types; the parts that differ from call to call
// are appended. Codec gives both to gRPC and leaves the messages of every other
// service to the ordinary codec.
package wire

import (
	"errors"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// Codec returns the codec for grpc.ForceServerCodecV2. It decodes *Request and
// encodes *Response; all other messages go to gRPC's own protobuf codec.
// clientHeader names the request header that goes into Request.ClientHeader,
// in lower case; empty: none.
func Codec(clientHeader string) encoding.CodecV2 {
	return &codec{clientHeader: clientHeader, ordinary: encoding.GetCodecV2(proto.Name)}
}

type codec struct {
	clientHeader string
	ordinary     encoding.CodecV2
}

// Name is the content-subtype that the codec stands in for.
func (c *codec) Name() string { return proto.Name }

// Unmarshal copies the frame into the Request's own memory: gRPC takes its
// buffers back as soon as Unmarshal returns. To keep a reference to them
// instead would save one copy of about a kilobyte, and cost the same again in
// reference counts, and a frame that came in several buffers has to be copied
// into one anyway.
//
// gRPC decodes outside all that could catch a panic, so one would end the
// process: here it becomes an error.
func (c *codec) Unmarshal(data mem.BufferSlice, v any) (err error) {
	r, ok := v.(*Request)
	if !ok {
		return c.ordinary.Unmarshal(data, v)
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

// errEmptyResponse keeps an unfinished answer from leaving: Envoy takes an
// empty CheckResponse for an OK.
var errEmptyResponse = errors.New("an empty answer to Check was refused; answers come from NewResponse and NewAllowed")

// Marshal hands out a Response's bytes. A nil or zero one is an error.
func (c *codec) Marshal(v any) (mem.BufferSlice, error) {
	r, ok := v.(*Response)
	if !ok {
		return c.ordinary.Marshal(v)
	}
	return r.buffers()
}
