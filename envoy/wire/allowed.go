package wire

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Allowed makes the answers that let a request in as somebody.
type Allowed struct {
	status   []byte // encoded CheckResponse, without ok_response
	ok       []byte // encoded OkHttpResponse
	metadata []byte // encoded google.protobuf.Struct
	identity []byte // encoded HeaderValue.key
}

// NewAllowed returns a maker of answers that are like the given OK, and set the
// header that is named identity to the user besides.
func NewAllowed(answer *authv3.CheckResponse, identity string) (*Allowed, error) {
	if answer.GetOkResponse() == nil || answer.GetStatus().GetCode() != int32(codes.OK) {
		return nil, errors.New("encode an answer that lets in: it is no OK")
	}
	if identity == "" || !utf8.ValidString(identity) {
		return nil, errors.New("encode an answer that lets in: the identity header has no name")
	}
	for _, option := range answer.GetOkResponse().GetHeaders() {
		if strings.EqualFold(option.GetHeader().GetKey(), identity) {
			return nil, fmt.Errorf("encode an answer that lets in: it sets %s already", identity)
		}
	}
	whole, err := newTemplate(answer)
	if err != nil {
		return nil, err
	}
	ok, err := proto.Marshal(answer.GetOkResponse())
	if err != nil {
		return nil, fmt.Errorf("encode an answer that lets in: %w", err)
	}
	status := proto.CloneOf(answer)
	status.HttpResponse, status.DynamicMetadata = nil, nil
	a := &Allowed{ok: ok, metadata: whole.metadata, identity: keyField(identity)}
	if a.status, err = proto.Marshal(status); err != nil {
		return nil, fmt.Errorf("encode an answer that lets in: %w", err)
	}
	return a, nil
}

var pathKey = keyField(":path")

// Response returns the answer for one call: the request goes on as user, and,
// unless path is empty, to that path. tokenID goes into the dynamic metadata
// with the user. Without a user, or with text that is not UTF-8, it is the
// zero Response.
func (a *Allowed) Response(user, tokenID, path string) *Response {
	if user == "" || !utf8.ValidString(user) || !utf8.ValidString(tokenID) || !utf8.ValidString(path) {
		return new(Response)
	}
	size := len(a.ok) + sizeHeader(a.identity, user)
	if path != "" {
		size += sizeHeader(pathKey, path)
	}
	r := takeResponse()
	b := append(r.data, a.status...)
	b = appendField(b, responseOK, size)
	b = appendHeader(b, a.identity, user)
	b = append(b, a.ok...)
	if path != "" {
		b = appendHeader(b, pathKey, path)
	}
	r.data = appendMetadata(b, a.metadata, user, tokenID)
	return r
}

// keyField encodes HeaderValue.key, and the key of a map's entry, which have
// the same number.
func keyField(name string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, headerKey, protowire.BytesType), name)
}
