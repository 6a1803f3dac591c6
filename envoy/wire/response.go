package wire

import (
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Response is an answer to Check, ready to send. The zero Response is none, and
// an error where it is sent.
//
// A Response from NewResponse is sent any number of times, by any number of
// calls at once. One made for a call, by About or Allowed.Response, is sent
// once: its memory then serves another.
type Response struct {
	data []byte        // the message
	out  [1]mem.Buffer // what gRPC gets of it

	whole *template // what About appends to; nil: made for one call
	sent  bool      // of one call, and that has had it
}

// template is an answer without its dynamic_metadata, and the fields that are
// in that.
type template struct {
	head     []byte // encoded CheckResponse
	metadata []byte // encoded google.protobuf.Struct
}

// NewResponse encodes an answer that is the same for many calls. It refuses
// one that Envoy would take for more than it says: without a status, an OK
// that does not say what headers to remove, a denial without denied_response.
func NewResponse(answer *authv3.CheckResponse) (*Response, error) {
	whole, err := newTemplate(answer)
	if err != nil {
		return nil, err
	}
	r := &Response{whole: whole, data: whole.appendTo(nil, "", "")}
	r.out[0] = mem.SliceBuffer(r.data)
	return r, nil
}

func newTemplate(answer *authv3.CheckResponse) (*template, error) {
	switch {
	case answer.GetStatus() == nil:
		return nil, errors.New("encode an answer: it has no status, and an empty answer is an OK to Envoy")
	case answer.GetStatus().GetCode() == int32(codes.OK) && len(answer.GetOkResponse().GetHeadersToRemove()) == 0:
		return nil, errors.New("encode an answer: an OK must remove headers, or a client's own identity header stays")
	case answer.GetStatus().GetCode() != int32(codes.OK) && answer.GetDeniedResponse() == nil:
		return nil, errors.New("encode an answer: a denial has no denied_response")
	}
	head := proto.CloneOf(answer)
	head.DynamicMetadata = nil
	var t template
	var err error
	if t.head, err = proto.Marshal(head); err != nil {
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	if t.metadata, err = proto.Marshal(answer.GetDynamicMetadata()); err != nil {
		return nil, fmt.Errorf("encode an answer's dynamic metadata: %w", err)
	}
	return &t, nil
}

// appendTo appends the answer with the user and the token's id in its metadata.
func (t *template) appendTo(b []byte, user, tokenID string) []byte {
	b = append(b, t.head...)
	return appendMetadata(b, t.metadata, user, tokenID)
}

// WithMetadata returns the answer with user and token_id in its dynamic metadata, for
// Envoy's access log; empty ones are left out. Where both are empty it is the
// Response itself, otherwise one that is made for this call. Text that is not
// UTF-8 cannot be sent and gives the zero Response. So does a Response that
// was itself made for a call.
func (r *Response) WithMetadata(user, tokenID string) *Response {
	if r == nil || r.whole == nil || !utf8.ValidString(user) || !utf8.ValidString(tokenID) {
		return new(Response)
	}
	if user == "" && tokenID == "" {
		return r
	}
	once := takeResponse()
	once.data = r.whole.appendTo(once.data, user, tokenID)
	return once
}

// Merge returns the answer with what more says added, as proto.Merge adds it, for
// one call: encoded messages merge by standing behind each other. A message that
// cannot be encoded gives the zero Response. So does a Response that was sent.
func (r *Response) Merge(more *authv3.CheckResponse) *Response {
	if r == nil || len(r.data) == 0 || r.sent {
		return new(Response)
	}
	once := r
	if r.whole != nil {
		once = takeResponse()
		once.data = append(once.data, r.data...)
	}
	data, err := proto.MarshalOptions{}.MarshalAppend(once.data, more)
	if err != nil {
		return new(Response)
	}
	once.data = data
	return once
}

// buffers hands the message to gRPC, which frees it when it is written.
func (r *Response) buffers() (mem.BufferSlice, error) {
	switch {
	case r == nil || len(r.data) == 0:
		return nil, errEmptyResponse
	case r.whole != nil:
		return r.out[:], nil
	case r.sent:
		return nil, errors.New("an answer that was made for one call was sent twice")
	}
	r.sent = true
	r.out[0] = mem.NewBuffer(&r.data, (*recycler)(r))
	return r.out[:], nil
}

// leastSize is the size of a new buffer, in bytes. mem.NewBuffer returns
// buffers of up to 1 KiB to no pool.
const leastSize = 2 << 10

var responses = sync.Pool{New: func() any { return &Response{data: make([]byte, 0, leastSize)} }}

func takeResponse() *Response {
	r := responses.Get().(*Response)
	r.data, r.sent = r.data[:0], false
	return r
}

// recycler takes a Response back once gRPC has freed its buffer: until then,
// gRPC's writer reads both data and out.
type recycler Response

// Get is never called: it is there to make a mem.BufferPool.
func (*recycler) Get(length int) *[]byte {
	b := make([]byte, length)
	return &b
}

// Put gives the Response to other calls.
func (r *recycler) Put(*[]byte) {
	if cap(r.data) <= maxPooled {
		responses.Put((*Response)(r))
	}
}
