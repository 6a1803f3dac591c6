package main

import (
	"encoding/binary"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
)

func TestRequestTemplate(t *testing.T) {
	for shape, headers := range map[shape]int{full: 20, trimmed: 3} {
		for f := range forms {
			template, err := newRequestTemplate(shape, f)
			if err != nil {
				t.Fatal(err)
			}
			credential := authorization(f, ownerOf(1), "tgate_0123456789012345678901234567890123456789012345678901234567890")
			copy(template.message[template.at:], credential)
			if n := binary.BigEndian.Uint32(template.message[1:]); int(n) != template.size() {
				t.Errorf("%s: length %d, want %d", shape, n, template.size())
			}
			var read authv3.CheckRequest
			if err := proto.Unmarshal(template.message[5:], &read); err != nil {
				t.Fatal(err)
			}
			if want := checkRequest(shape, credential); !proto.Equal(want, &read) {
				t.Errorf("%s: read as %v", shape, &read)
			}
			if n := len(read.GetAttributes().GetRequest().GetHttp().GetHeaders()); n != headers {
				t.Errorf("%s: %d headers, want %d", shape, n, headers)
			}
		}
	}
}

func TestCheckAnswer(t *testing.T) {
	denied := &authv3.CheckResponse{
		Status:       &status.Status{Code: 7},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{Body: ownerOf(0)}},
	}
	contradiction := plainAllow()
	contradiction.Status.Code = 16
	for _, c := range []struct {
		name   string
		answer *authv3.CheckResponse
		owner  string
		want   error
	}{
		{"an allow", plainAllow(), "", nil},
		{"an allow without the owner", plainAllow(), ownerOf(0), errOwner},
		{"an allow with the owner", sameAnswer(), ownerOf(0), nil},
		{"an allow with another owner", sameAnswer(), ownerOf(1), errOwner},
		{"a denial", denied, ownerOf(0), errRefused},
		{"a status that refuses", contradiction, "", errRefused},
		{"an empty answer", &authv3.CheckResponse{}, "", errRefused},
		{"only a status", &authv3.CheckResponse{Status: &status.Status{}}, "", errRefused},
	} {
		message, err := proto.Marshal(c.answer)
		if err != nil {
			t.Fatal(err)
		}
		if got := checkAnswer(message, c.owner); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := checkAnswer([]byte{0x0a, 0x05, 0x01}, ""); got != errUnreadable {
		t.Errorf("half a message: %v", got)
	}
}
