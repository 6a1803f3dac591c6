package main

import (
	"encoding/binary"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
)

// The sizes that the marks speak of, between the two forms of a credential.
func TestQuestions(t *testing.T) {
	for _, c := range []struct {
		shape         shape
		size, headers int
	}{{full, 1251, 20}, {trimmed, 452, 3}} {
		total := 0
		for f := range forms {
			q, err := newQuestion(c.shape, f)
			if err != nil {
				t.Fatal(err)
			}
			total += q.size()
			credential := authorization(f, ownerOf(1), "tgate_0123456789012345678901234567890123456789012345678901234567890")
			copy(q.frame[q.at:], credential)
			message := q.frame[frameHeaderLength+5:]
			if n := binary.BigEndian.Uint32(q.frame[frameHeaderLength+1:]); int(n) != len(message) {
				t.Errorf("%s: the frame says %d bytes, and has %d", c.shape, n, len(message))
			}
			var read authv3.CheckRequest
			if err := proto.Unmarshal(message, &read); err != nil {
				t.Fatal(err)
			}
			if want := checkRequest(c.shape, credential); !proto.Equal(want, &read) {
				t.Errorf("%s: read as %v", c.shape, &read)
			}
			if n := len(read.GetAttributes().GetRequest().GetHttp().GetHeaders()); n != c.headers {
				t.Errorf("%s: %d headers, not %d", c.shape, n, c.headers)
			}
		}
		if size := total / int(forms); size < c.size-10 || size > c.size+10 {
			t.Errorf("%s: %d bytes, not about %d", c.shape, size, c.size)
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
		{"an allow that should name somebody", plainAllow(), ownerOf(0), errNobody},
		{"an allow for the owner", sameAnswer(), ownerOf(0), nil},
		{"an allow for somebody else", sameAnswer(), ownerOf(1), errNobody},
		{"a denial", denied, ownerOf(0), errRefused},
		{"a status that refuses", contradiction, "", errRefused},
		{"an empty answer", &authv3.CheckResponse{}, "", errRefused},
		{"a status alone", &authv3.CheckResponse{Status: &status.Status{}}, "", errRefused},
	} {
		message, err := proto.Marshal(c.answer)
		if err != nil {
			t.Fatal(err)
		}
		if got := checkAnswer(message, []byte(c.owner)); got != c.want {
			t.Errorf("%s: %v, not %v", c.name, got, c.want)
		}
	}
	if got := checkAnswer([]byte{0x0a, 0x05, 0x01}, nil); got != errUnreadable {
		t.Errorf("half a message: %v", got)
	}
}
