package jiratest

import (
	"cmp"
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

// maxBody limits request bodies read into memory.
const maxBody = 1 << 20

// captchaAfter is the number of failures after which every password is refused.
const captchaAfter = 3

// maxNames limits the names whose failures are counted.
const maxNames = 1000

// verdict is the result of a password check.
type verdict int

const (
	untried verdict = iota
	right
	wrong
	captcha
)

// authenticate determines the caller. A PAT takes precedence over everything except a
// login, and, as in Seraph and in every header authenticator for Jira, a session over
// the rest, and the header over passwords.
func (s *Server) authenticate(c *call, path, fromPath string) {
	session, sessionUser := s.requestedSession(c.r, fromPath)
	c.session = session
	if c.r.Method == http.MethodPost && (path == "/login.jsp" || path == "/rest/auth/1/session") {
		s.logIn(c, path)
		return
	}
	if u := s.bearer(c.r, path); u != nil {
		c.user, c.how = u, ByBearer
		if s.patSettings.Load().KeepSession {
			s.startSession(c)
			return
		}
		// Jira ends the request's session, or the new one whose cookie it sends.
		s.endSession(c)
		c.session = cmp.Or(c.session, rand.Text())
		return
	}
	if sessionUser != nil {
		c.user, c.how = sessionUser, BySession
		return
	}
	if u := s.activeUser(s.named(c.r.Header.Get(identityHeader))); u != nil && !s.noHeader.Load() {
		c.user, c.how = u, ByHeader
		s.startSession(c)
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

// RefuseBasic sets whether Basic and /rest/auth/1/session are refused, the
// default of Jira 11: with 403, without a challenge, whatever else the request
// contains. Sessions, PATs and the login form keep working.
func (s *Server) RefuseBasic(refuse bool) { s.noBasic.Store(refuse) }

// IgnoreHeader sets whether the identity header is ignored, as by a Jira without an
// authenticator that trusts it.
func (s *Server) IgnoreHeader(ignore bool) { s.noHeader.Store(ignore) }

// CutHeader sets whether the user name in the identity header is cut at `@`, as by the
// authenticator remoteuserauth with format=username.
func (s *Server) CutHeader(cut bool) { s.cutHeader.Store(cut) }

// named returns the user name that the authenticator takes from the identity header.
func (s *Server) named(header string) string {
	if s.cutHeader.Load() {
		header, _, _ = strings.Cut(header, "@")
	}
	return header
}

// refusesBasic reports whether RefuseBasic applies to a request.
func (s *Server) refusesBasic(r *http.Request, path string) bool {
	if !s.noBasic.Load() {
		return false
	}
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Basic") || path == "/rest/auth/1/session"
}

// tryPassword checks a password, and starts a session if it is right.
func (s *Server) tryPassword(c *call, name, password string, how How) {
	u := s.activeUser(name)
	c.tried, c.verdict = how, s.checkPassword(u, name, password)
	if c.verdict == right {
		c.user, c.how = u, how
		s.startSession(c)
	}
}

// checkPassword checks and counts a password of u, which is nil if no active
// user has this name.
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

// logIn checks the name and password of a login. A login always gets a new
// session.
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

// sessions are the live sessions. The zero value is empty.
type sessions struct {
	users map[string]string // user key by session id; "" before the login
	order []string          // ids, oldest first
}

// maxSessions limits the live sessions.
const maxSessions = 10_000

// add creates a session for a user and returns its id.
func (s *sessions) add(key string) string {
	if s.users == nil {
		s.users = make(map[string]string)
	}
	id := rand.Text()
	s.users[id] = key
	s.order = append(s.order, id)
	if len(s.order) > maxSessions {
		delete(s.users, s.order[0])
		s.order = s.order[1:]
	}
	return id
}

// requestedSession returns the id and user of the first live session in the
// cookies or else the path.
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

// startSession binds the request's session, or a new one, to its user. Like the
// header authenticators it accepts a session that existed before the login.
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

// setHeaders sets the headers that depend on authentication. Like Jira, it sets
// two cookies in every response to a user.
func (s *Server) setHeaders(c *call) {
	h := c.w.Header()
	switch {
	case c.verdict == right, c.how == ByBearer:
		h.Set("X-Seraph-LoginReason", "OK")
	case c.verdict == wrong:
		h.Set("X-Seraph-LoginReason", "AUTHENTICATED_FAILED")
	case c.verdict == captcha:
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

// setCookies sets the session cookie and the XSRF token.
func (s *Server) setCookies(c *call, session string) {
	path := s.context
	if path == "" {
		path = "/"
	}
	http.SetCookie(c.w, &http.Cookie{Name: "JSESSIONID", Value: session, Path: path, HttpOnly: true})
	http.SetCookie(c.w, &http.Cookie{Name: "atlassian.xsrf.token", Value: "TEST-" + rand.Text() + "_lin", Path: path})
}
