package jiratest

import (
	"net/http"
	"slices"
)

// How says by what a request was authenticated.
type How string

// The ways, in the order in which they are tried; a login is tried alone.
const (
	Anonymous How = "anonymous" // by nothing, or by nothing good
	ByLogin   How = "login"     // the JSON or the form login itself
	BySession How = "session"   // JSESSIONID or ;jsessionid=
	ByHeader  How = "header"    // the identity header
	ByBearer  How = "bearer"    // a native personal access token
	ByBasic   How = "basic"     // user name and password
	ByQuery   How = "query"     // os_username and os_password
)

// Seen is a request as it was received. It holds credentials if the request
// did.
type Seen struct {
	Method     string
	RequestURI string // the target byte for byte, query included
	Host       string
	Header     http.Header // a copy; Host is not in it
	User       string      // who it is for, in Jira's spelling; empty: nobody
	How        How
}

// record keeps c, before it is answered: whoever has the answer finds it here.
func (s *Server) record(c *call) {
	seen := Seen{
		Method:     c.r.Method,
		RequestURI: c.r.RequestURI,
		Host:       c.r.Host,
		Header:     c.r.Header.Clone(),
		How:        c.how,
	}
	if c.user != nil {
		seen.User = c.user.Name
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == s.keep {
		s.seen[0] = Seen{} // append copies the rest only now and then
		s.seen = s.seen[1:]
	}
	s.seen = append(s.seen, seen)
}

// countTotal counts a request.
func (s *Server) countTotal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total++
}

// count counts a request by its route.
func (s *Server) count(r *http.Request) {
	_, route := s.mux.Handler(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[route]++
}

// Count returns how many requests came to one of the routes that Server lists
// since Reset, such as "GET /rest/api/2/issue/{key}", failed ones included. It
// panics if there is no such route: a test that counts nothing is no test.
func (s *Server) Count(route string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.counts[route]
	if !ok {
		panic("jiratest: no route " + route)
	}
	return n
}

// Requests returns the requests received since the last Reset, the newest
// last, at most Options.Keep of them.
func (s *Server) Requests() []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// Last returns the newest request; false if there was none since Reset.
func (s *Server) Last() (Seen, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		return Seen{}, false
	}
	return s.seen[len(s.seen)-1], true
}

// Total returns how many requests came since Reset, forgotten ones and those
// not answered yet included.
func (s *Server) Total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Failures returns how often a wrong password was tried for a user since the
// last right one; Reset does not forget them. The user need not exist. From
// the third on, Jira wants a CAPTCHA solved and refuses the right password,
// too.
func (s *Server) Failures(user string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures[fold(user)]
}

// Reset forgets the requests. Failed passwords, sessions and issues stay, as
// they would in Jira, and so do users and faults.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = nil
	s.total = 0
	for route := range s.counts {
		s.counts[route] = 0
	}
}
