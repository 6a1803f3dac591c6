package envoy

import (
	"net/http"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/envoy/wire"
)

// The challenges of a 401 (RFC 9110 §11.6.1). Basic makes a browser ask its user for
// a password in a dialog of its own, so only a client that sent Basic gets it.
const (
	basicChallenge  = `Basic realm="Jira"`
	bearerChallenge = `Bearer realm="Jira"`
)

// responses are the answers to Check, encoded before the first question.
type responses struct {
	bearer, basic fixedResponses   // the latter to clients that sent Basic
	denial        *wire.Response   // of what nobody decided
	limited       []*wire.Response // to tokens over their rate, by the seconds to wait less one
	allowed       *wire.Allowed
}

// fixedResponses are those that are the same for every token.
type fixedResponses struct {
	reasons []*wire.Response // by kindOf: all but those that let a token in
	details []*wire.Response // by Detail: refusals that have one
	lengths []*wire.Response // to tokens of another length than a token's, by their length
}

// newResponses encodes the answers. identity is the name, in lower case, of the
// header that tells Jira who is calling.
func newResponses(identity string) (*responses, error) {
	a := new(responses)
	var err error
	if a.denial, err = wire.NewResponse(denial(authz.Decision{})); err != nil {
		return nil, err
	}
	if a.bearer, err = newFixedResponses(identity, false); err != nil {
		return nil, err
	}
	if a.basic, err = newFixedResponses(identity, true); err != nil {
		return nil, err
	}
	for seconds := 1; seconds <= maxWait; seconds++ {
		answer, err := wire.NewResponse(limited(seconds))
		if err != nil {
			return nil, err
		}
		a.limited = append(a.limited, answer)
	}
	a.allowed, err = wire.NewAllowed(allowedResponse(), identity)
	return a, err
}

// newFixedResponses encodes the answers to clients that sent Basic, or did not.
func newFixedResponses(identity string, basic bool) (fixedResponses, error) {
	a := fixedResponses{reasons: make([]*wire.Response, kinds), details: make([]*wire.Response, len(authz.Details())+1)}
	var err error
	for _, reason := range authz.Reasons() {
		for _, outcome := range reason.Outcomes() {
			message := denial(authz.Decision{Reason: reason, Basic: basic})
			switch outcome {
			case authz.Allowed:
				continue
			case authz.PassThrough:
				message = passThroughResponse(reason, identity)
			}
			n, _ := kindOf(outcome, reason)
			if a.reasons[n], err = wire.NewResponse(message); err != nil {
				return a, err
			}
		}
	}
	for _, detail := range authz.Details() {
		if a.details[detail], err = wire.NewResponse(denial(authz.Decision{Reason: detail.Reason(), Detail: detail, Basic: basic})); err != nil {
			return a, err
		}
	}
	for length := range maxLength + 1 {
		answer, err := wire.NewResponse(denial(authz.Decision{Reason: authz.MalformedToken, Detail: authz.WrongLength, Length: length, Basic: basic}))
		if err != nil {
			return a, err
		}
		a.lengths = append(a.lengths, answer)
	}
	return a, nil
}

// to returns the answer to a decision. Only Passed and Admitted become an OK
// (CheckResponse.status.code 0); whatever else there is, the zero Decision
// included, becomes a denial. An OK always says what becomes of the identity
// header, so that a client's own never reaches Jira.
func (a *responses) to(d authz.Decision) *wire.Response {
	id := d.TokenID.String()
	if d.Outcome == authz.Allowed && d.Reason == authz.TokenAllowed && d.User != "" {
		return a.allowed.Response(d.User, id, d.Path)
	}
	fixed := &a.bearer
	if d.Basic {
		fixed = &a.basic
	}
	answer := a.denial
	switch {
	case d.Outcome == authz.Denied && d.Reason == authz.RateLimited:
		answer = a.tooMany(d)
	case d.Outcome == authz.Denied && d.Detail != 0 && d.Detail.Reason() == d.Reason:
		answer = fixed.details[d.Detail]
		if d.Detail == authz.WrongLength {
			answer = fixed.lengths[min(max(d.Length, 0), maxLength)]
		}
	default:
		if n, ok := kindOf(d.Outcome, d.Reason); ok && fixed.reasons[n] != nil {
			answer = fixed.reasons[n]
		}
	}
	return answer.WithMetadata(d.User, id)
}

// maxLength is up to which length of a broken token an answer says it. A longer
// one is said to have this length.
const maxLength = 200

// maxWait is up to how many seconds to wait an answer is kept.
const maxWait = 60

// tooMany returns the answer to a token over its rate.
func (a *responses) tooMany(d authz.Decision) *wire.Response {
	seconds := d.WaitSeconds()
	if seconds <= maxWait {
		return a.limited[seconds-1]
	}
	answer, err := wire.NewResponse(limited(seconds))
	if err != nil {
		return a.denial
	}
	return answer
}

// limited is the denial of a token over its rate. Clients read whole seconds
// (RFC 9110 §10.2.3).
func limited(seconds int) *authv3.CheckResponse {
	answer := denial(authz.Decision{Reason: authz.RateLimited, Wait: time.Duration(seconds) * time.Second})
	denied := answer.GetDeniedResponse()
	denied.Headers = append(denied.Headers, header("retry-after", strconv.Itoa(seconds)))
	return answer
}

// allowedResponse is the OK that lets a request in, but for what differs from call to
// call: the identity header, a new path, and whose token it is.
func allowedResponse() *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			// Envoy reads value, not raw_value, and with append unset it
			// replaces whatever was there.
			Headers:         []*corev3.HeaderValueOption{header(MarkerHeader, "1")},
			HeadersToRemove: []string{"authorization", "cookie"},
		}},
		DynamicMetadata: metadataOf(authz.TokenAllowed),
	}
}

// passThroughResponse is the OK that lets a request through as it came.
func passThroughResponse(reason authz.Reason, identity string) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			HeadersToRemove: []string{identity, MarkerHeader},
		}},
		DynamicMetadata: metadataOf(reason),
	}
}

// readableBy is what a refusal says besides to a browser application of another
// origin, so that its script may read the answer
// (https://fetch.spec.whatwg.org/#http-cors-protocol).
func readableBy(origin string) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Headers: []*corev3.HeaderValueOption{
				header("access-control-allow-origin", origin),
				header("access-control-allow-credentials", "true"),
				header("access-control-expose-headers", "Retry-After, WWW-Authenticate"),
				header("vary", "Origin"),
			},
		}},
	}
}

// denial is the answer to a refusal.
func denial(d authz.Decision) *authv3.CheckResponse {
	status := d.Reason.Status()
	headers := []*corev3.HeaderValueOption{
		header("content-type", authz.DenialType),
		header("cache-control", "no-store"),
	}
	if status == http.StatusUnauthorized {
		challenge := bearerChallenge
		if d.Basic {
			challenge = basicChallenge
		}
		headers = append(headers, header("www-authenticate", challenge))
	}
	body := string(authz.Denial(d.Text()))
	if status == http.StatusNoContent { // has neither a body nor a type (RFC 9110 §15.3.5)
		headers, body = headers[1:], ""
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)},
			Headers: headers,
			Body:    body,
		}},
		DynamicMetadata: metadataOf(d.Reason),
	}
}

func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
}

// metadataOf tells Envoy's access log what was decided
// (%DYNAMIC_METADATA(envoy.filters.http.ext_authz:reason)%); user and token_id
// are added to it for each call.
func metadataOf(reason authz.Reason) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{"reason": structpb.NewStringValue(reason.String())}}
}
