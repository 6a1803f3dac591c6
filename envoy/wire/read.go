package wire

import (
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
)

// The fields that are read, by message (external_auth.proto,
// attribute_context.proto, address.proto, base.proto). All of them are
// length-delimited; the same number in another wire type is an unknown field.
const (
	checkAttributes protowire.Number = 1

	attributesSource  protowire.Number = 1
	attributesRequest protowire.Number = 4

	peerAddress protowire.Number = 1

	// One of the three: another one takes the place of what was there.
	addressSocket   protowire.Number = 1
	addressPipe     protowire.Number = 2
	addressInternal protowire.Number = 3

	socketAddress protowire.Number = 2

	requestHTTP protowire.Number = 2

	httpMethod    protowire.Number = 2
	httpHeaders   protowire.Number = 3
	httpPath      protowire.Number = 4
	httpProtocol  protowire.Number = 10
	httpBody      protowire.Number = 11
	httpRawBody   protowire.Number = 12
	httpHeaderMap protowire.Number = 13

	headerMapHeaders protowire.Number = 1

	headerKey   protowire.Number = 1 // of HeaderValue, and of an entry of headers
	headerValue protowire.Number = 2 // the same
	headerRaw   protowire.Number = 3 // of HeaderValue only
)

// The forms of the messages that are read, for the fields that are not.
var (
	checkForm       = formOf((*authv3.CheckRequest)(nil).ProtoReflect().Descriptor())
	attributesForm  = checkForm.message(checkAttributes)
	peerForm        = attributesForm.message(attributesSource)
	addressForm     = peerForm.message(peerAddress)
	socketForm      = addressForm.message(addressSocket)
	requestForm     = attributesForm.message(attributesRequest)
	httpForm        = requestForm.message(requestHTTP)
	headerMapForm   = httpForm.message(httpHeaderMap)
	headerValueForm = headerMapForm.message(headerMapHeaders)
)

// How deep the messages lie: proto.Unmarshal has a limit.
const (
	checkLevel = 1 + iota
	attributesLevel
	peerLevel    // and Request
	addressLevel // and HttpRequest
	socketLevel  // and HeaderMap, and an entry of headers
	headerValueLevel
)

// A message may come in pieces, which are merged: each of the functions below
// adds one piece to what was read before, so that the last value of a field
// stands.

func (r *Request) readCheck(b []byte) error {
	for {
		number, content, rest, err := nextField(b)
		if number == 0 {
			return err
		}
		switch number {
		case checkAttributes:
			err = r.readAttributes(content)
		default:
			err = checkForm.checkField(number, content, checkLevel)
		}
		if err != nil {
			return err
		}
		b = rest
	}
}

func (r *Request) readAttributes(b []byte) error {
	for {
		number, content, rest, err := nextField(b)
		if number == 0 {
			return err
		}
		switch number {
		case attributesSource:
			err = r.readSource(content)
		case attributesRequest:
			err = r.readRequest(content)
		default:
			err = attributesForm.checkField(number, content, attributesLevel)
		}
		if err != nil {
			return err
		}
		b = rest
	}
}

func (r *Request) readSource(b []byte) error {
	for {
		number, content, rest, err := nextField(b)
		if number == 0 {
			return err
		}
		switch number {
		case peerAddress:
			err = r.readAddress(content)
		default:
			err = peerForm.checkField(number, content, peerLevel)
		}
		if err != nil {
			return err
		}
		b = rest
	}
}

func (r *Request) readAddress(b []byte) error {
	for {
		number, content, rest, err := nextField(b)
		if number == 0 {
			return err
		}
		switch number {
		case addressSocket:
			err = r.readSocket(content)
		case addressPipe, addressInternal:
			r.Source = ""
			err = addressForm.checkField(number, content, addressLevel)
		default:
			err = addressForm.checkField(number, content, addressLevel)
		}
		if err != nil {
			return err
		}
		b = rest
	}
}

func (r *Request) readSocket(b []byte) error {
	for {
		number, content, rest, err := nextField(b)
		if number == 0 {
			return err
		}
		switch number {
		case socketAddress:
			r.Source, err = text(content)
		default:
			err = socketForm.checkField(number, content, socketLevel)
		}
		if err != nil {
			return err
		}
		b = rest
	}
}

func (r *Request) readRequest(b []byte) error {
	for {
		number, content, rest, err := nextField(b)
		if number == 0 {
			return err
		}
		switch number {
		case requestHTTP:
			err = r.readHTTP(content)
		default:
			err = requestForm.checkField(number, content, peerLevel)
		}
		if err != nil {
			return err
		}
		b = rest
	}
}

func (r *Request) readHTTP(b []byte) error {
	for {
		number, content, rest, err := nextField(b)
		if number == 0 {
			return err
		}
		switch number {
		case httpHeaders:
			err = r.readMapEntry(content)
		case httpMethod:
			r.Method, err = text(content)
		case httpPath:
			r.Path, err = text(content)
		case httpProtocol:
			r.Protocol, err = text(content)
		case httpBody:
			r.body, err = text(content)
		case httpRawBody:
			r.rawBody = view(content)
		case httpHeaderMap:
			err = r.readHeaderMap(content)
		default:
			err = httpForm.checkField(number, content, addressLevel)
		}
		if err != nil {
			return err
		}
		b = rest
	}
}

// readMapEntry reads an entry of headers: a message with a key and a value.
func (r *Request) readMapEntry(b []byte) error {
	var key, value string
	for {
		number, content, rest, err := nextField(b)
		if err != nil {
			return err
		}
		if number == 0 {
			break
		}
		switch number {
		case headerKey:
			key, err = text(content)
		case headerValue:
			value, err = text(content)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	r.collect(&r.mapped, key, value)
	return nil
}

func (r *Request) readHeaderMap(b []byte) error {
	for {
		number, content, rest, err := nextField(b)
		if number == 0 {
			return err
		}
		switch number {
		case headerMapHeaders:
			err = r.readHeaderValue(content)
		default:
			err = headerMapForm.checkField(number, content, socketLevel)
		}
		if err != nil {
			return err
		}
		b = rest
	}
}

// readHeaderValue reads a header of header_map. raw_value counts where Envoy
// filled it, value otherwise.
func (r *Request) readHeaderValue(b []byte) error {
	var key, value string
	var raw []byte
	for {
		number, content, rest, err := nextField(b)
		if err != nil {
			return err
		}
		if number == 0 {
			break
		}
		switch number {
		case headerKey:
			key, err = text(content)
		case headerValue:
			value, err = text(content)
		case headerRaw:
			raw = content
		default:
			err = headerValueForm.checkField(number, content, headerValueLevel)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	if len(raw) > 0 {
		value = view(raw)
	}
	r.collect(&r.raw, key, value)
	return nil
}
