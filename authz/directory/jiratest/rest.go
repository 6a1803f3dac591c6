package jiratest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// object is a JSON object.
type object map[string]any

// send answers with JSON.
func send(c *call, status int, body any) {
	c.w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	c.w.WriteHeader(status)
	// What fails now fails because the client is gone.
	_ = json.NewEncoder(c.w).Encode(body)
}

// sendError answers with Jira's error collection.
func sendError(c *call, status int, message string) {
	send(c, status, object{"errorMessages": []string{message}, "errors": object{}})
}

// self returns the absolute URL of a path behind the context path.
func (s *Server) self(c *call, path string) string {
	return "http://" + c.r.Host + s.context + path
}

// requireUser answers 401 to nobody, as Jira's REST does: without a challenge.
func (s *Server) requireUser(answer func(*call)) func(*call) {
	return func(c *call) {
		if c.user == nil {
			send(c, http.StatusUnauthorized, object{
				"message":     "Client must be authenticated to access this resource.",
				"status-code": http.StatusUnauthorized,
			})
			return
		}
		answer(c)
	}
}

// notFoundREST is what Jira's REST says of an unknown path.
func (s *Server) notFoundREST(c *call) {
	send(c, http.StatusNotFound, object{
		"message":     "null for uri: " + s.self(c, c.r.URL.EscapedPath()),
		"status-code": http.StatusNotFound,
	})
}

func (s *Server) serverInfo(c *call) {
	send(c, http.StatusOK, object{
		"baseUrl":        s.self(c, ""),
		"version":        "10.3.24",
		"versionNumbers": []int{10, 3, 24},
		"deploymentType": "Server",
		"buildNumber":    10030024,
		"serverTitle":    "Jira",
	})
}

func (s *Server) showSession(c *call) {
	send(c, http.StatusOK, object{
		"self":      s.self(c, "/rest/api/latest/user?username="+url.QueryEscape(c.user.Name)),
		"name":      c.user.Name,
		"loginInfo": object{"loginCount": 1},
	})
}

func (s *Server) jsonLogin(c *call) {
	switch c.verdict {
	case right:
		send(c, http.StatusOK, object{
			"session":   object{"name": "JSESSIONID", "value": c.session},
			"loginInfo": object{"loginCount": 1},
		})
	case captcha:
		sendError(c, http.StatusForbidden, "Login denied")
	case wrong:
		sendError(c, http.StatusUnauthorized, "Login failed")
	default:
		sendError(c, http.StatusBadRequest, "Can't read the login: send {\"username\": …, \"password\": …}")
	}
}

func (s *Server) logout(c *call) {
	s.endSession(c)
	c.w.WriteHeader(http.StatusNoContent)
}

// Bounds of what the query of an export may ask for.
const (
	maxChunks    = 100_000
	maxChunkSize = 1 << 20
)

// stream sends an export chunk by chunk, from the channel if there is one.
func (s *Server) stream(c *call) {
	chunks, err := intParameter(c, "chunks", 1, maxChunks)
	if err != nil {
		sendError(c, http.StatusBadRequest, err.Error())
		return
	}
	size, err := intParameter(c, "size", 1024, maxChunkSize)
	if err != nil {
		sendError(c, http.StatusBadRequest, err.Error())
		return
	}
	c.w.Header().Set("Content-Type", "application/octet-stream")
	c.w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(c.w)
	if out.Flush() != nil {
		return
	}
	write := func(chunk []byte) bool {
		_, err := c.w.Write(chunk)
		return err == nil && out.Flush() == nil
	}
	if s.export == nil {
		chunk := []byte(strings.Repeat("x", size))
		for i := 0; i < chunks && write(chunk); i++ {
		}
		return
	}
	for {
		select {
		case chunk, more := <-s.export:
			if !more || !write(chunk) {
				return
			}
		case <-c.r.Context().Done():
			return
		}
	}
}

// intParameter reads a whole number from the query.
func intParameter(c *call, name string, otherwise, most int) (int, error) {
	text := c.query.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%s must be a whole number from 0 to %d", name, most)
	}
	return n, nil
}
