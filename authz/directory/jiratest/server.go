// Package jiratest is a server in the shape of Jira Data Center, only for
// tests and the demo. It answers the few endpoints that they need, and
// authenticates as Jira does behind a plugin that trusts an identity header:
// a session first, then the header, then credentials. It keeps what it
// received, so that a test can say what reached Jira and what did not.
//
// Where it is not known what Jira does, this server does what would hurt most
// if something before it let a request slip.
package jiratest

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
)

// Options are what New needs. The zero Options make a server without users.
type Options struct {
	ContextPath string // "" or such as "/jira"
	Users       []User
	Keep        int // how many requests are kept; 0: 1000

	// MaxSearch is how many users a search answers at most; 0: 1000, as before
	// Jira 10. SearchWindow is how many of the users found a search reaches by
	// any startAt; 0: all. Jira 10 and later have 100 for both, and
	// /rest/api/2/user/list for whoever wants all (JRASERVER-78660); some
	// versions before had a window of 1000 (JRASERVER-65089).
	MaxSearch    int
	SearchWindow int

	// Leak is told where a request holds a token; see Watch.
	Leak func(where string)
}

// Server is the Jira-shaped server, an http.Handler. It is safe for concurrent
// use. Its memory is bounded: beyond a limit the oldest requests, sessions and
// issues are forgotten.
//
// It answers, behind the context path, with "latest" and ".json" as Jira takes
// them:
//
//	GET    /rest/api/2/myself                   ?expand=groups names the groups
//	GET    /rest/api/2/user                     ?username= or key=, and expand
//	GET    /rest/api/2/user/search              ?username=, startAt, maxResults (50), includeActive, includeInactive
//	GET    /rest/api/2/user/list                ?cursor=, maxResults (2000): all users; since 10.3 LTS and 11
//	GET    /rest/api/2/group/member             ?groupname=, startAt, maxResults (50), includeInactiveUsers
//	GET    /rest/api/2/serverInfo               anonymous too
//	GET    /rest/api/2/search                   every issue, whatever the JQL
//	POST   /rest/api/2/search                   the same
//	POST   /rest/api/2/issue                    creates one; see Created
//	GET    /rest/api/2/issue/{key}              DEMO-1 is there from the start
//	PUT    /rest/api/2/issue/{key}
//	DELETE /rest/api/2/issue/{key}
//	POST   /rest/api/2/issue/{key}/attachments  keeps the file of a form; of another body it answers the size and SHA-256
//	GET    /rest/api/2/attachment/{id}
//	GET    /rest/api/2/project/DEMO
//	GET    /rest/api/2/field                    the fields of an issue
//	GET    /secure/attachment/{id}/{name}       an attachment's content
//	GET    /rest/auth/1/session                 who has the session
//	POST   /rest/auth/1/session                 logs in
//	DELETE /rest/auth/1/session                 logs out
//	GET    /secure/Dashboard.jspa               a page that says who is seen
//	GET    /login.jsp                           a form, which keeps ?os_destination=
//	POST   /login.jsp                           logs in, and leads to os_destination or the dashboard
//
// All else is 404 as Jira says it. Only members of Administrators are answered
// group/member and other users (else 403); search and list answer anybody, but
// find nobody for others.
//
// While it serves, users may change (Put, Rename, Deactivate and so on), and it
// may answer as an older version (Omit), as Jira 11 (RefuseBasic), or fail
// (Fail).
type Server struct {
	context      string
	keep         int
	leak         func(string)
	maxSearch    int
	searchWindow int
	mux          *http.ServeMux
	users        *userStore
	omit         atomic.Pointer[[]string]
	noBasic      atomic.Bool

	mu       sync.Mutex // guards what follows
	seen     []Seen
	total    int
	counts   map[string]int // requests by route
	faults   []*Failure     // the oldest first
	failures map[string]int
	sessions sessions
	issues   issues

	attachments []*attachment // the oldest first
	attached    int           // how many came
}

// New returns a server with these options. Users are taken as by Put, the first
// one first.
func New(opts Options) *Server {
	s := &Server{
		context:      opts.ContextPath,
		keep:         cmp.Or(max(opts.Keep, 0), 1000),
		leak:         opts.Leak,
		maxSearch:    cmp.Or(max(opts.MaxSearch, 0), 1000),
		searchWindow: opts.SearchWindow,
		mux:          http.NewServeMux(),
		users:        newUserStore(),
		counts:       make(map[string]int),
		failures:     make(map[string]int),
		issues:       newIssues(),
	}
	for _, u := range opts.Users {
		s.Put(u)
	}
	s.routes()
	return s
}

// fold makes names comparable.
func fold(name string) string { return strings.ToLower(name) }

// call is one request on its way through the server.
type call struct {
	w       http.ResponseWriter
	r       *http.Request // its URL is what Tomcat would dispatch
	query   url.Values
	form    url.Values // what a form login sent
	user    *User      // nil: anonymous
	how     How
	tried   How     // how a password was tried; empty: none was
	verdict verdict // of that password
	session string  // the session the request came with or got; empty: none
}

type callKey struct{}

// handle registers what answers a pattern of http.ServeMux.
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
	s.handle("GET /rest/api/2/search", s.requireUser(s.search))
	s.handle("POST /rest/api/2/search", s.requireUser(s.search))
	s.handle("POST /rest/api/2/issue", s.requireUser(s.createIssue))
	s.handle("GET /rest/api/2/issue/{key}", s.requireUser(s.getIssue))
	s.handle("PUT /rest/api/2/issue/{key}", s.requireUser(s.updateIssue))
	s.handle("DELETE /rest/api/2/issue/{key}", s.requireUser(s.deleteIssue))
	s.handle("POST /rest/api/2/issue/{key}/attachments", s.requireUser(s.attach))
	s.handle("GET /rest/api/2/attachment/{id}", s.requireUser(s.showAttachment))
	s.handle("GET /rest/api/2/project/DEMO", s.requireUser(s.project))
	s.handle("GET /rest/api/2/field", s.requireUser(s.fields))
	s.handle("GET /secure/attachment/{id}/{name}", s.download)
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

// ServeHTTP answers one request and keeps it (see Requests).
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
		// Seraph's DefaultAuthenticator asks for Basic then.
		w.Header().Set("WWW-Authenticate", `Basic realm="protected-area"`)
		page(c, http.StatusUnauthorized, "Unauthorized (401)", "")
		return
	}
	s.mux.ServeHTTP(w, c.r)
}

// parseQuery reads the query as Tomcat does, for which only "&" parts it.
func parseQuery(r *http.Request) url.Values {
	// What can't be unescaped is left out, and the rest is good.
	q, _ := url.ParseQuery(strings.ReplaceAll(r.URL.RawQuery, ";", "%3B"))
	return q
}
