package jiratest

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault is a failure of Jira, or of a proxy in front of it. The zero Fault does
// nothing.
type Fault struct {
	// hold blocks until the request may be answered and returns true, or false
	// if the client has left.
	hold func(r *http.Request, off <-chan struct{}) bool

	// answer replaces Jira's response; nil leaves it to Jira.
	answer func(c *call, off <-chan struct{})

	lose bool // discards the body of Jira's response
}

// Status responds with a status and an HTML page, as a proxy does.
func Status(code int) Fault {
	return Fault{answer: func(c *call, _ <-chan struct{}) { page(c, code, http.StatusText(code), "") }}
}

// LoginPage responds with 200 and a login page, like a single sign-on in front
// of Jira.
func LoginPage() Fault {
	return Fault{answer: func(c *call, _ <-chan struct{}) {
		page(c, http.StatusOK, "Log in", "<form method=\"post\"><input name=\"user\"></form>\n")
	}}
}

// Nonsense responds with 200 and invalid JSON.
func Nonsense() Fault {
	return Fault{answer: func(c *call, _ <-chan struct{}) {
		begin(c)
		// An error means that the client has left.
		_, _ = c.w.Write([]byte(`{"name":"fred","active":tru`))
	}}
}

// Truncated responds with 200 and valid JSON, but closes the connection before
// the announced length.
func Truncated() Fault {
	return Fault{answer: func(c *call, _ <-chan struct{}) {
		c.w.Header().Set("Content-Length", "100000")
		begin(c)
		// An error means that the client has left.
		_, _ = c.w.Write([]byte(`{"values":[],"isLast":true}`))
	}}
}

// LoseAnswer lets Jira handle the request, but closes the connection after the header of
// its response.
func LoseAnswer() Fault {
	return Fault{lose: true}
}

// lostWriter discards the body of a response.
type lostWriter struct{ http.ResponseWriter }

func (w lostWriter) WriteHeader(status int) {
	w.Header().Set("Content-Length", "100000") // less than that closes the connection
	w.ResponseWriter.WriteHeader(status)
}

func (w lostWriter) Write(p []byte) (int, error) { return len(p), nil }

// Endless responds with 200 and a JSON string that ends only when the client
// leaves or the fault is stopped.
func Endless() Fault {
	return Fault{answer: func(c *call, off <-chan struct{}) {
		begin(c)
		_, err := c.w.Write([]byte(`{"name":"`))
		more := bytes.Repeat([]byte("x"), 64<<10)
		for err == nil {
			_, err = c.w.Write(more)
			select {
			case <-off:
				return
			case <-c.r.Context().Done():
				return
			default:
			}
		}
	}}
}

// Hang does not respond until the client leaves or the fault is stopped; then
// Jira responds.
func Hang() Fault { return Fault{hold: wait(nil)} }

// Slow delays Jira's response. Stopping the fault ends the delay.
func Slow(by time.Duration) Fault {
	return Fault{hold: func(r *http.Request, off <-chan struct{}) bool {
		timer := time.NewTimer(by)
		defer timer.Stop()
		return wait(timer.C)(r, off)
	}}
}

// wait returns a hold function that blocks until a time.
func wait(until <-chan time.Time) func(*http.Request, <-chan struct{}) bool {
	return func(r *http.Request, off <-chan struct{}) bool {
		select {
		case <-until:
			return true
		case <-off:
			return true
		case <-r.Context().Done():
			return false
		}
	}
}

// begin sends the header of a JSON response.
func begin(c *call) {
	c.w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	c.w.WriteHeader(http.StatusOK)
}

// Failure is an active Fault.
type Failure struct {
	fault  Fault
	prefix string
	server *Server

	met  func()
	hit  chan struct{}
	stop func()
	off  chan struct{}
}

// Fail activates a fault for requests whose path, as listed at Server and
// without the context path, has this prefix. If several match, the latest
// applies.
//
// A request that a fault answers authenticates nobody and counts no failed
// password. It counts in Total and Count on arrival, and is in Requests, as
// anonymous, when it is answered.
func (s *Server) Fail(prefix string, fault Fault) *Failure {
	f := &Failure{fault: fault, prefix: prefix, server: s, hit: make(chan struct{}), off: make(chan struct{})}
	f.met = sync.OnceFunc(func() { close(f.hit) })
	f.stop = sync.OnceFunc(func() { close(f.off) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
	return f
}

// Hit returns a channel that is closed when the first request meets the fault.
func (f *Failure) Hit() <-chan struct{} { return f.hit }

// Stop deactivates the fault. Further calls do nothing.
func (f *Failure) Stop() {
	f.server.mu.Lock()
	defer f.server.mu.Unlock()
	f.server.faults = slices.DeleteFunc(f.server.faults, func(o *Failure) bool { return o == f })
	f.stop()
}

// fail applies the fault for a path, if any, and reports whether it has handled
// the request. path excludes the context path.
func (s *Server) fail(c *call, path string) bool {
	s.mu.Lock()
	var f *Failure
	for _, o := range slices.Backward(s.faults) {
		if strings.HasPrefix(path, o.prefix) {
			f = o
			break
		}
	}
	s.mu.Unlock()
	if f == nil {
		return false
	}
	f.met()
	if f.fault.hold != nil {
		// The server notices that a client has left only after the body is
		// read.
		body, err := io.ReadAll(io.LimitReader(c.r.Body, maxBody))
		c.r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), c.r.Body))
		if err != nil || !f.fault.hold(c.r, f.off) {
			s.record(c)
			return true
		}
	}
	if f.fault.lose {
		c.w = lostWriter{c.w}
	}
	if f.fault.answer == nil {
		return false
	}
	s.record(c)
	f.fault.answer(c, f.off)
	return true
}
