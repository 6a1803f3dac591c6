package wire_test

import (
	"reflect"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/envoy/wire"
)

// oracle reads the frame with the generated types.
func oracle(frame []byte, clientHeader string) (reading, error) {
	var check authv3.CheckRequest
	if err := proto.Unmarshal(frame, &check); err != nil {
		return reading{}, err
	}
	http := check.GetAttributes().GetRequest().GetHttp()
	if http.GetMethod() == "" || http.GetPath() == "" {
		return reading{}, nil
	}
	values := map[string][]string{} // by name in lower case
	if raw := http.GetHeaderMap().GetHeaders(); len(raw) > 0 {
		for _, h := range raw {
			value := h.GetValue()
			if len(h.GetRawValue()) > 0 {
				value = string(h.GetRawValue())
			}
			name := strings.ToLower(h.GetKey())
			values[name] = append(values[name], value)
		}
	} else {
		for key, value := range http.GetHeaders() {
			name := strings.ToLower(key)
			values[name] = append(values[name], value)
		}
	}
	header := func(name string) string {
		all := values[name]
		for len(all) > 0 && all[0] == "" {
			all = all[1:]
		}
		return strings.Join(all, ",")
	}
	want := reading{
		HTTP: true,
		Request: authz.Request{
			Method: http.GetMethod(), Path: http.GetPath(), Protocol: http.GetProtocol(),
			Authorization: header("authorization"), RequestID: header("x-request-id"), UserAgent: header("user-agent"),
			Upgrade: header("upgrade"), HTTPMethodOverride: header("x-http-method-override"),
			MethodOverride: header("x-method-override"), HTTPMethod: header("x-http-method"), Origin: header("origin"),
		},
		Plain:  http.GetScheme() == "http",
		Source: check.GetAttributes().GetSource().GetAddress().GetSocketAddress().GetAddress(),
	}
	if want.Request.Body = string(http.GetRawBody()); want.Request.Body == "" {
		want.Request.Body = http.GetBody()
	}
	if clientHeader != "" {
		want.ClientHeader = header(clientHeader)
	}
	return want, nil
}

// used returns a Request with the state of an earlier call, as from the pool.
func used(t testing.TB) *wire.Request {
	r := new(wire.Request)
	full := rawHeaders(full(), "Upgrade", "a", "upgrade", "b", "user-agent", "c", addressHeader, "d")
	if err := wire.Decode(frameOf(full), r, addressHeader); err != nil {
		t.Fatal(err)
	}
	return r
}

// compare compares Decode with the oracle: what the generated types read, Decode
// reads too, and with the same meaning. Decode may read a frame that they
// refuse: it skips fields that it does not need.
func compare(t testing.TB, frame []byte, clientHeader string, into *wire.Request) {
	t.Helper()
	want, wantErr := oracle(frame, clientHeader)
	err := wire.Decode(frame, into, clientHeader)
	if wantErr != nil {
		return
	}
	if err != nil {
		t.Fatalf("Decode(%q): %v", frame, err)
	}
	got := readingOf(into)
	if into.RepeatedMapKeys() { // a map has no repeated keys and no order; Decode joins the values
		got.Request, got.ClientHeader = withoutHeaders(got.Request), ""
		want.Request, want.ClientHeader = withoutHeaders(want.Request), ""
	}
	got.Request.Memory = nil           // empty before a decision
	if !reflect.DeepEqual(want, got) { // cmp.Diff alone would take ten times as long
		t.Fatalf("Decode(%q), -want +got:\n%s", frame, cmp.Diff(want, got, cmp.Comparer(sameRequest)))
	}
}

func withoutHeaders(r authz.Request) authz.Request {
	for _, name := range authz.Headers {
		*r.Header(name) = ""
	}
	return r
}

func sameRequest(a, b authz.Request) bool {
	a.Memory, b.Memory = nil, nil // empty before a decision
	return reflect.DeepEqual(a, b)
}
