package wire_test

import (
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/envoy/wire"
)

// addressHeader is the client header that the tests give to the decoder.
const addressHeader = "x-envoy-external-address"

// The sizes, in bytes, of the frames that a real Envoy sends for a browser's
// request: with all of its 20 headers, and with the three that it is configured
// to send.
const (
	fullSize    = 1251
	trimmedSize = 452
)

func socket(address string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// checkRequest is a CheckRequest for a request with these headers.
func checkRequest(headers map[string]string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: socket("192.0.2.17", 51234)},
		Destination: &authv3.AttributeContext_Peer{Address: socket("198.51.100.4", 8443)},
		Request: &authv3.AttributeContext_Request{
			Time: &timestamppb.Timestamp{Seconds: 1_773_500_966, Nanos: 123_456_000},
			Http: &authv3.AttributeContext_HttpRequest{
				Id: "1234567890123456789", Method: "GET", Path: "/rest/api/2/issue/PROJ-1234?expand=changelog", Headers: headers,
				Host: "jira.example.com", Scheme: "https", Protocol: "HTTP/1.1",
			},
		},
		MetadataContext:      &corev3.Metadata{},
		RouteMetadataContext: &corev3.Metadata{},
	}}
}

// authorization is as long as one with a token.
var authorization = "Bearer " + strings.Repeat("t", 67)

func trimmed() *authv3.CheckRequest {
	return padded(checkRequest(map[string]string{
		"authorization": authorization,
		"x-request-id":  "3f0a6c1e-1d2b-4c3d-8e4f-5a6b7c8d9e0f",
	}), "user-agent", trimmedSize)
}

func full() *authv3.CheckRequest {
	return padded(checkRequest(map[string]string{
		":authority": "jira.example.com", ":method": "GET", ":path": "/rest/api/2/issue/PROJ-1234?expand=changelog", ":scheme": "https",
		"authorization":     authorization,
		"x-request-id":      "3f0a6c1e-1d2b-4c3d-8e4f-5a6b7c8d9e0f",
		"user-agent":        "python-requests/2.32.3",
		"accept":            "application/json",
		"accept-encoding":   "gzip, deflate, br",
		"accept-language":   "en-US,en;q=0.9",
		"cache-control":     "no-cache",
		"content-type":      "application/json",
		"referer":           "https://jira.example.com/browse/PROJ-1234",
		"sec-fetch-dest":    "empty",
		"sec-fetch-mode":    "cors",
		"x-forwarded-for":   "192.0.2.17",
		"x-forwarded-proto": "https",
		addressHeader:       "192.0.2.17",
		"x-requested-with":  "XMLHttpRequest",
	}), "cookie", fullSize)
}

// padded pads one header so that the frame has this size.
func padded(check *authv3.CheckRequest, header string, size int) *authv3.CheckRequest {
	headers := check.GetAttributes().GetRequest().GetHttp().GetHeaders()
	for n := range size {
		headers[header] = strings.Repeat("p", n)
		if proto.Size(check) == size {
			return check
		}
	}
	panic(fmt.Sprintf("no %s makes a frame of %d bytes", header, size))
}

// rawHeaders adds headers in the form header_map.
func rawHeaders(check *authv3.CheckRequest, pairs ...string) *authv3.CheckRequest {
	var list []*corev3.HeaderValue
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	check.GetAttributes().GetRequest().GetHttp().HeaderMap = &corev3.HeaderMap{Headers: list}
	return check
}

// withMetadata adds metadata of earlier filters.
func withMetadata(check *authv3.CheckRequest) *authv3.CheckRequest {
	filter, err := structpb.NewStruct(map[string]any{"a": []any{1, "two", map[string]any{"b": nil, "c": true}}})
	if err != nil {
		panic(err)
	}
	check.Attributes.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"filter": filter}}
	check.Attributes.ContextExtensions = map[string]string{"k": "v"}
	check.Attributes.Source.Labels = map[string]string{"app": "web"}
	check.Attributes.TlsSession = &authv3.AttributeContext_TLSSession{Sni: "jira.example.com"}
	return check
}

func frameOf(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// piece encodes nested length-delimited fields, the first number outermost:
// piece("GET", 1, 4, 2, 2) is attributes.request.http.method.
func piece(content string, numbers ...protowire.Number) []byte {
	b := []byte(content)
	for i := len(numbers) - 1; i >= 0; i-- {
		b = protowire.AppendBytes(protowire.AppendTag(nil, numbers[i], protowire.BytesType), b)
	}
	return b
}

// inHTTP encodes a field of attributes.request.http.
func inHTTP(content string, numbers ...protowire.Number) []byte {
	return piece(content, append([]protowire.Number{1, 4, 2}, numbers...)...)
}

// inSource encodes a field of attributes.source.address.
func inSource(content string, numbers ...protowire.Number) []byte {
	return piece(content, append([]protowire.Number{1, 1, 1}, numbers...)...)
}

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// pair encodes the content of a header: a map's entry, or a HeaderValue.
func pair(name, value string) string { return string(join(piece(name, 1), piece(value, 2))) }

// asked is the smallest HTTP check.
var asked = join(inHTTP("GET", 2), inHTTP("/", 4))

// reading is the decoded part of a frame.
type reading struct {
	HTTP         bool
	Request      authz.Request
	Plain        bool
	Source       string
	ClientHeader string
}

func readingOf(r *wire.Request) reading {
	return reading{r.HTTP, r.Request, r.Plain, r.Source, r.ClientHeader}
}

func decode(t testing.TB, frame []byte) reading {
	t.Helper()
	r := new(wire.Request)
	if err := wire.Decode(frame, r, addressHeader); err != nil {
		t.Fatal(err)
	}
	return readingOf(r)
}
