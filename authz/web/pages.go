package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web/page"
	"github.com/tokengate/tokengate/authz/web/query"
)

// newPageHandler returns the handler of the pages. It shares the API's limits.
func newPageHandler(p *authenticator, apiHandler *handler) *handler {
	site := page.New(page.Options{
		Manager: p.Manager, View: p.View, PublicURL: p.PublicURL, ContextPath: p.ContextPath, API: apiHandler.bases[0], Now: p.Now,
	})
	withForms := *p
	withForms.forms = true
	h := &handler{
		bases: []string{p.ContextPath + config.PagePath},
		read: func(raw string, known []string, _ string) (query.Values, error) {
			q, err := query.ReadForm(raw, append([]string{loginDone}, known...))
			delete(q, loginDone)
			return q, err
		},
		identify:  withForms.identify,
		limits:    apiHandler.limits,
		anonymous: apiHandler.anonymous,
		address:   apiHandler.address,
		log:       apiHandler.log,
	}
	for _, shown := range site.Pages() {
		h.endpoints = append(h.endpoints, pageEndpoint(shown))
	}
	h.refuse = func(r *http.Request, c manage.Caller, err error) reply {
		return p.refusePage(site, r, c, err)
	}
	return h
}

// pageEndpoint makes an endpoint from a page.
func pageEndpoint(p page.Page) endpoint {
	return endpoint{
		method: p.Method, path: p.Path, parameters: p.Parameters, costly: p.Costly, revokes: p.Revokes,
		serve: func(r *http.Request, in incoming) (reply, error) {
			a, err := p.Serve(&page.Request{HTTP: r, Caller: in.caller, ID: in.id, Query: in.query})
			answer := pageReply(a)
			if err != nil && answer.status == 0 && answer.body != nil {
				refusal := denial(err)
				answer.status, answer.retry = refusal.status, refusal.retry
			}
			return answer, err
		},
	}
}

// pageReply makes a reply from a page's answer. The zero answer gives the zero reply.
func pageReply(a page.Answer) reply {
	return reply{status: a.Status, body: a.Body, contentType: page.ContentType, headers: a.Headers, token: a.Token}
}

// loginDone is the query parameter that marks a return from the login page: a client
// who returns with it and is still not logged in is not redirected again.
const loginDone = "login"

// refusePage shows an error as a page. It redirects clients who are not logged in to
// the application's login page and back.
func (a *authenticator) refusePage(site *page.Site, r *http.Request, c manage.Caller, err error) reply {
	answer := denial(err)
	login := ""
	if errors.Is(err, directory.ErrNotLoggedIn) {
		login = a.loginURL(r)
		if !isUnsafe(r) && r.URL.Query().Get(loginDone) == "" {
			return reply{status: http.StatusSeeOther, headers: map[string]string{"Location": login}}
		}
	}
	problem := page.Problem{Status: answer.status, Login: login}
	if e := refusalOf(err); e != nil && e != errNoPath {
		problem.Text = e.text
	}
	shown := pageReply(site.Problem(&page.Request{HTTP: r, Caller: c}, problem))
	shown.allow, shown.retry = answer.allow, answer.retry
	return shown
}

// loginURL returns the address of the login page, which leads back to the requested
// page; for a submitted form, to the page of the form.
func (a *authenticator) loginURL(r *http.Request) string {
	back := strings.TrimPrefix(r.URL.EscapedPath(), a.ContextPath)
	values := url.Values{}
	if !isUnsafe(r) {
		values = r.URL.Query()
	}
	values.Set(loginDone, "true")
	return a.ContextPath + a.View().Policy.Product.LoginPage + url.QueryEscape(back+"?"+values.Encode())
}
