package envoy

import (
	"net/http"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tokengate/tokengate/authz"
)

// challenge tells clients that wait to be asked that Basic will do.
const challenge = `Basic realm="Jira"`

// responseTo encodes a decision. Only Passed and Admitted become an OK
// (CheckResponse.status.code 0); whatever else there is, the zero Decision
// included, becomes a denial. An OK always says what becomes of the identity
// header, so that a client's own never reaches Jira.
func responseTo(d authz.Decision, identity string) *authv3.CheckResponse {
	switch {
	case d.Outcome == authz.Admitted && d.User != "":
		return admit(d, identity)
	case d.Outcome == authz.Passed:
		return &authv3.CheckResponse{
			Status: &rpcstatus.Status{Code: int32(codes.OK)},
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
				HeadersToRemove: []string{identity, MarkerHeader},
			}},
			DynamicMetadata: metadataOf(d),
		}
	}
	return deny(d)
}

func admit(d authz.Decision, identity string) *authv3.CheckResponse {
	// Envoy reads value, not raw_value, and with append unset it replaces
	// whatever was there.
	headers := []*corev3.HeaderValueOption{header(identity, d.User), header(MarkerHeader, "1")}
	if d.Path != "" {
		headers = append(headers, header(":path", d.Path))
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers:         headers,
			HeadersToRemove: []string{"authorization", "cookie"},
		}},
		DynamicMetadata: metadataOf(d),
	}
}

func deny(d authz.Decision) *authv3.CheckResponse {
	status := d.Reason.Status()
	headers := []*corev3.HeaderValueOption{
		header("content-type", authz.DenialType),
		header("cache-control", "no-store"),
	}
	if status == http.StatusUnauthorized {
		headers = append(headers, header("www-authenticate", challenge))
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)},
			Headers: headers,
			Body:    string(authz.Denial(d.Reason.Text())),
		}},
		DynamicMetadata: metadataOf(d),
	}
}

func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
}

// metadataOf tells Envoy's access log what was decided
// (%DYNAMIC_METADATA(envoy.filters.http.ext_authz:user)% and the like).
func metadataOf(d authz.Decision) *structpb.Struct {
	fields := map[string]*structpb.Value{"reason": structpb.NewStringValue(d.Reason.String())}
	if d.User != "" {
		fields["user"] = structpb.NewStringValue(d.User)
	}
	if id := d.TokenID.String(); id != "" {
		fields["token_id"] = structpb.NewStringValue(id)
	}
	return &structpb.Struct{Fields: fields}
}
