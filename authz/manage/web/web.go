// Package web is the REST API over package manage: it finds out who is calling,
// decodes, hands over and encodes. What somebody may do is up to the manager.
//
// The API lies below /rest/api-tokens/latest/ and, the same, /rest/api-tokens/1.0/.
// It is described in openapi.yaml, which it serves itself. The shapes of
//
//	GET    /      the caller's own tokens
//	POST   /      create a token
//	DELETE /{id}  revoke a token
//	DELETE /all   revoke all of a user's tokens
//	GET    /all   everybody's tokens, by user
//
// are those that clients of other API tokens for Jira know: what is in theirs is
// in these under the same names and in the same form.
//
// New serves people and automation behind Envoy, and people's browsers with the pages
// of package page, for whom it finds out in the same way who they are. Admin serves
// the admin socket.
//
// Requests and answers are JSON; listings are CSV, too. Errors have the shape of
// authz.Denial. Nothing may be kept by a cache, so no answer names what it varies
// by; none may be read by a page of another site.
package web

import (
	"context"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/page"
	"github.com/tokengate/tokengate/authz/manage/web/query"
	"github.com/tokengate/tokengate/store"
)

// Bases are the paths that the API lies below: two names for one thing.
var Bases = []string{"/rest/api-tokens/latest", "/rest/api-tokens/1.0"}

// Admin returns the API for the admin socket: a unix socket whose file
// permissions say who may open it, and whoever may is an administrator. The
// server needs ConnContext as its ConnContext; a request whose connection
// does not tell who is at its other end is refused. view is what a decision
// made now consults.
func Admin(m *manage.Manager, view func() authz.View, log *zap.Logger) http.Handler {
	return &handler{
		bases:     Bases,
		endpoints: endpoints(m, view),
		read:      query.Read,
		refuse:    refuseOnSocket,
		identify:  socketPrincipal,
		log:       log,
	}
}

// Options are what New needs. All fields are required, but that PublicURL,
// ContextPath and TrustedHops may be zero.
type Options struct {
	Manager *manage.Manager
	View    func() authz.View // what a decision made now consults

	// Identify finds out whose a cookie or password is: see
	// directory.Callers.Identify.
	Identify func(context.Context, directory.Credential) (directory.User, error)

	Usage       *store.UsageRecorder // of management tokens
	PublicURL   string               // where browsers reach Jira, with its context path; empty: browsers may not make changes
	ContextPath string               // Jira's, such as /jira; the API and the page lie below it
	TrustedHops int                  // clientAddress.trustedHops; see authz.ClientAddress
	Log         *zap.Logger
	Now         func() time.Time
}

// New returns the API for people and automation, and the page for people. It
// stands behind Envoy, and still believes nothing but what it has found out
// itself: it takes a management token, by the rules of the gate, or hands the
// request's own cookie or password to Identify. Of the headers that say who
// somebody is it reads none.
func New(o Options) http.Handler {
	p := &authenticator{Options: o, origin: origin(o.PublicURL)}
	bases := make([]string, len(Bases))
	for i, base := range Bases {
		bases[i] = o.ContextPath + base
	}
	api := &handler{
		bases:     bases,
		endpoints: endpoints(o.Manager, o.View),
		read:      query.Read,
		refuse:    refuseInJSON,
		identify:  p.identify,
		limits:    newLimits(o.Now),
		anonymous: newLimits(o.Now),
		address:   o.clientAddress,
		log:       o.Log,
	}
	return &mux{api: api, pages: newPageHandler(p, api)}
}

// mux divides what Envoy sends here between the API and the pages.
type mux struct{ api, pages *handler }

// ServeHTTP implements http.Handler.
func (f *mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	below, isPage := f.pages.belowBase(path)
	if !isPage {
		f.api.ServeHTTP(w, r)
		return
	}
	// Style and script are the same for everybody: nobody is asked who they are.
	if body, kind, ok := page.Asset(below); ok && !isUnsafe(r) {
		reply{status: http.StatusOK, body: body, kind: kind, headers: map[string]string{
			"Cache-Control": "public, max-age=31536000, immutable", // the name changes with the content
		}}.write(w)
		return
	}
	f.pages.ServeHTTP(w, r)
}
