package envoy

import (
	"context"
	"errors"
	"io"

	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/proto"

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
func (a *anonymousAnswer) Reported() []string { return a.matching(", {" + flagged("DC") + "}") }

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
	Report func(tokenID string)
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
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, entry := range m.GetHttpLogs().GetLogEntry() {
			common := entry.GetCommonProperties()
			id := common.GetMetadata().GetFilterMetadata()[extAuthz].GetFields()["token_id"].GetStringValue()
			if isSuspicious(entry) && token.ValidID(id) {
				s.Report(id)
			}
		}
	}
}

// isSuspicious reports whether the upstream may have served the request as nobody's: Envoy
// replaced its answer, or the client left before it. A 503 of the upstream itself, or because
// it cannot be reached, says nothing about a credential.
func isSuspicious(entry *accesslogdatav3.HTTPAccessLogEntry) bool {
	flags := entry.GetCommonProperties().GetResponseFlags()
	if flags.GetDownstreamConnectionTermination() {
		return true
	}
	return proto.Size(flags) == 0 && entry.GetResponse().GetResponseCodeDetails() != "via_upstream"
}
