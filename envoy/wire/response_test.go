package wire_test

import (
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tokengate/tokengate/envoy/wire"
)

const identity = "x-forwarded-user"

// admitted is the whole answer that lets a request in, as generated types say
// it. Without a user it is what the maker is made from.
func admitted(user, tokenID, path string) *authv3.CheckResponse {
	var headers []*corev3.HeaderValueOption
	if user != "" {
		headers = append(headers, header(identity, user))
	}
	headers = append(headers, header("x-marker", "1"))
	if path != "" {
		headers = append(headers, header(":path", path))
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: headers, HeadersToRemove: []string{"authorization", "cookie"},
		}},
		DynamicMetadata: metadata("allowed", user, tokenID),
	}
}

// passed is the answer that lets a request through as it came.
func passed() *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			HeadersToRemove: []string{identity, "x-marker"},
		}},
		DynamicMetadata: metadata("no_credential", "", ""),
	}
}

// denied is a refusal.
func denied(user, tokenID string) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode_Unauthorized},
			Headers: []*corev3.HeaderValueOption{header("content-type", "application/json"), header("www-authenticate", `Basic realm="Jira"`)},
			Body:    `{"message":"This API token has expired."}`,
		}},
		DynamicMetadata: metadata("expired", user, tokenID),
	}
}

func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
}

func metadata(reason, user, tokenID string) *structpb.Struct {
	fields := map[string]*structpb.Value{"reason": structpb.NewStringValue(reason)}
	if user != "" {
		fields["user"] = structpb.NewStringValue(user)
	}
	if tokenID != "" {
		fields["token_id"] = structpb.NewStringValue(tokenID)
	}
	return &structpb.Struct{Fields: fields}
}

// sent is the message that the codec makes of a response.
func sent(r *wire.Response) (*authv3.CheckResponse, error) {
	data, err := wire.Codec("").Marshal(r)
	if err != nil {
		return nil, err
	}
	defer data.Free()
	message := new(authv3.CheckResponse)
	return message, proto.Unmarshal(data.Materialize(), message)
}

func expect(t *testing.T, r *wire.Response, want *authv3.CheckResponse) {
	t.Helper()
	got, err := sent(r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || !proto.Equal(want, got) {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func newResponse(t testing.TB, answer *authv3.CheckResponse) *wire.Response {
	t.Helper()
	r, err := wire.NewResponse(answer)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newAllowed(t testing.TB) *wire.Allowed {
	t.Helper()
	a, err := wire.NewAllowed(admitted("", "", ""), identity)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// lengths are those at which an encoded length grows by a byte, here or in one
// of the messages around it.
func lengths() []int {
	all := []int{1, 2}
	for _, edge := range []int{1 << 7, 1 << 14} {
		for n := edge - 100; n < edge+3; n++ {
			all = append(all, n)
		}
	}
	return all
}

func TestAllowedIsTheGeneratedAnswer(t *testing.T) {
	allowed := newAllowed(t)
	expect(t, allowed.Response("fred", "0123456789ab", ""), admitted("fred", "0123456789ab", ""))
	expect(t, allowed.Response("fred", "", "/x?a=b"), admitted("fred", "", "/x?a=b"))
	expect(t, allowed.Response("ünï", "ünï", "/ü"), admitted("ünï", "ünï", "/ü"))
	for _, n := range lengths() {
		long := strings.Repeat("l", n)
		expect(t, allowed.Response(long, "0123456789ab", ""), admitted(long, "0123456789ab", ""))
		expect(t, allowed.Response("fred", long, ""), admitted("fred", long, ""))
		expect(t, allowed.Response("fred", "0123456789ab", long), admitted("fred", "0123456789ab", long))
		expect(t, allowed.Response(long, long, long), admitted(long, long, long))
	}
}

func TestResponseIsTheGeneratedAnswer(t *testing.T) {
	refusal, pass := newResponse(t, denied("", "")), newResponse(t, passed())
	for range 2 { // it is sent again and again
		expect(t, refusal, denied("", ""))
		expect(t, pass, passed())
		expect(t, refusal.WithMetadata("", ""), denied("", ""))
		expect(t, refusal.WithMetadata("fred", ""), denied("fred", ""))
		expect(t, refusal.WithMetadata("", "0123456789ab"), denied("", "0123456789ab"))
	}
	for _, n := range lengths() {
		long := strings.Repeat("l", n)
		expect(t, refusal.WithMetadata(long, "0123456789ab"), denied(long, "0123456789ab"))
		expect(t, refusal.WithMetadata("fred", long), denied("fred", long))
	}
	bare := denied("", "")
	bare.DynamicMetadata = nil
	expect(t, newResponse(t, bare), bare)
}

// What Envoy would take for an OK, or for more of one than was meant, is never
// sent.
func TestUnfinishedAnswersAreRefused(t *testing.T) {
	ok := func(change func(*authv3.CheckResponse)) *authv3.CheckResponse {
		m := admitted("", "", "")
		change(m)
		return m
	}
	for name, answer := range map[string]*authv3.CheckResponse{
		"nil":           nil,
		"empty":         {},
		"a bare OK":     {Status: &rpcstatus.Status{}},
		"a hollow OK":   {Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}},
		"a bare denial": {Status: &rpcstatus.Status{Code: 7}},
		"no status":     ok(func(m *authv3.CheckResponse) { m.Status = nil }),
		"denied and OK": ok(func(m *authv3.CheckResponse) { m.Status.Code = 7 }),
		"not UTF-8":     ok(func(m *authv3.CheckResponse) { m.GetOkResponse().HeadersToRemove = []string{"\xff"} }),
		"metadata that is not UTF-8": ok(func(m *authv3.CheckResponse) {
			m.DynamicMetadata.Fields["reason"] = structpb.NewStringValue("\xff")
		}),
	} {
		if r, err := wire.NewResponse(answer); err == nil || r != nil {
			t.Errorf("%s: NewResponse returned %v, %v", name, r, err)
		}
		if a, err := wire.NewAllowed(answer, identity); err == nil || a != nil {
			t.Errorf("%s: NewAllowed returned %v, %v", name, a, err)
		}
	}
	for name, make := range map[string]func() (*wire.Allowed, error){
		"a denial":               func() (*wire.Allowed, error) { return wire.NewAllowed(denied("", ""), identity) },
		"no header":              func() (*wire.Allowed, error) { return wire.NewAllowed(admitted("", "", ""), "") },
		"a header, not UTF-8":    func() (*wire.Allowed, error) { return wire.NewAllowed(admitted("", "", ""), "\xff") },
		"a header there already": func() (*wire.Allowed, error) { return wire.NewAllowed(admitted("fred", "", ""), "X-Forwarded-User") },
	} {
		if a, err := make(); err == nil || a != nil {
			t.Errorf("NewAllowed with %s returned %v, %v", name, a, err)
		}
	}
}

func TestEmptyResponsesAreNotSent(t *testing.T) {
	allowed, refusal := newAllowed(t), newResponse(t, denied("", ""))
	for name, r := range map[string]*wire.Response{
		"nil":              nil,
		"zero":             {},
		"nobody":           allowed.Response("", "0123456789ab", ""),
		"user, not UTF-8":  allowed.Response("\xff", "", ""),
		"id, not UTF-8":    allowed.Response("fred", "\xff", ""),
		"path, not UTF-8":  allowed.Response("fred", "", "/\xff"),
		"about nil":        (*wire.Response)(nil).WithMetadata("fred", ""),
		"about zero":       new(wire.Response).WithMetadata("fred", ""),
		"about, not UTF-8": refusal.WithMetadata("\xff", ""),
		"about id":         refusal.WithMetadata("", "\xff"),
		"about twice":      refusal.WithMetadata("fred", "").WithMetadata("fred", ""),
		"about allowed":    allowed.Response("fred", "", "").WithMetadata("", ""),
	} {
		if data, err := wire.Codec("").Marshal(r); err == nil || data != nil {
			t.Errorf("%s was sent as %q, %v", name, data.Materialize(), err)
		}
	}
}

func TestResponseOfACallIsSentOnce(t *testing.T) {
	codec, r := wire.Codec(""), newAllowed(t).Response("fred", "", "")
	data, err := codec.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Free()
	if _, err := codec.Marshal(r); err == nil {
		t.Error("it was sent twice")
	}
}

// Memory goes to another answer once gRPC has let go of it, and no sooner.
func TestResponsesDoNotShareMemory(t *testing.T) {
	codec, allowed := wire.Codec(""), newAllowed(t)
	held := map[string]mem.BufferSlice{}
	check := func(user string) {
		got := new(authv3.CheckResponse)
		if err := proto.Unmarshal(held[user].Materialize(), got); err != nil || !proto.Equal(admitted(user, "id", ""), got) {
			t.Errorf("the answer for %s became %v, %v", user, got, err)
		}
		held[user].Free()
		delete(held, user)
	}
	for i := range 300 {
		user := fmt.Sprintf("user-%d", i)
		data, err := codec.Marshal(allowed.Response(user, "id", ""))
		if err != nil {
			t.Fatal(err)
		}
		data.Ref() // gRPC's writer takes a reference, and its caller's is freed
		data.Free()
		held[user] = data
		if i%3 == 2 {
			check(fmt.Sprintf("user-%d", i/3))
		}
	}
	for user := range held {
		check(user)
	}
}
