package jiratest

import (
	"fmt"
	"html"
	"net/http"
)

// page answers with an HTML page: a title, and a body that is HTML already.
func page(c *call, status int, title, body string) {
	c.w.Header().Set("Content-Type", "text/html;charset=UTF-8")
	c.w.WriteHeader(status)
	// What fails now fails because the client is gone.
	_, _ = fmt.Fprintf(c.w, "<!DOCTYPE html>\n<html><head><title>%[1]s</title></head><body><h1>%[1]s</h1>\n%[2]s</body></html>\n",
		html.EscapeString(title), body)
}

// redirect sends the client to a path behind the context path.
func (s *Server) redirect(c *call, path string) {
	c.w.Header().Set("Location", s.context+path)
	c.w.WriteHeader(http.StatusFound)
}

// noPage is what Jira says of an unknown path outside REST.
func (s *Server) noPage(c *call) {
	page(c, http.StatusNotFound, "Oops, you've found a dead link.", "")
}

// refuseBasic is what Jira says of a wrong Basic password: HTML, on REST too.
func (s *Server) refuseBasic(c *call) {
	if c.verdict == captcha {
		page(c, http.StatusForbidden, "Forbidden (403)",
			"Basic Authentication Failure - Reason : AUTHENTICATION_DENIED\n")
		return
	}
	page(c, http.StatusUnauthorized, "Unauthorized (401)",
		"Basic Authentication Failure - Reason : AUTHENTICATED_FAILED\n")
}

// dashboard says who is seen, and gives nobody a session, too, as browsers
// get one before they log in.
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

func (s *Server) loginPage(c *call) { s.loginForm(c, "") }

func (s *Server) loginForm(c *call, message string) {
	page(c, http.StatusOK, "Log in", fmt.Sprintf(`<p>%s</p>
<form method="post" action="%s/login.jsp">
<input name="os_username"> <input name="os_password" type="password"> <button>Log In</button>
</form>
`, html.EscapeString(message), html.EscapeString(s.context)))
}

func (s *Server) formLogin(c *call) {
	switch c.verdict {
	case right:
		s.redirect(c, "/secure/Dashboard.jspa")
	case captcha:
		s.loginForm(c, "Sorry, your userid is required to answer a CAPTCHA question correctly.")
	default:
		s.loginForm(c, "Sorry, your username and password are incorrect - please try again.")
	}
}
