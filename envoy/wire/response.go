package wire

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Response is an answer to Check, ready to send. Sending the zero Response is an
// error.
//
// A Response from NewResponse can be sent any number of times, also
// concurrently. One from WithMetadata, WithHeaders or Merge is for one call and
// can be sent once; its memory is then reused.
type Response struct {
	data []byte        // the message
	out  [1]mem.Buffer // data, as gRPC takes it

	template *template // nil: made for one call
	sent     bool      // made for one call, and sent
}

// template is an answer without its dynamic_metadata, and the fields of that.
type template struct {
	ok       bool
	head     []byte // encoded CheckResponse
	metadata []byte // encoded google.protobuf.Struct
}

// Header is a request header that an OK sets for the upstream, replacing any
// header of that name.
type Header struct{ Name, Value string }

// NewResponse encodes an answer. It returns an error for answers that Envoy would
// take for more than was meant: without a status, an OK that removes no header,
// a denial without denied_response.
func NewResponse(answer *authv3.CheckResponse) (*Response, error) {
	t, err := newTemplate(answer)
	if err != nil {
		return nil, err
	}
	r := &Response{template: t, data: appendMetadata(slices.Clone(t.head), t.metadata, "", "")}
	r.out[0] = mem.SliceBuffer(r.data)
	return r, nil
}

func newTemplate(answer *authv3.CheckResponse) (*template, error) {
	t := template{ok: answer.GetStatus().GetCode() == int32(codes.OK)}
	switch {
	case answer.GetStatus() == nil:
		return nil, errors.New("encode an answer: it has no status, and Envoy takes an empty answer for an OK")
	case t.ok && len(answer.GetOkResponse().GetHeadersToRemove()) == 0:
		return nil, errors.New("encode an answer: an OK must remove headers, or a client's own identity header stays")
	case !t.ok && answer.GetDeniedResponse() == nil:
		return nil, errors.New("encode an answer: a denial has no denied_response")
	}
	head := proto.CloneOf(answer)
	head.DynamicMetadata = nil
	var err error
	if t.head, err = proto.Marshal(head); err != nil {
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	if t.metadata, err = proto.Marshal(answer.GetDynamicMetadata()); err != nil {
		return nil, fmt.Errorf("encode an answer's dynamic metadata: %w", err)
	}
	return &t, nil
}

// WithMetadata returns the answer with user and token_id in its dynamic
// metadata, for Envoy's access log. Empty ones are left out; if both are empty,
// it returns r itself. It returns the zero Response if a value is not UTF-8, or
// if r was itself made for one call.
func (r *Response) WithMetadata(user, tokenID string) *Response {
	if r != nil && r.template != nil && user == "" && tokenID == "" {
		return r
	}
	return r.with("", nil, user, tokenID)
}

// WithHeaders returns the OK r that also sets headers, and with metadata as
// WithMetadata adds it. It returns the zero Response if a header has no name or
// no value, if a text is not UTF-8, if r is no OK, or if r was itself made for
// one call.
func (r *Response) WithHeaders(set []Header, user, tokenID string) *Response {
	if r == nil || r.template == nil || !r.template.ok || len(set) == 0 || !complete(set) {
		return new(Response)
	}
	return r.with("", set, user, tokenID)
}

// WithEncodedHeaders is WithHeaders that also sets headers from EncodeHeaders. It returns
// the zero Response if encoded is empty.
func (r *Response) WithEncodedHeaders(encoded string, set []Header, user, tokenID string) *Response {
	if encoded == "" || r == nil || r.template == nil || !r.template.ok || !complete(set) {
		return new(Response)
	}
	return r.with(encoded, set, user, tokenID)
}

// EncodeHeaders returns headers to set, encoded for WithEncodedHeaders. It returns "" if a
// header has no name or no value, or if a text is not UTF-8.
func EncodeHeaders(set ...Header) string {
	if !complete(set) {
		return ""
	}
	return string(appendHeaders(nil, set))
}

// complete reports whether all headers have names and values in UTF-8.
func complete(set []Header) bool {
	for i := range set {
		if set[i].Name == "" || set[i].Value == "" || !utf8.ValidString(set[i].Name) || !utf8.ValidString(set[i].Value) {
			return false
		}
	}
	return true
}

func (r *Response) with(encoded string, set []Header, user, tokenID string) *Response {
	if r == nil || r.template == nil || !utf8.ValidString(user) || !utf8.ValidString(tokenID) {
		return new(Response)
	}
	once := newForOneCall()
	b := append(once.data, r.template.head...)
	b = append(b, encoded...)
	b = appendHeaders(b, set)
	once.data = appendMetadata(b, r.template.metadata, user, tokenID)
	return once
}

// Merge returns the answer merged with more, as proto.Merge does it, for one
// call. Concatenated encoded messages merge when they are read. It returns the
// zero Response if more cannot be encoded or r was already sent.
func (r *Response) Merge(more *authv3.CheckResponse) *Response {
	if r == nil || len(r.data) == 0 || r.sent {
		return new(Response)
	}
	once := r
	if r.template != nil {
		once = newForOneCall()
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
	case r.template != nil:
		return r.out[:], nil
	case r.sent:
		return nil, errors.New("an answer that was made for one call was sent twice")
	}
	r.sent = true
	r.out[0] = mem.NewBuffer(&r.data, (*recycler)(r))
	return r.out[:], nil
}

// leastSize is the size of a new buffer, in bytes. mem.NewBuffer does not pool
// buffers of up to 1 KiB.
const leastSize = 2 << 10

var responses = sync.Pool{New: func() any { return &Response{data: make([]byte, 0, leastSize)} }}

func newForOneCall() *Response {
	r := responses.Get().(*Response)
	r.data, r.sent = r.data[:0], false
	return r
}

// recycler returns a Response to the pool once gRPC has freed its buffer: until
// then, gRPC's writer reads both data and out.
type recycler Response

// Get implements mem.BufferPool. It is never called.
func (*recycler) Get(length int) *[]byte {
	b := make([]byte, length)
	return &b
}

// Put implements mem.BufferPool.
func (r *recycler) Put(*[]byte) {
	if cap(r.data) <= maxPooled {
		responses.Put((*Response)(r))
	}
}

// The fields that are appended to encoded answers, by message. Their numbers
// are below 16, so each tag is one byte.
const (
	responseOK       protowire.Number = 3 // CheckResponse.ok_response
	responseMetadata protowire.Number = 4 // CheckResponse.dynamic_metadata

	okHeaders    protowire.Number = 2 // OkHttpResponse.headers
	optionHeader protowire.Number = 1 // HeaderValueOption.header

	structFields protowire.Number = 1 // google.protobuf.Struct.fields, a map
	entryKey     protowire.Number = 1 // the key of a map's entry
	entryValue   protowire.Number = 2 // the value of a map's entry
	valueString  protowire.Number = 3 // google.protobuf.Value.string_value
)

// sizeField returns the size of a length-delimited field with n bytes in it.
func sizeField(n int) int { return 1 + protowire.SizeBytes(n) }

// appendField appends the tag and the length of a length-delimited field with n
// bytes in it.
func appendField(b []byte, number protowire.Number, n int) []byte {
	b = protowire.AppendTag(b, number, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(n))
}

// appendText appends a string field.
func appendText(b []byte, number protowire.Number, text string) []byte {
	return append(appendField(b, number, len(text)), text...)
}

// sizePair returns the size of a HeaderValue.
func sizePair(h *Header) int { return sizeField(len(h.Name)) + sizeField(len(h.Value)) }

// appendHeaders appends CheckResponse.ok_response with headers to set, which
// merges with the ok_response before it.
func appendHeaders(b []byte, set []Header) []byte {
	if len(set) == 0 {
		return b
	}
	size := 0
	for i := range set {
		size += sizeField(sizeField(sizePair(&set[i])))
	}
	b = appendField(b, responseOK, size)
	for i := range set {
		pair := sizePair(&set[i])
		b = appendField(b, okHeaders, sizeField(pair))
		b = appendField(b, optionHeader, pair)
		b = appendText(b, headerKey, set[i].Name)
		b = appendText(b, headerValue, set[i].Value)
	}
	return b
}

// appendMetadata appends CheckResponse.dynamic_metadata: the encoded fields
// given, and user and token_id unless they are empty.
func appendMetadata(b, fields []byte, user, tokenID string) []byte {
	size := len(fields) + sizeEntry("user", user) + sizeEntry("token_id", tokenID)
	if size == 0 {
		return b
	}
	b = appendField(b, responseMetadata, size)
	b = append(b, fields...)
	b = appendEntry(b, "user", user)
	return appendEntry(b, "token_id", tokenID)
}

// sizeEntry returns the size of what appendEntry appends.
func sizeEntry(key, text string) int {
	if text == "" {
		return 0
	}
	return sizeField(sizeField(len(key)) + sizeField(sizeField(len(text))))
}

// appendEntry appends an entry of Struct.fields, unless the text is empty.
func appendEntry(b []byte, key, text string) []byte {
	if text == "" {
		return b
	}
	value := sizeField(len(text))
	b = appendField(b, structFields, sizeField(len(key))+sizeField(value))
	b = appendText(b, entryKey, key)
	b = appendField(b, entryValue, value)
	return appendText(b, valueString, text)
}
