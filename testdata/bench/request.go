package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// shape is which headers Envoy sends with a Check.
type shape string

const (
	// trimmed is what Envoy sends with the configuration of `tokengate envoy
	// bootstrap`: the headers that tokengate reads, 3 of this client's.
	trimmed shape = "trimmed headers"
	// full is what Envoy sends without allowed_headers: all 20.
	full shape = "full headers"
)

const (
	searchPath = "/rest/api/2/search?jql=project%20%3D%20OPS%20ORDER%20BY%20updated&maxResults=50&fields=summary,status,assignee,updated"
	jiraHost   = "jira.example.com"
)

// checkRequest returns what Envoy 1.40 sends for a script's search in Jira, as
// captured from a real Envoy.
func checkRequest(s shape, authorization string) *authv3.CheckRequest {
	headers := map[string]string{
		"authorization": authorization,
		"user-agent":    "python-requests/2.32.3",
		"x-request-id":  "e319af8f-85a6-4d3d-af89-aef9d5d2deb9",
	}
	if s == full {
		maps.Copy(headers, map[string]string{
			":authority":               jiraHost,
			":method":                  "GET",
			":path":                    searchPath,
			":scheme":                  "https",
			"accept":                   "application/json, text/javascript, */*; q=0.01",
			"accept-encoding":          "gzip, deflate, br",
			"accept-language":          "en-GB,en;q=0.7,de;q=0.3",
			"cache-control":            "no-cache",
			"content-type":             "application/json",
			"cookie":                   "JSESSIONID=6A0C1D1B2E4F5A69788796A5B4C3D2E1; atlassian.xsrf.token=B2XA-K4QF_1d0c8e7f_lin; jira.editor.mode=wysiwyg",
			"origin":                   "https://jira.example.com",
			"referer":                  "https://jira.example.com/secure/RapidBoard.jspa?rapidView=12",
			"x-atlassian-token":        "no-check",
			"x-envoy-external-address": "10.1.2.3",
			"x-forwarded-for":          "10.1.2.3",
			"x-forwarded-proto":        "https",
			"x-requested-with":         "XMLHttpRequest",
		})
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: socketAddress("10.1.2.3", 52072)},
		Destination: &authv3.AttributeContext_Peer{Address: socketAddress("10.9.8.7", 10000)},
		Request: &authv3.AttributeContext_Request{
			Time: &timestamppb.Timestamp{Seconds: 1795418379, Nanos: 86818000},
			Http: &authv3.AttributeContext_HttpRequest{
				Id:       "16861681440528508054",
				Method:   "GET",
				Headers:  headers,
				Path:     searchPath,
				Host:     jiraHost,
				Scheme:   "https",
				Protocol: "HTTP/1.1",
			},
		},
		MetadataContext:      &corev3.Metadata{},
		RouteMetadataContext: &corev3.Metadata{},
	}}
}

func socketAddress(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// requestTemplate is an encoded CheckRequest with gRPC's 5 bytes in front.
type requestTemplate struct {
	message []byte
	at      int // where the credential is
}

// newRequestTemplate encodes a CheckRequest with room for a credential of one form.
func newRequestTemplate(s shape, f form) (requestTemplate, error) {
	room := strings.Repeat("#", formLength[f])
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(checkRequest(s, room))
	if err != nil {
		return requestTemplate{}, fmt.Errorf("encode a CheckRequest: %w", err)
	}
	message := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(encoded)))
	message = append(message, encoded...)
	at := bytes.Index(message, []byte(room))
	if at < 0 {
		return requestTemplate{}, errors.New("encode a CheckRequest: it has no credential")
	}
	return requestTemplate{message, at}, nil
}

// size returns the length of the CheckRequest in bytes.
func (t requestTemplate) size() int { return len(t.message) - 5 }

// The fields of CheckResponse that checkAnswer reads.
const (
	statusField     protowire.Number = 1
	okResponseField protowire.Number = 3
)

var (
	errUnreadable = errors.New("an answer cannot be read")
	errRefused    = errors.New("a valid token was refused")
	errOwner      = errors.New("an answer does not name the token's owner")
)

// checkAnswer checks that an encoded CheckResponse is an allow that contains the
// owner, unless owner is empty. An allow has an empty status, which is OK, and an
// ok_response. Only the outermost fields are read, because the load shares the cores
// with the server.
func checkAnswer(message []byte, owner string) error {
	allowed, named := false, owner == ""
	for len(message) > 0 {
		field, wireType, n := protowire.ConsumeTag(message)
		if n < 0 || wireType != protowire.BytesType {
			return errUnreadable
		}
		value, m := protowire.ConsumeBytes(message[n:])
		if m < 0 {
			return errUnreadable
		}
		message = message[n+m:]
		switch {
		case field == statusField && len(value) > 0:
			return errRefused
		case field == okResponseField: // may come in several parts, which protobuf merges
			allowed, named = true, named || bytes.Contains(value, []byte(owner))
		}
	}
	switch {
	case !allowed:
		return errRefused
	case !named:
		return errOwner
	}
	return nil
}
