package envoy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client that sends Expect: 100-continue gets a denial before it sends the body,
// and otherwise Jira's own 100.
func TestEnvoyAnswersExpect(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	for name, c := range map[string]struct {
		check checkFunc
		want  int // the status of the first answer
	}{"refused": {denied("no", 403), 403}, "allowed": {passThrough, 100}} {
		t.Run(name, func(t *testing.T) {
			rig := newBootstrapRig(t, c.check, false, nil)
			conn, err := net.Dial("tcp", rig.envoy.Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "POST /rest/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", size)
			r := bufio.NewReader(conn)
			line, err := r.ReadString('\n')
			if want := fmt.Sprintf("HTTP/1.1 %d ", c.want); err != nil || !strings.HasPrefix(line, want) {
				t.Fatalf("the first line is %q, %v, want %s", line, err, want)
			}
			if c.want != 100 {
				rig.gotNothing(t)
				return
			}
			if line, err = r.ReadString('\n'); err != nil || line != "\r\n" {
				t.Fatalf("after the 100 comes %q, %v", line, err)
			}
			if _, err := io.WriteString(conn, strings.Repeat("x", size)); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(body) != fmt.Sprint("jira", size) {
				t.Errorf("status %d, %q, %v", resp.StatusCode, body, err)
			}
		})
	}
}

// Without Expect, a client can read the denial while it sends the body. Envoy stops
// reading and resets the connection after delayed_close_timeout.
func TestEnvoyDeniesUploads(t *testing.T) {
	t.Parallel()
	const size = 30 << 20
	rig := newBootstrapRig(t, denied("no", 403), false, nil)
	conn, err := net.Dial("tcp", rig.envoy.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /rest/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, strings.Repeat("x", size))
		sent <- err
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 403 || len(body) == 0 {
		t.Errorf("status %d, %q, %v", resp.StatusCode, body, err)
	}
	if err := <-sent; err == nil {
		t.Error("Envoy read the whole body of a denied upload")
	}
	rig.gotNothing(t)
}
