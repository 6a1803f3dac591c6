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
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// shape is how much of a request Envoy tells.
type shape string

const (
	// trimmed is what the configuration that `tokengate envoy bootstrap` writes
	// makes Envoy send: the headers that are read, 3 of which a client has.
	trimmed shape = "trimmed headers"
	// full is what Envoy sends without allowed_headers: all 20.
	full shape = "full headers"
)

const (
	askedPath = "/rest/api/2/search?jql=project%20%3D%20OPS%20ORDER%20BY%20updated&maxResults=50&fields=summary,status,assignee,updated"
	askedHost = "jira.example.com"
)

// checkRequest returns what Envoy 1.40 asks about a script's search in Jira:
// field by field what a real one was seen to send.
func checkRequest(s shape, authorization string) *authv3.CheckRequest {
	headers := map[string]string{
		"authorization": authorization,
		"user-agent":    "python-requests/2.32.3",
		"x-request-id":  "e319af8f-85a6-4d3d-af89-aef9d5d2deb9",
	}
	if s == full {
		maps.Copy(headers, map[string]string{
			":authority":               askedHost,
			":method":                  "GET",
			":path":                    askedPath,
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
				Path:     askedPath,
				Host:     askedHost,
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

// question is a CheckRequest as a DATA frame that ends its stream. It is sent
// with another stream and another credential each time.
type question struct {
	frame []byte
	at    int // where the credential lies
}

// newQuestion encodes a CheckRequest with room for a credential of one form.
func newQuestion(s shape, f form) (question, error) {
	room := strings.Repeat("#", formLength[f])
	message, err := proto.MarshalOptions{Deterministic: true}.Marshal(checkRequest(s, room))
	if err != nil {
		return question{}, fmt.Errorf("encode a question: %w", err)
	}
	q := question{frame: appendFrameHeader(nil, 5+len(message), frameData, flagEndStream, 0)}
	q.frame = append(q.frame, 0) // gRPC: not compressed
	q.frame = binary.BigEndian.AppendUint32(q.frame, uint32(len(message)))
	q.frame = append(q.frame, message...)
	if q.at = bytes.Index(q.frame, []byte(room)); q.at < 0 {
		return question{}, errors.New("encode a question: the credential is not in it")
	}
	return q, nil
}

// size returns the length of the CheckRequest in bytes.
func (q question) size() int { return len(q.frame) - frameHeaderLength - 5 }
