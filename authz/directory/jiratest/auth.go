package jiratest

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// identityHeader is the header that the authenticator plugin trusts.
const identityHeader = "X-Forwarded-User"

// maxBody bounds the bodies that are read into memory.
const maxBody = 1 << 20

// captchaAfter is the number of failures from which no password is good.
const captchaAfter = 3

// maxNames bounds the names that failures are counted for.
const maxNames = 1000

// verdict is what came of a password.
type verdict int

const (
	untried verdict = iota
	right
	wrong
	captcha
)

// authenticate finds out who is calling. A session wins over everything but a
// login, as it does in Seraph and in every header authenticator for Jira; the
// header wins over credentials.
func (s *Server) authenticate(c *call, path, fromPath string) {
	session, sessionUser := s.requestedSession(c.r, fromPath)
	c.session = session
	if c.r.Method == http.MethodPost && (path == "/login.jsp" || path == "/rest/auth/1/session") {
		s.logIn(c, path)
		return
	}
	if sessionUser != nil {
		c.user, c.how = sessionUser, BySession
		return
	}
	if u := s.activeUser(c.r.Header.Get(identityHeader)); u != nil {
		c.user, c.how = u, ByHeader
		s.startSession(c)
		return
	}
	if u := s.bearer(c.r); u != nil {
		// Jira ends the session of such a request with the request.
		c.user, c.how, c.session = u, ByBearer, rand.Text()
		return
	}
	if name, password, ok := c.r.BasicAuth(); ok {
		s.tryPassword(c, name, password, ByBasic)
		return
	}
	if name := c.query.Get("os_username"); name != "" {
		s.tryPassword(c, name, c.query.Get("os_password"), ByQuery)
	}
}

// activeUser returns the active user with this name, or nil.
func (s *Server) activeUser(name string) *User {
	return active(s.users.findByName(name))
}

// active returns u if it is an active user, or nil.
func active(u *User) *User {
	if u != nil && u.Active {
		return u
	}
	return nil
}

// RefuseBasic says whether Basic and /rest/auth/1/session are refused, as Jira
// 11 does unless it is told otherwise: with 403, without a challenge, and
// without a look at anything else that came along. Sessions, native tokens and
// the form go on.
func (s *Server) RefuseBasic(refuse bool) { s.noBasic.Store(refuse) }

// refusesBasic reports whether a request is refused for what RefuseBasic says.
func (s *Server) refusesBasic(r *http.Request, path string) bool {
	if !s.noBasic.Load() {
		return false
	}
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Basic") || path == "/rest/auth/1/session"
}

// bearer returns the owner of a native token. A bad one is no failure: Jira
// goes on as if nobody had called.
func (s *Server) bearer(r *http.Request) *User {
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil
	}
	return active(s.users.findByPAT(strings.TrimSpace(value)))
}

// tryPassword judges a password, and gives the request a session if it is right.
func (s *Server) tryPassword(c *call, name, password string, how How) {
	u := s.activeUser(name)
	c.tried, c.verdict = how, s.checkPassword(u, name, password)
	if c.verdict == right {
		c.user, c.how = u, how
		s.startSession(c)
	}
}

// checkPassword judges the password of u, who has this name, or is nil; and counts.
func (s *Server) checkPassword(u *User, name, password string) verdict {
	name = fold(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures[name] >= captchaAfter {
		return captcha
	}
	if u != nil && u.Password != "" && u.Password == password {
		delete(s.failures, name)
		return right
	}
	if _, known := s.failures[name]; known || len(s.failures) < maxNames {
		s.failures[name]++
	}
	return wrong
}

// logIn reads the name and password of a login and judges them. A login gets
// a new session, whatever came with it.
func (s *Server) logIn(c *call, path string) {
	var login struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if err != nil {
		return
	}
	if path == "/login.jsp" {
		kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
		if kind != "application/x-www-form-urlencoded" {
			return
		}
		c.form, _ = url.ParseQuery(string(body))
		login.Username, login.Password = c.form.Get("os_username"), c.form.Get("os_password")
	} else if json.Unmarshal(body, &login) != nil {
		return
	}
	if login.Username != "" {
		c.session = ""
		s.tryPassword(c, login.Username, login.Password, ByLogin)
	}
}

// sessions are those that cookies name. The zero sessions are ready.
type sessions struct {
	users map[string]string // id to the user's key; an empty key: nobody yet
	order []string          // ids, the oldest first
}

// maxSessions bounds the sessions that are kept.
const maxSessions = 10_000

// add makes a session for a user, and returns its id.
func (x *sessions) add(key string) string {
	if x.users == nil {
		x.users = make(map[string]string)
	}
	id := rand.Text()
	x.users[id] = key
	x.order = append(x.order, id)
	if len(x.order) > maxSessions {
		delete(x.users, x.order[0])
		x.order = x.order[1:]
	}
	return id
}

// requestedSession returns the id of the first live session that the request
// names, cookies before the path, and its user if it has one.
func (s *Server) requestedSession(r *http.Request, fromPath string) (string, *User) {
	var ids []string
	for _, cookie := range r.CookiesNamed("JSESSIONID") {
		ids = append(ids, cookie.Value)
	}
	ids = append(ids, fromPath)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if key, ok := s.sessions.users[id]; ok {
			return id, active(s.users.findByKey(key))
		}
	}
	return "", nil
}

// startSession binds the request's user to its session, which is made if there is
// none. One that the client brought is taken as it is, as the header
// authenticators do: from now on it is a way in.
func (s *Server) startSession(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.sessions.users[c.session]; ok {
		s.sessions.users[c.session] = c.user.Key
		return
	}
	c.session = s.sessions.add(c.user.Key)
}

// endSession ends the request's session.
func (s *Server) endSession(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions.users, c.session)
}

// setHeaders sets the headers of authentication. Two Set-Cookie headers go
// with every answer to a user, as Jira sends them.
func (s *Server) setHeaders(c *call) {
	h := c.w.Header()
	switch c.verdict {
	case right:
		h.Set("X-Seraph-LoginReason", "OK")
	case wrong:
		h.Set("X-Seraph-LoginReason", "AUTHENTICATED_FAILED")
	case captcha:
		h.Set("X-Seraph-LoginReason", "AUTHENTICATION_DENIED")
		h.Set("X-Authentication-Denied-Reason", "CAPTCHA_CHALLENGE; login-url=http://"+c.r.Host+s.context+"/login.jsp")
	}
	if c.user == nil {
		h.Set("X-AUSERNAME", "anonymous")
		return
	}
	h.Set("X-AUSERNAME", url.QueryEscape(c.user.Name))
	s.setCookies(c, c.session)
}

// setCookies sets the session's cookie and that of the XSRF token.
func (s *Server) setCookies(c *call, session string) {
	path := s.context
	if path == "" {
		path = "/"
	}
	http.SetCookie(c.w, &http.Cookie{Name: "JSESSIONID", Value: session, Path: path, HttpOnly: true})
	http.SetCookie(c.w, &http.Cookie{Name: "atlassian.xsrf.token", Value: "TEST-" + rand.Text() + "_lin", Path: path})
}
