package jiratest

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// PAT is a personal access token of Jira. An expired one stays until it is deleted.
type PAT struct {
	ID       int64
	User     string // the key of its user
	Name     string // not unique
	Created  time.Time
	Ends     time.Time // Eternal if it does not end
	LastUsed time.Time // zero if never

	value string
}

// Eternal is the end of a PAT that does not end.
var Eternal = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// PATSettings are Jira's settings of PATs. The zero PATSettings are its defaults.
type PATSettings struct {
	Off         bool // atlassian.pats.enabled is false: none can be created or used
	NoEternal   bool // atlassian.pats.eternal.tokens.enabled is false
	MaxDays     int  // atlassian.pats.max.tokens.expiry.days; 0 means 365
	MaxPerUser  int  // atlassian.pats.max.tokens.per.user; 0 means 10; expired ones count
	MaxName     int  // atlassian.pats.token.name.length; 0 means 40
	KeepSession bool // atlassian.pats.invalidate.session.enabled is false

	// NoRenewal forbids requests with a PAT to create one, and NoLicense all. Whether
	// Jira ever does so is unknown.
	NoRenewal, NoLicense bool
}

// SetPATs replaces the settings of PATs.
func (s *Server) SetPATs(settings PATSettings) {
	settings.MaxDays = cmp.Or(settings.MaxDays, 365)
	settings.MaxPerUser = cmp.Or(settings.MaxPerUser, 10)
	settings.MaxName = cmp.Or(settings.MaxName, 40)
	s.patSettings.Store(&settings)
}

// PATs returns the PATs of the user with this key, oldest first.
func (s *Server) PATs(key string) []PAT { return s.users.patsOf(key) }

// RevokePAT deletes a PAT, as its user or an administrator can. It does nothing if
// there is none with this id.
func (s *Server) RevokePAT(id int64) { s.users.deletePAT(id) }

// pats are all PATs.
type pats struct {
	byValue map[string]*PAT
	byID    map[int64]*PAT
	byUser  map[string][]*PAT // by key; oldest first
	lastID  int64
}

// addPAT stores a PAT under a new id. s.mu must be held.
func (s *userStore) addPAT(p *PAT) {
	s.pats.lastID++
	p.ID = s.pats.lastID
	s.pats.byValue[p.value], s.pats.byID[p.ID] = p, p
	s.pats.byUser[p.User] = append(s.pats.byUser[p.User], p)
}

// deletePATs deletes the PATs of a deleted user. s.mu must be held.
func (s *userStore) deletePATs(key string) {
	for _, p := range s.pats.byUser[key] {
		delete(s.pats.byValue, p.value)
		delete(s.pats.byID, p.ID)
	}
	delete(s.pats.byUser, key)
}

func (s *userStore) deletePAT(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pats.byID[id]; p != nil {
		delete(s.pats.byValue, p.value)
		delete(s.pats.byID, id)
		s.pats.byUser[p.User] = slices.DeleteFunc(s.pats.byUser[p.User], func(o *PAT) bool { return o == p })
	}
}

// findPAT returns a copy of the PAT with an id, and false if there is none.
func (s *userStore) findPAT(id int64) (PAT, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pats.byID[id]; p != nil {
		return *p, true
	}
	return PAT{}, false
}

// patsOf returns copies of a user's PATs.
func (s *userStore) patsOf(key string) []PAT {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make([]PAT, 0, len(s.pats.byUser[key]))
	for _, p := range s.pats.byUser[key] {
		found = append(found, *p)
	}
	return found
}

// usePAT returns the active user of a live PAT, or nil.
func (s *userStore) usePAT(value string, now time.Time) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pats.byValue[value]
	if p == nil || !p.Ends.After(now) {
		return nil
	}
	u := active(s.byKey[p.User])
	if u != nil {
		p.LastUsed = now
	}
	return u
}

// bearer returns the user of a PAT in Authorization, or nil. Jira reads the header
// only if it begins with "Bearer" in this case and has one more word, separated by
// blanks. With any other, and with a dead PAT, the request goes on without a user.
func (s *Server) bearer(r *http.Request, path string) *User {
	header := r.Header.Get("Authorization")
	words := strings.FieldsFunc(header, func(c rune) bool { return c == ' ' })
	switch {
	case !strings.HasPrefix(header, "Bearer") || len(words) != 2,
		s.patSettings.Load().Off, s.version.before(8, 14),
		s.version.before(8, 15) && !strings.HasPrefix(path, "/rest/"):
		return nil
	}
	return s.users.usePAT(words[1], s.millisecond())
}

// millisecond returns the time in the resolution of Jira.
func (s *Server) millisecond() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// newPATValue returns 12 digits, a colon and 20 random bytes, in base64.
func newPATValue() string {
	text := make([]byte, 33)
	_, _ = rand.Read(text) // never fails
	for i := range 12 {
		text[i] = '0' + text[i]%10
	}
	text[12] = ':'
	return base64.StdEncoding.EncodeToString(text)
}

// patJSON returns Jira's representation of a PAT, without its value.
func patJSON(p PAT) object {
	const form = "2006-01-02T15:04:05.000+00:00"
	o := object{"id": p.ID, "name": p.Name, "createdAt": p.Created.Format(form), "expiringAt": p.Ends.Format(form)}
	if !p.LastUsed.IsZero() {
		o["lastAccessedAt"] = p.LastUsed.Format(form)
	}
	return o
}

// patError is a refusal of the PAT API.
type patError struct {
	status          int
	exception, text string
}

func (e *patError) send(c *call) {
	send(c, e.status, object{"exception": e.exception, "error": e.text})
}

func badPAT(format string, arguments ...any) *patError {
	return &patError{http.StatusBadRequest, "java.lang.IllegalArgumentException", fmt.Sprintf(format, arguments...)}
}

// notAuthorised is the refusal of another user's PAT.
func notAuthorised(c *call) *patError {
	return &patError{http.StatusUnauthorized, "com.atlassian.sal.api.permission.AuthorisationException",
		fmt.Sprintf("User: [%s] has no access to token!", c.user.Key)}
}

// patAPI checks what every call of the PAT API requires: a version that has it, a user,
// and for a POST with a session, proof that no other site made the browser send it.
func (s *Server) patAPI(answer func(*call)) func(*call) {
	return func(c *call) {
		switch {
		case s.version.before(8, 14):
			s.notFoundREST(c)
		case c.r.Method == http.MethodPost && c.how == BySession && !fromSameSite(c.r):
			refuseXSRF(c)
		case c.user == nil:
			(&patError{http.StatusUnauthorized, "com.atlassian.sal.api.permission.NotAuthenticatedException",
				"Client must be authenticated to access this resource."}).send(c)
		default:
			answer(c)
		}
	}
}

// fromSameSite reports whether a request passes Jira's XSRF check: it has
// X-Atlassian-Token, and if it is a browser's, an Origin on this host.
func fromSameSite(r *http.Request) bool {
	origin, err := url.Parse(r.Header.Get("Origin"))
	browser := strings.Contains(r.UserAgent(), "Mozilla")
	return hasAtlassianToken(r) && (!browser || err == nil && origin.Host == r.Host)
}

func hasAtlassianToken(r *http.Request) bool {
	token := r.Header.Get("X-Atlassian-Token")
	return strings.EqualFold(token, "no-check") || strings.EqualFold(token, "nocheck")
}

func refuseXSRF(c *call) {
	c.w.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(c.w, "XSRF check failed") // an error means that the client has left
}

func (s *Server) listPATs(c *call) {
	list := []object{}
	for _, p := range s.users.patsOf(c.user.Key) {
		list = append(list, patJSON(p))
	}
	send(c, http.StatusOK, list)
}

func (s *Server) createPAT(c *call) {
	var wanted struct {
		Name string `json:"name"`
		Days *int   `json:"expirationDuration"`
	}
	kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if kind != "application/json" {
		c.w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	}
	if err := json.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, maxBody)).Decode(&wanted); err != nil {
		(&patError{http.StatusBadRequest, "org.codehaus.jackson.JsonParseException", err.Error()}).send(c)
		return
	}
	p := &PAT{User: c.user.Key, Name: wanted.Name, Created: s.millisecond(), Ends: Eternal, value: newPATValue()}
	if wanted.Days != nil {
		p.Ends = p.Created.AddDate(0, 0, *wanted.Days)
	}
	s.users.mu.Lock()
	refusal := s.checkPAT(c, p.Name, wanted.Days)
	if refusal == nil {
		s.users.addPAT(p)
	}
	body := patJSON(*p)
	s.users.mu.Unlock()
	if refusal != nil {
		refusal.send(c)
		return
	}
	body["rawToken"] = p.value
	send(c, http.StatusCreated, body)
}

// checkPAT returns Jira's refusal of a new PAT, or nil. The order is Jira's.
// s.users.mu must be held.
func (s *Server) checkPAT(c *call, name string, days *int) *patError {
	settings := s.patSettings.Load()
	switch {
	case settings.NoLicense:
		return &patError{http.StatusForbidden, "com.atlassian.pats.exception.InvalidLicenseException", "The license is invalid."}
	case settings.NoRenewal && c.how == ByBearer:
		return notAuthorised(c)
	case settings.Off:
		return badPAT("Personal access tokens are disabled.")
	case strings.TrimSpace(name) == "":
		return badPAT("The name is missing.")
	case len(utf16.Encode([]rune(name))) > settings.MaxName:
		return badPAT("The name may have %d characters.", settings.MaxName)
	case days != nil && *days > settings.MaxDays:
		return badPAT("The maximum is %d days.", settings.MaxDays)
	case days != nil && *days <= 0:
		return badPAT("The minimum is one day.")
	case len(s.users.pats.byUser[c.user.Key]) >= settings.MaxPerUser:
		return &patError{http.StatusForbidden, "com.atlassian.pats.exception.UserTokenLimitExceededException",
			fmt.Sprintf("You can't create more than %d tokens.", settings.MaxPerUser)}
	case days == nil && settings.NoEternal:
		return badPAT("A token needs an end.")
	}
	return nil
}

// accessiblePAT returns the PAT in the path. It answers, and returns false, if there is
// none or if the caller is neither its user nor an administrator.
func (s *Server) accessiblePAT(c *call, missing int) (PAT, bool) {
	id, err := strconv.ParseInt(c.r.PathValue("id"), 10, 64)
	if err != nil {
		s.notFoundREST(c)
		return PAT{}, false
	}
	p, found := s.users.findPAT(id)
	switch {
	case !found:
		c.w.WriteHeader(missing)
	case p.User != c.user.Key && !isAdministrator(c.user):
		notAuthorised(c).send(c)
		return PAT{}, false
	}
	return p, found
}

func (s *Server) getPAT(c *call) {
	if p, ok := s.accessiblePAT(c, http.StatusNotFound); ok {
		send(c, http.StatusOK, patJSON(p))
	}
}

func (s *Server) removePAT(c *call) {
	if p, ok := s.accessiblePAT(c, http.StatusNoContent); ok {
		s.users.deletePAT(p.ID)
		c.w.WriteHeader(http.StatusNoContent)
	}
}
