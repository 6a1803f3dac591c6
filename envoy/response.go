package envoy

import (
	"errors"
	"fmt"
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
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy/wire"
)

// responses are the answers to Check, encoded at startup.
type responses struct {
	headers       upstreamHeaders
	realm         string           // of the challenges
	bearer, basic fixedResponses   // basic is for clients that sent Basic
	undecided     *wire.Response   // the denial of decisions that have no other answer
	rateLimited   []*wire.Response // by the seconds to wait minus one
	allowed       *wire.Response
}

// fixedResponses are the answers that do not depend on the token.
type fixedResponses struct {
	reasons []*wire.Response // by kindOf; nil for allowed requests
	details []*wire.Response // by Detail
	lengths []*wire.Response // for tokens of a wrong length, by length
}

// newResponses encodes the answers.
func newResponses(u config.Upstream) (*responses, error) {
	p := config.Products[u.Product]
	a := &responses{headers: newUpstreamHeaders(u)}
	if p == nil || !a.headers.known() {
		return nil, errors.New("encode the answers: the product is unknown, or neither or both of an identity header and credentials are configured")
	}
	a.realm = p.Realm
	var err error
	if a.undecided, err = wire.NewResponse(a.denial(authz.Decision{})); err != nil {
		return nil, err
	}
	if a.bearer, err = a.newFixed(false); err != nil {
		return nil, err
	}
	if a.basic, err = a.newFixed(true); err != nil {
		return nil, err
	}
	for seconds := 1; seconds <= maxWait; seconds++ {
		answer, err := wire.NewResponse(a.newRateLimited(seconds))
		if err != nil {
			return nil, err
		}
		a.rateLimited = append(a.rateLimited, answer)
	}
	a.allowed, err = wire.NewResponse(okResponse(authz.TokenAllowed, a.headers.removed()))
	return a, err
}

// newFixed encodes the answers to clients that sent Basic, or did not.
func (r *responses) newFixed(basic bool) (fixedResponses, error) {
	fixed := fixedResponses{reasons: make([]*wire.Response, kinds), details: make([]*wire.Response, len(authz.Details())+1)}
	var err error
	for _, reason := range authz.Reasons() {
		for _, outcome := range reason.Outcomes() {
			message := r.denial(authz.Decision{Reason: reason, Basic: basic})
			switch outcome {
			case authz.Allowed:
				continue
			case authz.PassThrough:
				message = okResponse(reason, r.headers.reserved())
			}
			n, _ := kindOf(outcome, reason)
			if fixed.reasons[n], err = wire.NewResponse(message); err != nil {
				return fixed, err
			}
		}
	}
	for _, detail := range authz.Details() {
		if fixed.details[detail], err = wire.NewResponse(r.denial(authz.Decision{Reason: detail.Reason(), Detail: detail, Basic: basic})); err != nil {
			return fixed, err
		}
	}
	for length := range maxLength + 1 {
		answer, err := wire.NewResponse(r.denial(authz.Decision{Reason: authz.MalformedToken, Detail: authz.WrongLength, Length: length, Basic: basic}))
		if err != nil {
			return fixed, err
		}
		fixed.lengths = append(fixed.lengths, answer)
	}
	return fixed, nil
}

// to returns the answer to a decision. Only PassThrough and Allowed become an OK
// (CheckResponse.status.code 0); every other decision, including the zero one,
// becomes a denial. An OK always sets or removes the identity header, so a
// client's own never reaches the upstream.
func (r *responses) to(d authz.Decision) *wire.Response {
	id := d.TokenID.String()
	if d.Outcome == authz.Allowed && d.Reason == authz.TokenAllowed && d.User != "" {
		var list [maxUpstreamHeaders]wire.Header
		set := r.headers.set(list[:0], &d)
		switch {
		case !r.headers.pat:
			return r.allowed.WithHeaders(set, d.User, id)
		case d.Upstream != nil:
			return r.allowed.WithEncodedHeaders(d.Upstream.Answer(), set, d.User, id)
		}
		return r.undecided // without its credential, the upstream would serve it as anonymous
	}
	fixed := &r.bearer
	if d.Basic {
		fixed = &r.basic
	}
	answer := r.undecided
	switch {
	case d.Outcome == authz.Denied && d.Reason == authz.RateLimited:
		answer = r.toRateLimited(d)
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

const (
	maxLength = 200 // the largest length of a malformed token that an answer states; longer ones are said to have it
	maxWait   = 60  // up to how many seconds of waiting the answers are encoded at startup
)

// toRateLimited returns the answer to a token that exceeds its rate.
func (r *responses) toRateLimited(d authz.Decision) *wire.Response {
	seconds := d.WaitSeconds()
	if seconds <= maxWait {
		return r.rateLimited[seconds-1]
	}
	answer, err := wire.NewResponse(r.newRateLimited(seconds))
	if err != nil {
		return r.undecided
	}
	return answer
}

// newRateLimited is the denial of a token that exceeds its rate. Retry-After is in
// whole seconds (RFC 9110 §10.2.3).
func (r *responses) newRateLimited(seconds int) *authv3.CheckResponse {
	answer := r.denial(authz.Decision{Reason: authz.RateLimited, Wait: time.Duration(seconds) * time.Second})
	denied := answer.GetDeniedResponse()
	denied.Headers = append(denied.Headers, header("retry-after", strconv.Itoa(seconds)))
	return answer
}

// okResponse is the OK that forwards a request without the headers to remove.
func okResponse(reason authz.Reason, remove []string) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{HeadersToRemove: remove}},
		DynamicMetadata: metadataOf(reason),
	}
}

// corsHeaders are added to a denial so that a browser application of another
// origin can read it (https://fetch.spec.whatwg.org/#http-cors-protocol).
func corsHeaders(origin string) *authv3.CheckResponse {
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

// denial is the answer to a denied request. The challenge of a 401 is Basic only for
// clients that sent Basic, because it makes a browser show its password dialog
// (RFC 9110 §11.6.1).
func (r *responses) denial(d authz.Decision) *authv3.CheckResponse {
	status := d.Reason.Status()
	headers := []*corev3.HeaderValueOption{
		header("content-type", authz.DenialType),
		header("cache-control", "no-store"),
	}
	if status == http.StatusUnauthorized {
		scheme := "Bearer"
		if d.Basic {
			scheme = "Basic"
		}
		headers = append(headers, header("www-authenticate", fmt.Sprintf("%s realm=%q", scheme, r.realm)))
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

// metadataOf is the reason for Envoy's access log
// (%DYNAMIC_METADATA(envoy.filters.http.ext_authz:reason)%); user and token_id
// are added for each call.
func metadataOf(reason authz.Reason) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{"reason": structpb.NewStringValue(reason.String())}}
}
