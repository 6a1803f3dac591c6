package page

import (
	"net/http"
	"strconv"
)

// Problem is why somebody does not see the page that they asked for.
type Problem struct {
	Status int
	Text   string // whole sentences; empty: those for the status
	Login  string // the address of Jira's login, if it helps
}

// Problem shows a problem to the caller, who may be nobody.
func (s *Site) Problem(r *Request, p Problem) Answer {
	if p.Text == "" {
		p.Text = text(textFor(p.Status))
	}
	title := text("problem.title." + strconv.Itoa(titleFor(p.Status)))
	f := s.bareLayout(title)
	if r.Caller.Name() != "" {
		if whole, err := s.layout(r, title, "none"); err == nil {
			f = whole
		}
	}
	a, err := render("problem", p.Status, f, p)
	if err != nil {
		return Answer{Status: p.Status, Body: []byte(p.Text), Headers: map[string]string{"Content-Type": "text/plain;charset=UTF-8"}}
	}
	return a
}

func textFor(status int) string {
	switch status {
	case http.StatusNotFound:
		return "problem.nothing"
	case http.StatusInternalServerError:
		return "problem.panic"
	}
	return "problem.fault"
}

// titleFor returns the status whose title serves for another.
func titleFor(status int) int {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests, http.StatusConflict, http.StatusServiceUnavailable:
		return status
	}
	if status >= http.StatusInternalServerError {
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}
