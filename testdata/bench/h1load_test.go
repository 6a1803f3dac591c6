// These tests put load on servers for a moment, and want a machine that is not
// busy with others: make test-long runs them.

//go:build long

package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// startUpstream starts the upstream in this process.
func startUpstream(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go serveUpstream(l)
	return l.Addr().String()
}

func edgeLoad(t *testing.T, address string, conns int) *h1load {
	t.Helper()
	c, err := newCredentials(300)
	if err != nil {
		t.Fatal(err)
	}
	return &h1load{address: address, conns: conns, credentials: c}
}

func TestUpstream(t *testing.T) {
	address := startUpstream(t)
	for _, c := range []struct{ header, want string }{{"", nobody}, {"X-Forwarded-User", "fred"}, {"x-forwarded-user", "wilma"}} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.header != "" {
			request.Header[c.header] = []string{c.want}
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(body)); got != c.want || len(body) != bodyLength {
			t.Errorf("the upstream saw %q, not %q", got, c.want)
		}
	}
}

func TestClosedLoop(t *testing.T) {
	load := edgeLoad(t, startUpstream(t), 4)
	result, err := load.closed(t.Context(), short)
	if err != nil {
		t.Fatal(err)
	}
	if result.answers == 0 || result.took < short || load.cursor != result.answers {
		t.Errorf("%d answers in %v", result.answers, result.took)
	}
	load.user = seesOwner
	if _, err := load.closed(t.Context(), short); err == nil || !strings.Contains(err.Error(), "the upstream saw") {
		t.Errorf("an upstream that saw nobody gives %v", err)
	}
}

func TestFixedRate(t *testing.T) {
	load := edgeLoad(t, startUpstream(t), 8)
	result, err := load.paced(t.Context(), 1000, 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if load.cursor != 300 {
		t.Errorf("%d requests were sent, not 300", load.cursor)
	}
	if result.p50 <= 0 || result.p99 < result.p50 || result.p999 < result.p99 {
		t.Errorf("percentiles %v", result)
	}
	load.user = seesOwner
	if _, err := load.paced(t.Context(), 1000, 300*time.Millisecond); err == nil || !strings.Contains(err.Error(), "the upstream saw") {
		t.Errorf("an upstream that saw nobody gives %v", err)
	}
}

// A server that stalls once makes every request late that was due meanwhile:
// here most of them, on the one connection that there is.
func TestFixedRateCountsWhatAStallHoldsUp(t *testing.T) {
	const stall, requests = 150 * time.Millisecond, 200
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in, out := bufio.NewReader(conn), bufio.NewWriter(conn)
		for first := true; ; first = false {
			if _, err := readHead(in); err != nil {
				return
			}
			if first {
				<-time.After(stall)
			}
			io.WriteString(out, "HTTP/1.1 200 OK\r\ncontent-length: 512\r\n\r\n"+nobody+strings.Repeat(" ", bodyLength-len(nobody)))
			if out.Flush() != nil {
				return
			}
		}
	}()
	result, err := edgeLoad(t, l.Addr().String(), 1).paced(t.Context(), 1000, requests*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if result.p50 < 20*time.Millisecond || result.p99 < stall-20*time.Millisecond {
		t.Errorf("after a stall of %v, p50 is %v and p99 %v", stall, result.p50, result.p99)
	}
}
