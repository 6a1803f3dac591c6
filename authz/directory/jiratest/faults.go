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

// Fault is a way in which Jira, or something before it, fails. The zero Fault
// does nothing.
type Fault struct {
	// hold keeps the request until it may be answered, which is true, or until
	// nobody waits for the answer.
	hold func(r *http.Request, off <-chan struct{}) bool

	// answer answers in Jira's place; nil: Jira does.
	answer func(c *call, off <-chan struct{})
}

// Status answers with a status and a page of HTML, as a proxy does.
func Status(code int) Fault {
	return Fault{answer: func(c *call, _ <-chan struct{}) { page(c, code, http.StatusText(code), "") }}
}

// LoginPage answers 200 and a page that asks to log in, as a single sign-on
// before Jira does.
func LoginPage() Fault {
	return Fault{answer: func(c *call, _ <-chan struct{}) {
		page(c, http.StatusOK, "Log in", "<form method=\"post\"><input name=\"user\"></form>\n")
	}}
}

// Nonsense answers 200 and what says that it is JSON and isn't.
func Nonsense() Fault {
	return Fault{answer: func(c *call, _ <-chan struct{}) {
		begin(c)
		// What fails now fails because the client is gone.
		_, _ = c.w.Write([]byte(`{"name":"fred","active":tru`))
	}}
}

// Truncated answers 200 and JSON that is whole, but ends the connection before
// the length that it announced.
func Truncated() Fault {
	return Fault{answer: func(c *call, _ <-chan struct{}) {
		c.w.Header().Set("Content-Length", "100000")
		begin(c)
		// What fails now fails because the client is gone.
		_, _ = c.w.Write([]byte(`{"values":[],"isLast":true}`))
	}}
}

// Endless answers 200 and a JSON string that goes on until the client is gone
// or the fault is switched off.
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

// Hang answers nothing until the client is gone or the fault is switched off;
// then Jira answers who still waits.
func Hang() Fault { return Fault{hold: wait(nil)} }

// Slow answers as Jira does, but later. Who waits when the fault is switched
// off is answered at once.
func Slow(by time.Duration) Fault {
	return Fault{hold: func(r *http.Request, off <-chan struct{}) bool {
		timer := time.NewTimer(by)
		defer timer.Stop()
		return wait(timer.C)(r, off)
	}}
}

// wait returns what holds a request until a time comes.
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

// begin begins what looks like an answer of Jira's REST.
func begin(c *call) {
	c.w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	c.w.WriteHeader(http.StatusOK)
}

// Failure is a Fault that is switched on.
type Failure struct {
	fault  Fault
	prefix string
	server *Server

	met  func()
	hit  chan struct{}
	stop func()
	off  chan struct{}
}

// Fail switches a fault on for requests whose path, behind the context path
// and as Server lists it, begins with a prefix; an empty one is for all. Of
// several that fit, the one that was switched on last counts.
//
// A request that a fault answers authenticates nobody and counts no failed
// password. It is in Total and Count as soon as it is there, and in Requests,
// as anonymous, when it is answered.
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

// Stop switches the fault off. To do so again does nothing.
func (f *Failure) Stop() {
	f.server.mu.Lock()
	defer f.server.mu.Unlock()
	f.server.faults = slices.DeleteFunc(f.server.faults, func(o *Failure) bool { return o == f })
	f.stop()
}

// fail lets a request meet the fault of its path, if there is one, and reports
// whether that was all. path is behind the context path.
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
		// The server notices that a client is gone once the body is read.
		body, err := io.ReadAll(io.LimitReader(c.r.Body, maxBody))
		c.r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), c.r.Body))
		if err != nil || !f.fault.hold(c.r, f.off) {
			s.record(c)
			return true
		}
	}
	if f.fault.answer == nil {
		return false
	}
	s.record(c)
	f.fault.answer(c, f.off)
	return true
}
