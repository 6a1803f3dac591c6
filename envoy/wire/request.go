package wire

import (
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz"
)

// Request is the part of a CheckRequest that is read. Its strings share memory
// that the Request owns, and are valid until it is released or decoded into
// again.
type Request struct {
	// Method, path, protocol, headers and body. Client is not set: the caller
	// knows which source of the client's address to trust.
	authz.Request

	// HTTP reports that the check has an HTTP method and a path. If it is false,
	// all other fields are zero.
	HTTP bool

	// Plain reports that the scheme is http: Envoy takes it from the connection, or
	// from the X-Forwarded-Proto of a trusted proxy. An HTTP/2 client chooses it.
	Plain bool

	// Source is attributes.source.address.socket_address.address: the
	// connection's peer, as Envoy sees it. Empty if there is none.
	Source string

	// ClientHeader is the value of the header that the Codec was given; values
	// of a repeated one are joined by commas.
	ClientHeader string

	clientHeader string // its name
	body         string // the two fields that may hold the body
	rawBody      string
	frame        []byte // the encoded CheckRequest
	joined       []byte // values of repeated headers
	mapped       headers
	raw          headers
}

// decode reads r.frame, an envoy.service.auth.v3.CheckRequest. Fields that are read
// mean what they mean to proto.Unmarshal; on an error, the Request is zero. Other
// fields are skipped unchecked. clientHeader is as for Codec.
//
// Headers are read from header_map if that has any, from headers otherwise
// (AttributeContext.HttpRequest: Envoy fills one of them). Names are compared
// without case. A repeated header's values are joined by commas.
func (r *Request) decode(clientHeader string) error {
	r.reset()
	r.clientHeader = clientHeader
	if err := r.read(r.frame, (*Request).readCheck); err != nil {
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
		r.setHeaders(&r.raw)
	} else {
		r.setHeaders(&r.mapped)
	}
	return nil
}

// reset clears all fields and keeps the buffers.
func (r *Request) reset() {
	r.Request = authz.Request{Memory: r.Memory[:0]}
	r.HTTP, r.Plain, r.Source, r.ClientHeader, r.clientHeader = false, false, "", "", ""
	r.body, r.rawBody = "", ""
	r.joined = r.joined[:0]
	r.mapped.reset()
	r.raw.reset()
}

// headers are the headers of one form, header_map or headers, that a decision
// reads.
type headers struct {
	any      bool // there was a header, read or not
	repeated bool // two of the list belong to the same field
	list     []header
}

type header struct {
	field *string // of the Request
	value string
}

func (h *headers) reset() {
	clear(h.list)
	*h = headers{list: h.list[:0]}
}

func (h *headers) add(added header) {
	h.repeated = h.repeated || slices.ContainsFunc(h.list, func(x header) bool { return x.field == added.field })
	h.list = append(h.list, added)
}

// collect keeps a header that is read.
func (r *Request) collect(h *headers, name, value string) {
	h.any = true
	name = strings.ToLower(name) // allocates nothing for Envoy's names, which are in lower case
	if field := r.Header(name); field != nil {
		h.add(header{field, value})
	}
	if r.clientHeader != "" && name == r.clientHeader {
		h.add(header{&r.ClientHeader, value})
	}
}

// setHeaders sets the Request's fields.
func (r *Request) setHeaders(h *headers) {
	if !h.repeated {
		for _, x := range h.list {
			*x.field = x.value
		}
		return
	}
	for _, name := range authz.Headers {
		r.join(h.list, r.Header(name))
	}
	r.join(h.list, &r.ClientHeader)
}

// join joins the values of one header with commas, as Envoy does. Leading empty
// values are left out.
func (r *Request) join(list []header, field *string) {
	start := len(r.joined)
	for _, x := range list {
		if x.field != field {
			continue
		}
		if len(r.joined) > start {
			r.joined = append(r.joined, ',')
		}
		r.joined = append(r.joined, x.value...)
	}
	*field = view(r.joined[start:])
}
