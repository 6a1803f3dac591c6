package wire

import (
	"errors"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// The fields that are read, by message (external_auth.proto,
// attribute_context.proto, address.proto, base.proto). All of them are
// length-delimited.
const (
	checkAttributes protowire.Number = 1

	attributesSource  protowire.Number = 1
	attributesRequest protowire.Number = 4

	peerAddress protowire.Number = 1

	// A oneof: each of the three replaces the others.
	addressSocket   protowire.Number = 1
	addressPipe     protowire.Number = 2
	addressInternal protowire.Number = 3

	socketAddress protowire.Number = 2

	requestHTTP protowire.Number = 2

	httpMethod    protowire.Number = 2
	httpHeaders   protowire.Number = 3
	httpPath      protowire.Number = 4
	httpScheme    protowire.Number = 6
	httpProtocol  protowire.Number = 10
	httpBody      protowire.Number = 11
	httpRawBody   protowire.Number = 12
	httpHeaderMap protowire.Number = 13

	headerMapHeaders protowire.Number = 1

	headerKey   protowire.Number = 1 // of HeaderValue, and of an entry of headers
	headerValue protowire.Number = 2 // of both
	headerRaw   protowire.Number = 3 // of HeaderValue only
)

// The errors do not quote the frame, which holds a client's text.
var (
	errMalformed = errors.New("malformed CheckRequest")
	errNotUTF8   = errors.New("malformed CheckRequest: a string is not UTF-8")
)

// read calls field for each length-delimited field of a message. Later
// occurrences of a message field are merged into earlier ones, and the last
// value of a string field wins, as in proto.Unmarshal.
func (r *Request) read(message []byte, field func(r *Request, number protowire.Number, content []byte) error) error {
	for {
		number, content, rest, err := nextField(message)
		if number == 0 {
			return err
		}
		if err := field(r, number, content); err != nil {
			return err
		}
		message = rest
	}
}

func (r *Request) readCheck(number protowire.Number, content []byte) error {
	if number == checkAttributes {
		return r.read(content, (*Request).readAttributes)
	}
	return nil
}

func (r *Request) readAttributes(number protowire.Number, content []byte) error {
	switch number {
	case attributesSource:
		return r.read(content, (*Request).readPeer)
	case attributesRequest:
		return r.read(content, (*Request).readRequest)
	}
	return nil
}

func (r *Request) readPeer(number protowire.Number, content []byte) error {
	if number == peerAddress {
		return r.read(content, (*Request).readAddress)
	}
	return nil
}

func (r *Request) readAddress(number protowire.Number, content []byte) error {
	switch number {
	case addressSocket:
		return r.read(content, (*Request).readSocket)
	case addressPipe, addressInternal:
		r.Source = ""
	}
	return nil
}

func (r *Request) readSocket(number protowire.Number, content []byte) error {
	if number == socketAddress {
		return setText(&r.Source, content)
	}
	return nil
}

func (r *Request) readRequest(number protowire.Number, content []byte) error {
	if number == requestHTTP {
		return r.read(content, (*Request).readHTTP)
	}
	return nil
}

func (r *Request) readHTTP(number protowire.Number, content []byte) error {
	switch number {
	case httpHeaders:
		return r.readHeader(content, &r.mapped)
	case httpMethod:
		return setText(&r.Method, content)
	case httpPath:
		return setText(&r.Path, content)
	case httpScheme:
		r.Plain = string(content) == "http"
	case httpProtocol:
		return setText(&r.Protocol, content)
	case httpBody:
		return setText(&r.body, content)
	case httpRawBody:
		r.rawBody = view(content)
	case httpHeaderMap:
		return r.read(content, (*Request).readHeaderMap)
	}
	return nil
}

func (r *Request) readHeaderMap(number protowire.Number, content []byte) error {
	if number == headerMapHeaders {
		return r.readHeader(content, &r.raw)
	}
	return nil
}

// readHeader reads a HeaderValue or an entry of headers. A raw_value that is not
// empty takes precedence over value.
func (r *Request) readHeader(message []byte, into *headers) error {
	var key, value string
	var raw []byte
	for {
		number, content, rest, err := nextField(message)
		if err != nil {
			return err
		}
		if number == 0 {
			break
		}
		switch number {
		case headerKey:
			err = setText(&key, content)
		case headerValue:
			err = setText(&value, content)
		case headerRaw:
			if into == &r.raw {
				raw = content
			}
		}
		if err != nil {
			return err
		}
		message = rest
	}
	if len(raw) > 0 {
		value = view(raw)
	}
	r.collect(into, key, value)
	return nil
}

// nextField returns the next length-delimited field of a message, known or not,
// and the bytes after it. Other wire types are skipped: no field that is read
// has one. At the end of the message the number is 0.
func nextField(b []byte) (number protowire.Number, content, rest []byte, err error) {
	for len(b) > 0 {
		// Nearly all fields have a tag and a length of one byte each.
		if len(b) >= 2 && b[0] >= 1<<3 && b[0] < 0x80 && b[0]&7 == byte(protowire.BytesType) && b[1] < 0x80 {
			end := 2 + int(b[1])
			if end > len(b) {
				return 0, nil, nil, errMalformed
			}
			return protowire.Number(b[0] >> 3), b[2:end], b[end:], nil
		}
		number, wireType, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, nil, nil, errMalformed
		}
		b = b[n:]
		if wireType == protowire.BytesType {
			content, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return 0, nil, nil, errMalformed
			}
			return number, content, b[n:], nil
		}
		if n = protowire.ConsumeFieldValue(number, wireType, b); n < 0 {
			return 0, nil, nil, errMalformed
		}
		b = b[n:]
	}
	return 0, nil, nil, nil
}

// setText sets a string field, which must be UTF-8.
func setText(field *string, content []byte) error {
	if !utf8.Valid(content) {
		return errNotUTF8
	}
	*field = view(content)
	return nil
}

// view returns a string that shares b's memory, which the Request owns and
// leaves unchanged until it is released or decoded into again.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
