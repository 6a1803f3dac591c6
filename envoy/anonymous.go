package envoy

import (
	"context"
	"errors"
	"io"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/token"
)

// With upstream.identity.pat, an upstream may serve an allowed request without a user,
// because it does not accept the owner's credential any more. Envoy replaces such an
// answer, and reports it in an access log of its own to tokengate, as it does requests whose
// client left early. Other requests cost neither of them anything.

// anonymousAnswer is the part of Envoy's configuration about these answers.
type anonymousAnswer struct {
	Header, User string // of the upstream's answer
	Status       int    // the body is one of localReplies
}

func newAnonymousAnswer(p *product.Product) *anonymousAnswer {
	return &anonymousAnswer{p.AnonymousHeader, p.AnonymousUser, authz.UpstreamCredentialBroken.Status()}
}

// conditions are the access log filters that these answers match. Other local answers
// with this status to allowed requests match too. A client that sends gRPC's type gets it
// as 200 with a gRPC status.
func (a *anonymousAnswer) conditions() []string { return a.matching("") }

// Reported are the access log filters of the requests that tokengate hears of: also those whose
// client left before the answer, so that none is hidden that way.
func (a *anonymousAnswer) Reported() []string { return a.matching(", {" + flagged("DC, DR") + "}") }

func (a *anonymousAnswer) matching(more string) []string {
	return []string{
		"or_filter: {filters: [{" + answered(a.Status) + "}, {grpc_status_filter: {statuses: [UNAVAILABLE]}}" + more + "]}",
		"metadata_filter: {matcher: {filter: " + extAuthz + ", path: [{key: reason}], value: {string_match: {exact: " + authz.TokenAllowed.String() + "}}}, match_if_key_not_found: false}",
	}
}

// extAuthz is the namespace of the metadata that tokengate's answers set.
const extAuthz = "envoy.filters.http.ext_authz"

// AnonymousAnswers receives the reports of Envoy's access log
// (envoy.service.accesslog.v3.AccessLogService).
type AnonymousAnswers struct {
	// Report is told of the token of a request. replaced says that Envoy replaced the upstream's
	// answer, which was made for nobody; otherwise the client left before the answer.
	Report func(tokenID string, replaced bool)
	Until  context.Context // ends the streams, which Envoy keeps open
}

type accessLogServer struct {
	accesslogv3.UnimplementedAccessLogServiceServer
	*AnonymousAnswers
}

// StreamAccessLogs implements accesslogv3.AccessLogServiceServer.
func (s *accessLogServer) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	received := make(chan error, 1)
	go func() { received <- s.receive(stream) }() // ends with the stream
	select {
	case err := <-received:
		if !errors.Is(err, io.EOF) {
			return err
		}
	case <-s.Until.Done():
	}
	return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
}

func (s *accessLogServer) receive(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		// In the first message Envoy describes itself in 60 KB. Decoding them would take a
		// millisecond, in which the client could send another request.
		var undecoded emptypb.Empty
		if err := stream.RecvMsg(&undecoded); err != nil {
			return err
		}
		entries, err := decodeEntries(undecoded.ProtoReflect().GetUnknown())
		if err != nil {
			return err
		}
		for _, entry := range entries {
			common := entry.GetCommonProperties()
			id := common.GetMetadata().GetFilterMetadata()[extAuthz].GetFields()["token_id"].GetStringValue()
			if replaced, left := replacedOrLeft(entry); (replaced || left) && token.ValidID(id) {
				s.Report(id, replaced)
			}
		}
	}
}

// prepareDecoding decodes an entry with the parts that Envoy sends, because the first of each type
// takes milliseconds.
func prepareDecoding() error {
	logs := &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*accesslogdatav3.HTTPAccessLogEntry{{
		CommonProperties: &accesslogdatav3.AccessLogCommon{
			DownstreamRemoteAddress: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{}}},
			StartTime:               &timestamppb.Timestamp{}, Duration: &durationpb.Duration{},
			ResponseFlags: &accesslogdatav3.ResponseFlags{},
			Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
				extAuthz: {Fields: map[string]*structpb.Value{"token_id": structpb.NewStringValue("")}},
			}},
		},
		Request: &accesslogdatav3.HTTPRequestProperties{}, Response: &accesslogdatav3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(0)},
	}}}
	encoded, err := proto.Marshal(logs)
	if err != nil {
		return err
	}
	return proto.Unmarshal(encoded, new(accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries))
}

// decodeEntries decodes the entries of a StreamAccessLogsMessage, and nothing else of it.
func decodeEntries(message []byte) (entries []*accesslogdatav3.HTTPAccessLogEntry, err error) {
	const httpLogs = 2
	for len(message) > 0 {
		number, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return nil, protowire.ParseError(tag)
		}
		length := protowire.ConsumeFieldValue(number, kind, message[tag:])
		if length < 0 {
			return nil, protowire.ParseError(length)
		}
		if number == httpLogs && kind == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(message[tag:])
			var logs accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries
			if err := proto.Unmarshal(content, &logs); err != nil {
				return nil, err
			}
			entries = append(entries, logs.GetLogEntry()...)
		}
		message = message[tag+length:]
	}
	return entries, nil
}

// replacedOrLeft reports whether Envoy replaced the upstream's answer, which was made for nobody, or
// the client left before the answer. A 503 of the upstream itself, or because it cannot be
// reached, says nothing about a credential.
func replacedOrLeft(entry *accesslogdatav3.HTTPAccessLogEntry) (replaced, left bool) {
	flags := entry.GetCommonProperties().GetResponseFlags()
	if flags.GetDownstreamConnectionTermination() || flags.GetDownstreamRemoteReset() {
		return false, true
	}
	return proto.Size(flags) == 0 && entry.GetResponse().GetResponseCodeDetails() != "via_upstream", false
}
