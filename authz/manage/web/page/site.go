package page

import (
	"net/http"
	"slices"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
)

// Path is the address of the pages, below Jira's context path.
const Path = "/plugins/servlet/api-tokens"

// Options are what New needs. All are required, but that ContextPath may be empty, and
// PublicURL where no browser makes changes.
type Options struct {
	Manager     *manage.Manager
	View        func() authz.View // what a decision made now consults
	PublicURL   string            // where browsers reach Jira, with its context path
	ContextPath string            // Jira's, such as /jira
	API         string            // the address of the REST API, without a host
	Now         func() time.Time
}

// Site are the pages. It is safe for concurrent use.
type Site struct {
	Options
	nonces *nonces
}

// New returns the pages.
func New(o Options) *Site { return &Site{Options: o, nonces: newNonces(o.Now)} }

// Request is a request for a page when it is known whose it is.
type Request struct {
	HTTP   *http.Request // its body is bounded
	Caller manage.Caller
	ID     string // what stands for {id}
	Query  query.Values
}

// Answer is a page, or leads to one. The zero Answer is none.
type Answer struct {
	Status  int // 0: that of the error that comes with it
	Body    []byte
	Headers map[string]string
	Token   string // the id of the token that it is about, for the log
}

// Page answers one method on one path. Serve may return an Answer and an error: a
// refusal that the page shows in its own place.
type Page struct {
	Method     string
	Path       string   // below Path; {id} stands for one segment
	Parameters []string // that its query may have
	Costly     bool     // it makes the store write a secret, or read very much
	Serve      func(*Request) (Answer, error)
}

// Pages returns all pages.
func (s *Site) Pages() []Page {
	const get, post = http.MethodGet, http.MethodPost
	pages := []Page{
		{get, "", slices.Concat([]string{"show", "after"}, noticeParameters), false, s.mine},
		{get, "new", []string{"user"}, false, s.newToken},
		{post, "new", nil, true, s.create},
		{get, "token/{id}", noticeParameters, false, s.token},
		{get, "token/{id}/rotate", nil, false, s.rotation},
		{post, "token/{id}/rotate", nil, true, s.rotate},
		{get, "token/{id}/edit", nil, false, s.edit},
		{post, "token/{id}/edit", nil, false, s.change},
		{get, "revoke-all", []string{"user"}, false, s.confirmAll},
		{post, "revoke-all", nil, true, s.revokeAll},
		{get, "explain", []string{"id"}, false, s.explain},
		{post, "explain", nil, false, s.explainRequest},
		{get, "tokens", listParameters, false, s.tokens},
		{get, "pending", slices.Concat([]string{"after"}, noticeParameters), false, s.pending},
		{get, "insights", nil, false, s.insights},
		{get, "audit", slices.Concat(query.AuditFilters, []string{"after"}), false, s.audit},
		{get, "settings", nil, false, s.settings},
	}
	for _, d := range actions {
		pages = append(pages,
			Page{get, "token/{id}/" + d.word, []string{"from", "list"}, false, func(r *Request) (Answer, error) { return s.confirm(r, d) }},
			Page{post, "token/{id}/" + d.word, nil, false, func(r *Request) (Answer, error) { return s.doAction(r, d) }})
	}
	return pages
}

// pageSize is how many tokens or records stand on a page.
const pageSize = 50
