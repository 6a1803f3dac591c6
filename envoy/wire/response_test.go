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

// allowed is the answer to an allowed request, in generated types. Without a
// user it is the one from which the others are made.
func allowed(user, tokenID, path string) *authv3.CheckResponse {
	headers := []*corev3.HeaderValueOption{header("x-marker", "1")}
	if user != "" {
		headers = append(headers, header(identity, user))
	}
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

// passed is the answer to a request that is forwarded unchanged.
func passed() *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			HeadersToRemove: []string{identity, "x-marker"},
		}},
		DynamicMetadata: metadata("no_credential", "", ""),
	}
}

// denied is a denial.
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

// sent returns the message that the codec sends.
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
	if !proto.Equal(want, got) { // cmp.Diff alone would take ten times as long
		t.Errorf("-want +got:\n%s", cmp.Diff(want, got, protocmp.Transform()))
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

// allow makes the answer for one call.
func allow(ok *wire.Response, user, tokenID, path string) *wire.Response {
	var list [2]wire.Header
	set := append(list[:0], wire.Header{Name: identity, Value: user})
	if path != "" {
		set = append(set, wire.Header{Name: ":path", Value: path})
	}
	return ok.WithHeaders(set, user, tokenID)
}

// lengths are those at which an encoded length grows by a byte, in the field
// itself or in one of the messages around it.
func lengths() []int {
	all := []int{1, 2}
	for _, edge := range []int{1 << 7, 1 << 14} {
		for n := edge - 100; n < edge+3; n++ {
			all = append(all, n)
		}
	}
	return all
}

func TestWithHeadersEqualsGeneratedAnswer(t *testing.T) {
	ok := newResponse(t, allowed("", "", ""))
	expect(t, allow(ok, "fred", "0123456789ab", ""), allowed("fred", "0123456789ab", ""))
	expect(t, allow(ok, "fred", "", "/x?a=b"), allowed("fred", "", "/x?a=b"))
	expect(t, allow(ok, "ünï", "ünï", "/ü"), allowed("ünï", "ünï", "/ü"))
	for _, n := range lengths() {
		long := strings.Repeat("l", n)
		expect(t, allow(ok, long, "0123456789ab", ""), allowed(long, "0123456789ab", ""))
		expect(t, allow(ok, "fred", long, ""), allowed("fred", long, ""))
		expect(t, allow(ok, "fred", "0123456789ab", long), allowed("fred", "0123456789ab", long))
		expect(t, allow(ok, long, long, long), allowed(long, long, long))
	}
}

func TestResponseEqualsGeneratedAnswer(t *testing.T) {
	denial, pass := newResponse(t, denied("", "")), newResponse(t, passed())
	for range 2 { // a Response can be sent repeatedly
		expect(t, denial, denied("", ""))
		expect(t, pass, passed())
		expect(t, denial.WithMetadata("", ""), denied("", ""))
		expect(t, denial.WithMetadata("fred", ""), denied("fred", ""))
		expect(t, denial.WithMetadata("", "0123456789ab"), denied("", "0123456789ab"))
	}
	for _, n := range lengths() {
		long := strings.Repeat("l", n)
		expect(t, denial.WithMetadata(long, "0123456789ab"), denied(long, "0123456789ab"))
		expect(t, denial.WithMetadata("fred", long), denied("fred", long))
	}
	bare := denied("", "")
	bare.DynamicMetadata = nil
	expect(t, newResponse(t, bare), bare)
}

// Answers that Envoy would take for more than was meant are refused.
func TestNewResponseRefusesUnfinishedAnswers(t *testing.T) {
	ok := func(change func(*authv3.CheckResponse)) *authv3.CheckResponse {
		m := allowed("", "", "")
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
	}
}

func TestEmptyResponsesAreNotSent(t *testing.T) {
	ok, denial := newResponse(t, allowed("", "", "")), newResponse(t, denied("", ""))
	set := []wire.Header{{Name: identity, Value: "fred"}}
	for name, r := range map[string]*wire.Response{
		"nil":                          nil,
		"zero":                         {},
		"no header":                    ok.WithHeaders(nil, "fred", ""),
		"header without a name":        ok.WithHeaders([]wire.Header{{Value: "fred"}}, "fred", ""),
		"header without a value":       ok.WithHeaders([]wire.Header{set[0], {Name: "x"}}, "fred", ""),
		"header's name, not UTF-8":     ok.WithHeaders([]wire.Header{{Name: "\xff", Value: "x"}}, "fred", ""),
		"header's value, not UTF-8":    ok.WithHeaders([]wire.Header{{Name: "x", Value: "\xff"}}, "fred", ""),
		"headers of nil":               (*wire.Response)(nil).WithHeaders(set, "fred", ""),
		"headers of zero":              new(wire.Response).WithHeaders(set, "fred", ""),
		"headers of a denial":          denial.WithHeaders(set, "fred", ""),
		"headers twice":                ok.WithHeaders(set, "fred", "").WithHeaders(set, "fred", ""),
		"headers, user not UTF-8":      ok.WithHeaders(set, "\xff", ""),
		"metadata of nil":              (*wire.Response)(nil).WithMetadata("fred", ""),
		"metadata of zero":             new(wire.Response).WithMetadata("fred", ""),
		"metadata of nothing, of zero": new(wire.Response).WithMetadata("", ""),
		"metadata, user not UTF-8":     denial.WithMetadata("\xff", ""),
		"metadata, id not UTF-8":       denial.WithMetadata("", "\xff"),
		"metadata twice":               denial.WithMetadata("fred", "").WithMetadata("fred", ""),
		"metadata after headers":       ok.WithHeaders(set, "fred", "").WithMetadata("", ""),
	} {
		if data, err := wire.Codec("").Marshal(r); err == nil || data != nil {
			t.Errorf("%s was sent as %q, %v", name, data.Materialize(), err)
		}
	}
}

func TestResponseForOneCallIsSentOnce(t *testing.T) {
	codec, r := wire.Codec(""), allow(newResponse(t, allowed("", "", "")), "fred", "", "")
	data, err := codec.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Free()
	if _, err := codec.Marshal(r); err == nil {
		t.Error("it was sent twice")
	}
}

// Memory is reused once gRPC has freed it, and not before.
func TestResponsesDoNotShareMemory(t *testing.T) {
	codec, ok := wire.Codec(""), newResponse(t, allowed("", "", ""))
	held := map[string]mem.BufferSlice{}
	check := func(user string) {
		got := new(authv3.CheckResponse)
		if err := proto.Unmarshal(held[user].Materialize(), got); err != nil || !proto.Equal(allowed(user, "id", ""), got) {
			t.Errorf("the answer for %s became %v, %v", user, got, err)
		}
		held[user].Free()
		delete(held, user)
	}
	for i := range 300 {
		user := fmt.Sprintf("user-%d", i)
		data, err := codec.Marshal(allow(ok, user, "id", ""))
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
