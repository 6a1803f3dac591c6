package jiratest

import (
	"cmp"
	"fmt"
	"html"
	"net/http"
	"strings"
)

// page responds with an HTML page. body is HTML.
func page(c *call, status int, title, body string) {
	c.w.Header().Set("Content-Type", "text/html;charset=UTF-8")
	c.w.WriteHeader(status)
	// An error means that the client has left.
	_, _ = fmt.Fprintf(c.w, "<!DOCTYPE html>\n<html><head><title>%[1]s</title></head><body><h1>%[1]s</h1>\n%[2]s</body></html>\n",
		html.EscapeString(title), body)
}

// redirect redirects to a path within the context path.
func (s *Server) redirect(c *call, path string) {
	c.w.Header().Set("Location", s.context+path)
	c.w.WriteHeader(http.StatusFound)
}

// notFoundPage is Jira's response to an unknown path outside REST.
func (s *Server) notFoundPage(c *call) {
	page(c, http.StatusNotFound, "Oops, you've found a dead link.", "")
}

// refuseBasic is Jira's response to a wrong Basic password: HTML, even on REST.
func (s *Server) refuseBasic(c *call) {
	if c.verdict == captcha {
		page(c, http.StatusForbidden, "Forbidden (403)",
			"Basic Authentication Failure - Reason : AUTHENTICATION_DENIED\n")
		return
	}
	page(c, http.StatusUnauthorized, "Unauthorized (401)",
		"Basic Authentication Failure - Reason : AUTHENTICATED_FAILED\n")
}

// dashboard shows the user. As in Jira, anonymous browsers get a session too.
func (s *Server) dashboard(c *call) {
	if c.user == nil {
		if c.session == "" {
			s.mu.Lock()
			c.session = s.sessions.add("")
			s.mu.Unlock()
			s.setCookies(c, c.session)
		}
		page(c, http.StatusOK, "System Dashboard",
			fmt.Sprintf("<p>You are not logged in. <a href=\"%s/login.jsp\">Log in</a></p>\n", html.EscapeString(s.context)))
		return
	}
	page(c, http.StatusOK, "System Dashboard",
		fmt.Sprintf("<p>You are %s (%s), known by %s.</p>\n",
			html.EscapeString(c.user.DisplayName), html.EscapeString(c.user.Name), c.how))
}

// destination returns where to go after a login; "" means anywhere. Like
// Tomcat, it prefers the query to the form.
func (c *call) destination() string {
	return cmp.Or(c.query.Get("os_destination"), c.form.Get("os_destination"))
}

// localPath returns a destination escaped for a Location header, and false if a
// browser would leave this host.
func localPath(destination string) (string, bool) {
	if !strings.HasPrefix(destination, "/") || strings.HasPrefix(destination, "//") || strings.HasPrefix(destination, `/\`) {
		return "", false
	}
	var b strings.Builder
	for _, c := range []byte(destination) {
		// Browsers ignore tabs and line ends, which could leave two slashes.
		if c <= ' ' || c > '~' || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

func (s *Server) loginPage(c *call) { s.loginForm(c, "") }

func (s *Server) loginForm(c *call, message string) {
	var destination string
	if to := c.destination(); to != "" {
		destination = fmt.Sprintf("<input type=\"hidden\" name=\"os_destination\" value=\"%s\">\n", html.EscapeString(to))
	}
	page(c, http.StatusOK, "Log in", fmt.Sprintf(`<p>%s</p>
<form method="post" action="%s/login.jsp">
%s<label for="login-form-username">Username</label>
<input id="login-form-username" name="os_username" autocomplete="username">
<label for="login-form-password">Password</label>
<input id="login-form-password" name="os_password" type="password" autocomplete="current-password">
<button id="login-form-submit">Log In</button>
</form>
`, html.EscapeString(message), html.EscapeString(s.context), destination))
}

func (s *Server) formLogin(c *call) {
	switch c.verdict {
	case right:
		to, ok := localPath(c.destination())
		if !ok {
			to = "/secure/Dashboard.jspa"
		}
		s.redirect(c, to)
	case captcha:
		s.loginForm(c, "Sorry, your userid is required to answer a CAPTCHA question correctly.")
	default:
		s.loginForm(c, "Sorry, your username and password are incorrect - please try again.")
	}
}
