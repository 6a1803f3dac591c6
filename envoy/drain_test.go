package envoy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
)

// No client with an open connection loses a request when Envoy is stopped after Drain.
func TestDrainLosesNoRequest(t *testing.T) {
	t.Parallel()
	var socket string
	leaving := newBootstrapRig(t, passThrough, false, func(_ *config.Config, o *envoy.BootstrapOptions) { socket = o.AdminSocket })
	staying := newBootstrapRig(t, passThrough, false, nil)
	for _, rig := range []*bootstrapRig{leaving, staying} {
		go func() {
			for range rig.seen { // nothing here looks at the requests
			}
		}()
	}
	var next atomic.Pointer[string] // where new connections go, as a Service decides
	next.Store(&leaving.envoy.Addr)

	const clients = 8
	end := make(chan struct{})
	var ready, done sync.WaitGroup
	var answered, moved atomic.Int64
	ready.Add(clients)
	for range clients {
		done.Go(func() {
			first := sync.OnceFunc(ready.Done)
			for !closed(end) {
				to := *next.Load()
				n, err := untilClosed(to, first, end)
				answered.Add(n)
				if err != nil {
					t.Errorf("after %d requests on a connection to %s: %v", n, to, err)
					return
				}
				if to == leaving.envoy.Addr {
					moved.Add(1)
				}
			}
		})
	}
	ready.Wait()
	next.Store(&staying.envoy.Addr)
	open, err := envoy.Drain(t.Context(), socket, 0, time.Minute)
	if err != nil || open != 0 {
		t.Errorf("drain: %d connections are open, error %v", open, err)
	}
	leaving.envoy.Stop()
	close(end)
	done.Wait()
	if moved.Load() != clients {
		t.Errorf("Envoy ended %d of %d connections", moved.Load(), clients)
	}
	t.Logf("%d requests", answered.Load())
}

// An idle connection does not keep Drain longer than its timeout. Its next response ends it,
// and the health check fails.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	var socket string
	rig := newBootstrapRig(t, passThrough, false, func(_ *config.Config, o *envoy.BootstrapOptions) { socket = o.AdminSocket })
	idle, err := net.Dial("tcp", rig.envoy.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if err := idle.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(idle)
	if err := get(idle, answers); err != nil {
		t.Fatal(err)
	}
	if open, err := envoy.Drain(t.Context(), socket, 0, time.Millisecond); err != nil || open != 1 {
		t.Errorf("%d connections are open, error %v; want 1", open, err)
	}
	if err := get(idle, answers); err != errClose {
		t.Errorf("the next response does not end the connection: %v", err)
	}
	if resp := rig.send(t, config.PagePath+"/healthz"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("health check: status %d, want 503", resp.StatusCode)
	}
}

func TestDrainWithoutEnvoy(t *testing.T) {
	t.Parallel()
	if _, err := envoy.Drain(t.Context(), filepath.Join(t.TempDir(), "none"), 0, time.Minute); err == nil {
		t.Error("no error")
	}
}

// untilClosed sends requests on one connection until the server says that it closes it, or
// until end, and returns the number of answers. started is called after the first.
func untilClosed(addr string, started func(), end chan struct{}) (n int64, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return 0, err
	}
	answers := bufio.NewReader(conn)
	for err == nil && !closed(end) {
		if err = get(conn, answers); err == nil || err == errClose {
			n++
			started()
		}
	}
	if err == errClose {
		err = nil
	}
	return n, err
}

// errClose says that the answer is good and that the server closes the connection.
var errClose = errors.New("connection: close")

func get(conn net.Conn, answers *bufio.Reader) error {
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: jira.example.com\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", resp.StatusCode)
	case resp.Close:
		return errClose
	}
	return nil
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
