package wire

import (
	"github.com/tokengate/tokengate/authz"
)

// Request is what is read of a CheckRequest. Its strings are views of memory
// that it owns, and good until it is decoded into again or released.
type Request struct {
	// What a decision reads: method, path and headers. Client is not filled:
	// where the client's address comes from is the caller's to know.
	authz.Request

	// HTTP reports an HTTP check with a method and a path. Without it all
	// else is zero.
	HTTP bool

	// Source is the text of attributes.source.address.socket_address.address:
	// the connection's peer, as Envoy sees it. Empty where there is none.
	Source string

	// ClientHeader is the value of the header that the Codec was told of;
	// values of a repeated one are joined by commas.
	ClientHeader string

	clientHeader string // its name
	body         string // the two fields that may hold the body
	rawBody      string
	frame        []byte // what was read
	joined       []byte // values of repeated headers
	mapped       headers
	raw          headers
}

// Decode reads the frame of an envoy.service.auth.v3.CheckRequest. It means
// what proto.Unmarshal means, and fails where that fails; into is zero then.
// The frame is copied: it may change once Decode has returned. clientHeader is
// as for Codec.
//
// Headers are read from header_map if that has any, from headers otherwise
// (AttributeContext.HttpRequest: Envoy fills one of them). Names are compared
// without case. A repeated header's values are joined by commas, in the order
// of header_map; names in headers that differ in case alone are ordered as
// text, since a map has no order.
func Decode(frame []byte, into *Request, clientHeader string) error {
	into.frame = append(into.frame[:0], frame...)
	return into.decode(clientHeader)
}

// decode reads r.frame.
func (r *Request) decode(clientHeader string) error {
	r.reset()
	r.clientHeader = clientHeader
	if err := r.readCheck(r.frame); err != nil {
		r.reset()
		return err
	}
	if r.Method == "" || r.Path == "" {
		r.reset()
		return nil
	}
	r.HTTP = true
	if r.Body = r.rawBody; r.Body == "" {
		r.Body = r.body
	}
	if r.raw.any {
		r.finish(&r.raw)
	} else {
		r.mapped.lastOfEach()
		r.finish(&r.mapped)
	}
	return nil
}

// reset forgets what was read, and keeps the buffers.
func (r *Request) reset() {
	r.Request = authz.Request{Memory: r.Memory[:0]}
	r.HTTP, r.Source, r.ClientHeader, r.clientHeader = false, "", "", ""
	r.body, r.rawBody = "", ""
	r.joined = r.joined[:0]
	r.mapped.reset()
	r.raw.reset()
}
