// Package page serves the HTML pages on which users manage their API tokens. The
// manager decides what a caller may see and do; the package web identifies the caller
// first.
//
// Every page works without JavaScript; the script only adds copying, dialogs and
// filtering without a reload. A form that changes something carries a nonce that is
// valid once, for one caller and one address, so that a reload or a double click does
// not repeat the change. Any server of the same store accepts it. Only the response to
// the form that created or rotated a token contains its value.
//
// Start at Site.Pages. The texts are in the templates; those that Go code chooses are
// in templates/texts.txt.
package page

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/web/query"
)

// pageSize is the number of tokens or records on a page.
const pageSize = 50

// Options configure New. All are required, except that ContextPath may be empty, and
// PublicURL where no browser makes changes.
type Options struct {
	Manager     *manage.Manager
	View        func() authz.View // the state that explained requests are decided on
	PublicURL   string            // the URL of the application for browsers, with its context path
	ContextPath string            // of the application, such as /jira
	API         string            // the address of the REST API, without a host
	Now         func() time.Time
}

// Site serves the pages. It is safe for concurrent use.
type Site struct {
	Options
	nonces *nonces
}

// New returns a Site.
func New(o Options) *Site { return &Site{Options: o, nonces: newNonces(o.Manager.Tokens, o.Now)} }

// product returns the application that the tokens are for.
func (s *Site) product() *product.Product { return &s.View().Policy.Product }

// Request is a request for a page by an identified caller.
type Request struct {
	HTTP   *http.Request // its body is bounded
	Caller manage.Caller
	ID     string // the path segment for {id}
	Query  query.Values
}

// Answer is a response: a page or a redirect. The zero Answer is none.
type Answer struct {
	Status  int // 0: the status of the error returned with it
	Body    []byte
	Headers map[string]string
	Token   string // the id of the token it is about, for the log
}

// Page answers one method on one path. Serve may return both an Answer and an error:
// a refusal that the page itself shows.
type Page struct {
	Method     string
	Path       string   // below config.PagePath; {id} matches one segment
	Parameters []string // allowed in the query
	Costly     bool     // it stores a secret, or is the form that revokes all of a user's tokens
	Revokes    bool     // it revokes tokens
	Serve      func(*Request) (Answer, error)
}

// Pages returns all pages.
func (s *Site) Pages() []Page {
	const get, post = http.MethodGet, http.MethodPost
	pages := []Page{
		{Method: get, Path: "", Parameters: slices.Concat([]string{"show", "after"}, noticeParameters), Serve: s.inTab("", s.mine)},
		{Method: get, Path: "new", Parameters: []string{"user"}, Serve: s.inTab("", s.newToken)},
		{Method: post, Path: "new", Costly: true, Serve: s.inTab("", s.create)},
		{Method: get, Path: "token/{id}", Parameters: noticeParameters, Serve: s.ofToken(s.token)},
		{Method: get, Path: "token/{id}/rotate", Serve: s.ofToken(s.rotation)},
		{Method: post, Path: "token/{id}/rotate", Costly: true, Serve: s.ofToken(s.rotate)},
		{Method: get, Path: "token/{id}/edit", Serve: s.ofToken(s.edit)},
		{Method: post, Path: "token/{id}/edit", Serve: s.ofToken(s.change)},
		{Method: get, Path: "revoke-all", Parameters: []string{"user"}, Serve: s.inTab("", s.confirmAll)},
		{Method: post, Path: "revoke-all", Costly: true, Revokes: true, Serve: s.inTab("", s.revokeAll)},
		{Method: get, Path: "explain", Parameters: []string{"id"}, Serve: s.inTab("explain", s.explain)},
		{Method: post, Path: "explain", Serve: s.inTab("explain", s.explainRequest)},
		{Method: get, Path: "tokens", Parameters: listParameters, Serve: s.inTab("tokens", s.tokens)},
		{Method: get, Path: "pending", Parameters: slices.Concat([]string{"after"}, noticeParameters), Serve: s.inTab("pending", s.pending)},
		{Method: get, Path: "insights", Serve: s.inTab("insights", s.insights)},
		{Method: get, Path: "audit", Parameters: slices.Concat(query.AuditFilters, []string{"after"}), Serve: s.inTab("audit", s.audit)},
		{Method: get, Path: "settings", Serve: s.inTab("settings", s.settings)},
		{Method: get, Path: "connection", Parameters: noticeParameters, Serve: s.inTab("connection", s.connection)},
		{Method: post, Path: "connection", Costly: true, Serve: s.inTab("connection", s.connect)},
		{Method: get, Path: "connection/disconnect", Serve: s.inTab("connection", s.confirmDisconnect)},
		{Method: post, Path: "connection/disconnect", Revokes: true, Serve: s.inTab("connection", s.disconnect)},
		{Method: get, Path: "connections", Parameters: connectionParameters, Serve: s.inTab("connections", s.connections)},
		{Method: post, Path: "connections/check", Serve: s.inTab("connections", s.check)},
		{Method: get, Path: "connections/disconnect", Parameters: []string{"key", "list"}, Serve: s.inTab("connections", s.confirmDisconnectUser)},
		{Method: post, Path: "connections/disconnect", Revokes: true, Serve: s.inTab("connections", s.disconnectUser)},
		{Method: get, Path: "connections/new", Serve: s.inTab("connections", s.paste)},
		{Method: post, Path: "connections/new", Costly: true, Serve: s.inTab("connections", s.connectUser)},
	}
	for _, a := range actions {
		below := "token/{id}/" + a.word
		pages = append(pages,
			Page{Method: get, Path: below, Parameters: []string{"from", "list"}, Serve: s.ofToken(a.on(s.confirm))},
			Page{Method: post, Path: below, Revokes: a.danger, Serve: s.ofToken(a.on(s.doAction))})
	}
	return pages
}

// inTab serves a page with the layout for its tab.
func (s *Site) inTab(tab string, serve func(*Request, *layout) (Answer, error)) func(*Request) (Answer, error) {
	return func(r *Request) (Answer, error) {
		if err := s.nonces.load(r.HTTP.Context()); err != nil {
			return Answer{}, err
		}
		l, err := s.layout(r, tab)
		if err != nil {
			return Answer{}, err
		}
		return serve(r, l)
	}
}

// tokenPageFunc serves a page about a token.
type tokenPageFunc func(*Request, *layout, manage.Token) (Answer, error)

// ofToken serves a page about the token that the path names, in the tab that lists it.
func (s *Site) ofToken(serve tokenPageFunc) func(*Request) (Answer, error) {
	return func(r *Request) (Answer, error) {
		found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, r.ID)
		if err != nil {
			return Answer{}, err
		}
		return s.inTab(tabOf(found), func(r *Request, l *layout) (Answer, error) { return serve(r, l, found) })(r)
	}
}

// Problem explains why the requested page is not shown.
type Problem struct {
	Status int
	Text   string // whole sentences; empty: the text for the status
	Login  string // the address of the login page, if logging in helps
}

// Problem shows a problem to the caller, who may be unidentified.
func (s *Site) Problem(r *Request, p Problem) Answer {
	l := s.bareLayout()
	if r.Caller.Name() != "" {
		if full, err := s.layout(r, "none"); err == nil {
			l = full
		}
	}
	a, err := render("problem", p.Status, l, p)
	if err != nil {
		return Answer{Status: p.Status, Body: []byte(http.StatusText(p.Status)), Headers: map[string]string{"Content-Type": "text/plain;charset=UTF-8"}}
	}
	return a
}

func (s *Site) problem(r *Request, status int, name string) Answer {
	return s.Problem(r, Problem{Status: status, Text: text(name)})
}

// url returns the address of a page, given below config.PagePath.
func (s *Site) url(below string) string {
	if below == "" || below[0] == '?' {
		return s.ContextPath + config.PagePath + below
	}
	return s.ContextPath + config.PagePath + "/" + below
}

// seeOther redirects from a form to a page, so that a reload sends nothing again.
func (s *Site) seeOther(below, token string) Answer {
	return Answer{Status: http.StatusSeeOther, Headers: map[string]string{"Location": s.url(below)}, Token: token}
}

// encode returns parameters, given as alternating names and values, for an address.
func encode(pairs ...string) string {
	return with(nil, pairs...)
}

// with returns q for an address, with more parameters as in encode.
func with(q query.Values, pairs ...string) string {
	values := url.Values{}
	for name, value := range q {
		values.Set(name, value)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return values.Encode()
}

// without returns q without the named parameters.
func without(q query.Values, names ...string) query.Values {
	left := maps.Clone(q)
	for _, name := range names {
		delete(left, name)
	}
	return left
}
