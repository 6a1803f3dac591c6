package jiratest

import (
	"net/http"
	"slices"
)

// How is the way in which a request was authenticated.
type How string

// In the order in which they are tried, except that a login is tried alone.
const (
	Anonymous How = "anonymous" // no valid credential
	ByLogin   How = "login"     // JSON or form login
	ByBearer  How = "bearer"    // a PAT
	BySession How = "session"   // JSESSIONID or ;jsessionid=
	ByHeader  How = "header"    // the identity header
	ByBasic   How = "basic"     // user name and password
	ByQuery   How = "query"     // os_username and os_password
)

// Seen is a received request, including its credentials.
type Seen struct {
	Method     string
	RequestURI string // exact request target with the query
	Host       string
	Header     http.Header // a copy, without Host
	User       string      // in Jira's spelling; empty if anonymous
	How        How
}

// record stores c before the response, so that a client with a response finds
// it here.
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
		s.seen[0] = Seen{} // releases memory; append rarely copies the slice
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

// Count returns the number of requests to a route listed at Server, such as
// "GET /rest/api/2/issue/{key}", since Reset, including failed ones. It panics
// if the route does not exist.
func (s *Server) Count(route string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.counts[route]
	if !ok {
		panic("jiratest: no route " + route)
	}
	return n
}

// Requests returns the requests since the last Reset, newest last, at most
// Options.Keep of them.
func (s *Server) Requests() []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// Last returns the newest request, and false if there was none since Reset.
func (s *Server) Last() (Seen, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		return Seen{}, false
	}
	return s.seen[len(s.seen)-1], true
}

// Total returns the number of requests since Reset, including dropped and
// unanswered ones.
func (s *Server) Total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Failures returns the number of wrong passwords for a user name since the last
// right one; Reset keeps it. The user need not exist. From the third on, Jira
// requires a CAPTCHA and refuses the right password too.
func (s *Server) Failures(user string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures[fold(user)]
}

// Reset clears the recorded requests. Failures, sessions, issues, users and
// faults stay.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = nil
	s.total = 0
	for route := range s.counts {
		s.counts[route] = 0
	}
}
