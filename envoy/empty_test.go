package envoy

import (
	"context"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/zap"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tokengate/tokengate/authz"
)

// Envoy takes an empty message for an OK, so no decision may encode as one, and
// only the two outcomes that are an OK may encode as an OK.
func TestEveryDecisionEncodesWhole(t *testing.T) {
	for outcome := range authz.Outcome(6) {
		for reason := range authz.Reason(40) {
			for _, user := range []string{"", "fred"} {
				answer := responseTo(authz.Decision{Outcome: outcome, Reason: reason, User: user}, "x-forwarded-user")
				wire, err := proto.Marshal(answer)
				if err != nil || len(wire) == 0 || !whole(answer) {
					t.Errorf("%v %v encodes as %d bytes, %v", outcome, reason, len(wire), err)
				}
				wantOK := outcome == authz.Passed || outcome == authz.Admitted && user != ""
				if gotOK := answer.GetStatus().GetCode() == 0; gotOK != wantOK {
					t.Errorf("%v %v for user %q encodes as OK: %v", outcome, reason, user, gotOK)
				}
				if denied := answer.GetDeniedResponse(); !wantOK && (denied == nil || denied.GetStatus().GetCode() < 400) {
					t.Errorf("%v %v is denied with %v", outcome, reason, denied.GetStatus())
				}
			}
		}
	}
}

func TestUnfinishedAnswersNeverLeave(t *testing.T) {
	s := &Server{Log: zap.NewNop()}
	for name, answer := range map[string]*authv3.CheckResponse{
		"nil":           nil,
		"empty":         {},
		"a bare OK":     {Status: &rpcstatus.Status{}},
		"a hollow OK":   {Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}},
		"a bare denial": {Status: &rpcstatus.Status{Code: 7}},
	} {
		got, err := s.refuseEmpty(context.Background(), nil, nil, func(context.Context, any) (any, error) { return answer, nil })
		if got != nil || status.Code(err) != codes.Internal {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
