// Package jiratest is a fake Jira Data Center for tests and the demo. Start
// reading at Server. It has the few endpoints that they need, and authenticates
// like Jira behind a plugin that trusts an identity header: first a personal access
// token (PAT), then a session, then the header, then a password. It records requests,
// so that tests can check what reached Jira.
//
// Where Jira's behavior is unknown, this server does what is most dangerous for
// a proxy in front of it.
package jiratest

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure New. The zero Options make a server without users.
type Options struct {
	ContextPath string // "" or for example "/jira"
	Users       []User
	Keep        int // number of recorded requests; 0 means 1000

	// Version is Jira's, such as 8.14.1; "" means 10.3.24. Versions before 8.14 have no
	// PATs, 8.14 reads them only below /rest, and from 11 on, RefuseBasic is the default.
	Version string

	// Public lets anonymous visitors read, create, change and delete issues, as a Jira
	// does that gives these permissions to "Anyone".
	Public bool

	// Now is the clock for the end of PATs; nil means time.Now.
	Now func() time.Time

	// MaxSearch limits the users in a search response; 0 means 1000, as before
	// Jira 10. SearchWindow limits the users that a search reaches with
	// startAt; 0 means no limit. Both are 100 from Jira 10 on, where
	// /rest/api/2/user/list returns all users (JRASERVER-78660); some earlier
	// versions had a window of 1000 (JRASERVER-65089).
	MaxSearch    int
	SearchWindow int

	// Leak is called with the place of a token in a request; see Watch.
	Leak func(where string)
}

// Server is the fake Jira, an http.Handler. It is safe for concurrent use. Its
// memory is bounded: the oldest requests, sessions and issues are dropped.
//
// It has these endpoints within the context path, also with "latest" and
// ".json":
//
//	GET    /rest/api/2/myself                   ?expand=groups names the groups
//	GET    /rest/api/2/user                     ?username= or key=, and expand
//	GET    /rest/api/2/user/search              ?username=, startAt, maxResults (50), includeActive, includeInactive
//	GET    /rest/api/2/user/list                ?cursor=, maxResults (2000): all users; since 10.3 LTS and 11
//	GET    /rest/api/2/group/member             ?groupname=, startAt, maxResults (50), includeInactiveUsers
//	GET    /rest/api/2/serverInfo               also anonymous
//	GET    /rest/api/2/search                   all issues, whatever the JQL
//	POST   /rest/api/2/search                   the same
//	POST   /rest/api/2/issue                    creates an issue
//	GET    /rest/api/2/issue/{key}              DEMO-1 exists from the start
//	PUT    /rest/api/2/issue/{key}
//	DELETE /rest/api/2/issue/{key}
//	POST   /rest/api/2/issue/{key}/attachments  stores the file of a form; for another body it returns the size and SHA-256
//	GET    /rest/api/2/attachment/{id}
//	GET    /rest/api/2/project/DEMO
//	GET    /rest/api/2/field                    the fields of an issue
//	GET    /secure/attachment/{id}/{name}       an attachment's content
//	GET    /rest/pat/1/tokens                   the caller's PATs; also 1.0 and latest
//	POST   /rest/pat/1/tokens                   creates a PAT; see SetPATs
//	GET    /rest/pat/1/tokens/{id}
//	DELETE /rest/pat/1/tokens/{id}              204 also if there is none
//	GET    /rest/auth/1/session                 the session's user
//	POST   /rest/auth/1/session                 logs in
//	DELETE /rest/auth/1/session                 logs out
//	GET    /secure/Dashboard.jspa               a page that names the user
//	GET    /login.jsp                           a form, which keeps ?os_destination=
//	POST   /login.jsp                           logs in and redirects to os_destination or the dashboard
//
// Other paths get Jira's 404. Only members of Administrators may use
// group/member, see other users (otherwise 403) and see and delete their PATs;
// search and list return no users to others.
//
// Users can change at any time (Put, Rename, Deactivate and so on), and so can settings
// (RefuseBasic, IgnoreHeader, SetPATs). The server can act like another version (Options.Version,
// Omit), or fail (Fail).
type Server struct {
	context      string
	keep         int
	leak         func(string)
	maxSearch    int
	searchWindow int
	version      version
	public       bool
	now          func() time.Time
	mux          *http.ServeMux
	users        *userStore
	omit         atomic.Pointer[[]string]
	noBasic      atomic.Bool
	noHeader     atomic.Bool
	cutHeader    atomic.Bool
	patSettings  atomic.Pointer[PATSettings]

	mu       sync.Mutex // guards the fields below
	seen     []Seen
	total    int
	counts   map[string]int // requests by route
	faults   []*Failure     // oldest first
	failures map[string]int
	sessions sessions
	issues   issues

	attachments []*attachment // oldest first
	attached    int           // number ever stored
}

// New returns a server with these options. Users are added in order as by Put.
func New(opts Options) *Server {
	s := &Server{
		context:      opts.ContextPath,
		keep:         cmp.Or(max(opts.Keep, 0), 1000),
		leak:         opts.Leak,
		maxSearch:    cmp.Or(max(opts.MaxSearch, 0), 1000),
		searchWindow: opts.SearchWindow,
		version:      parseVersion(opts.Version),
		public:       opts.Public,
		now:          opts.Now,
		mux:          http.NewServeMux(),
		users:        newUserStore(),
		counts:       make(map[string]int),
		failures:     make(map[string]int),
		issues:       newIssues(),
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.SetPATs(PATSettings{})
	s.RefuseBasic(!s.version.before(11, 0))
	for _, u := range opts.Users {
		s.Put(u)
	}
	s.routes()
	return s
}

// fold returns the form in which names are compared.
func fold(name string) string { return strings.ToLower(name) }

// call is a request being handled.
type call struct {
	w       http.ResponseWriter
	r       *http.Request // with the URL that Tomcat would dispatch
	query   url.Values
	form    url.Values // of a form login
	user    *User      // nil if anonymous
	how     How
	tried   How     // how a password was tried; empty if none was
	verdict verdict // of that password
	session string  // requested or new session; empty if none
}

type callKey struct{}

// handle registers the handler of an http.ServeMux pattern.
func (s *Server) handle(pattern string, answer func(*call)) {
	s.counts[pattern] = 0
	s.mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(callKey{}).(*call)
		c.r = r
		answer(c)
	})
}

func (s *Server) routes() {
	s.handle("GET /rest/api/2/myself", s.requireUser(s.myself))
	s.handle("GET /rest/api/2/user", s.requireUser(s.getUser))
	s.handle("GET /rest/api/2/user/search", s.requireUser(s.findUsers))
	s.handle("GET /rest/api/2/user/list", s.requireUser(s.listUsers))
	s.handle("GET /rest/api/2/group/member", s.requireAdministrator(s.groupMembers))
	s.handle("GET /rest/api/2/serverInfo", s.serverInfo)
	s.handle("GET /rest/api/2/search", s.requirePermission(s.search))
	s.handle("POST /rest/api/2/search", s.requirePermission(s.search))
	s.handle("POST /rest/api/2/issue", s.requirePermission(s.createIssue))
	s.handle("GET /rest/api/2/issue/{key}", s.requirePermission(s.getIssue))
	s.handle("PUT /rest/api/2/issue/{key}", s.requirePermission(s.updateIssue))
	s.handle("DELETE /rest/api/2/issue/{key}", s.requirePermission(s.deleteIssue))
	s.handle("POST /rest/api/2/issue/{key}/attachments", s.requireUser(s.attach))
	s.handle("GET /rest/api/2/attachment/{id}", s.requireUser(s.showAttachment))
	s.handle("GET /rest/api/2/project/DEMO", s.requireUser(s.project))
	s.handle("GET /rest/api/2/field", s.requireUser(s.fields))
	s.handle("GET /secure/attachment/{id}/{name}", s.download)
	s.handle("GET /rest/pat/1/tokens", s.patAPI(s.listPATs))
	s.handle("POST /rest/pat/1/tokens", s.patAPI(s.createPAT))
	s.handle("GET /rest/pat/1/tokens/{id}", s.patAPI(s.getPAT))
	s.handle("DELETE /rest/pat/1/tokens/{id}", s.patAPI(s.removePAT))
	s.handle("GET /rest/auth/1/session", s.requireUser(s.showSession))
	s.handle("POST /rest/auth/1/session", s.jsonLogin)
	s.handle("DELETE /rest/auth/1/session", s.requireUser(s.logout))
	s.handle("GET /secure/Dashboard.jspa", s.dashboard)
	s.handle("GET /login.jsp", s.loginPage)
	s.handle("POST /login.jsp", s.formLogin)
	s.handle("GET /{$}", func(c *call) { s.redirect(c, "/secure/Dashboard.jspa") })
	s.handle("/rest", s.notFoundREST)
	s.handle("/rest/", s.notFoundREST)
	s.handle("/", s.notFoundPage)
}

// ServeHTTP handles and records a request (see Requests).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	watch(r, s.leak)
	s.countTotal()
	c := &call{w: w, r: r, query: parseQuery(r), how: Anonymous}
	path, fromPath, err := dispatch(r.RequestURI)
	if err != nil {
		s.record(c)
		page(c, http.StatusBadRequest, "HTTP Status 400 – Bad Request", "")
		return
	}
	inside, ok := strings.CutPrefix(path, s.context)
	if !ok || inside != "" && inside[0] != '/' {
		s.record(c)
		page(c, http.StatusNotFound, "HTTP Status 404 – Not Found", "")
		return
	}
	if inside == "" {
		s.record(c)
		s.redirect(c, "/")
		return
	}
	inside = canonical(inside)
	c.r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	c.r.URL = &url.URL{Path: inside, RawQuery: r.URL.RawQuery}
	s.count(c.r)
	if s.fail(c, inside) {
		return
	}
	if s.refusesBasic(r, inside) {
		s.record(c)
		send(c, http.StatusForbidden, object{"message": "Basic Authentication has been disabled on this instance."})
		return
	}
	s.authenticate(c, inside, fromPath)
	s.record(c)
	s.setHeaders(c)
	if c.tried == ByBasic && c.verdict != right {
		s.refuseBasic(c)
		return
	}
	if c.user == nil && c.query.Get("os_authType") == "basic" {
		// Like Seraph's DefaultAuthenticator.
		w.Header().Set("WWW-Authenticate", `Basic realm="protected-area"`)
		page(c, http.StatusUnauthorized, "Unauthorized (401)", "")
		return
	}
	s.mux.ServeHTTP(w, c.r)
}

// parseQuery parses the query like Tomcat, which separates parameters only by
// "&".
func parseQuery(r *http.Request) url.Values {
	// Parameters that can't be unescaped are skipped.
	q, _ := url.ParseQuery(strings.ReplaceAll(r.URL.RawQuery, ";", "%3B"))
	return q
}
