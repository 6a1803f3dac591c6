package jiratest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// object is a JSON object.
type object map[string]any

// send responds with JSON.
func send(c *call, status int, body any) {
	c.w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	c.w.WriteHeader(status)
	// An error means that the client has left.
	_ = json.NewEncoder(c.w).Encode(body)
}

// sendError responds with Jira's error collection.
func sendError(c *call, status int, message string) {
	send(c, status, object{"errorMessages": []string{message}, "errors": object{}})
}

// self returns the absolute URL of a path within the context path.
func (s *Server) self(c *call, path string) string {
	return "http://" + c.r.Host + s.context + path
}

// requireUser responds with 401 to anonymous clients, without a challenge as
// Jira's REST does.
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

// requirePermission is requireUser, unless Options.Public is set.
func (s *Server) requirePermission(answer func(*call)) func(*call) {
	if s.public {
		return answer
	}
	return s.requireUser(answer)
}

// notFoundREST is Jira's response to an unknown REST path.
func (s *Server) notFoundREST(c *call) {
	send(c, http.StatusNotFound, object{
		"message":     "null for uri: " + s.self(c, c.r.URL.EscapedPath()),
		"status-code": http.StatusNotFound,
	})
}

// version is a version of Jira, such as 10.3.24.
type version [3]int

// parseVersion reads Options.Version.
func parseVersion(text string) (v version) {
	n, _ := fmt.Sscanf(cmp.Or(text, "10.3.24"), "%d.%d.%d", &v[0], &v[1], &v[2])
	if n == 0 {
		panic("jiratest: a version is like 8.14.1, not " + text)
	}
	return v
}

// before reports whether v is older than a version.
func (v version) before(major, minor int) bool {
	return v[0] < major || v[0] == major && v[1] < minor
}

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

func (s *Server) serverInfo(c *call) {
	send(c, http.StatusOK, object{
		"baseUrl":        s.self(c, ""),
		"version":        s.version.String(),
		"versionNumbers": s.version,
		"deploymentType": "Server",
		"buildNumber":    s.version[0]*1_000_000 + s.version[1]*10_000 + s.version[2],
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

// intParameter reads a non-negative number from the query.
func intParameter(c *call, name string, fallback int) (int, error) {
	text := c.query.Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s must be a whole number of at least 0", name)
	}
	return n, nil
}

// Administrators is the group of Jira's administrators. Only they see other
// users and members of groups.
const Administrators = "jira-administrators"

// isAdministrator reports whether u is an administrator.
func isAdministrator(u *User) bool {
	for _, name := range u.Groups {
		if fold(name) == Administrators {
			return true
		}
	}
	return false
}

// requireAdministrator responds with 403 to other users.
func (s *Server) requireAdministrator(answer func(*call)) func(*call) {
	return s.requireUser(func(c *call) {
		if !isAdministrator(c.user) {
			sendError(c, http.StatusForbidden, "Only an administrator of Jira may do this.")
			return
		}
		answer(c)
	})
}
