// Package web is the REST API over package manage: it identifies callers and
// translates requests and answers. The manager decides what callers may do. Start
// reading at New and handler.serve.
//
// The API is below /rest/api-tokens/latest/ and, identically, /rest/api-tokens/1.0/.
// It serves its own description, openapi.yaml. The shapes of
//
//	GET    /      the caller's own tokens
//	POST   /      create a token
//	DELETE /{id}  revoke a token
//	DELETE /all   revoke all of a user's tokens
//	GET    /all   all tokens, by user
//
// are compatible with clients of other API tokens for Jira: every field of those is
// here under the same name and in the same form.
//
// New serves users and automation behind Envoy, and the pages of package page. Admin
// serves the admin socket.
//
// Requests and answers are JSON; listings are also CSV. Errors have the shape of
// authz.Denial. No answer may be cached, or read by pages of other sites.
package web

import (
	"context"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/identify"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web/page"
	"github.com/tokengate/tokengate/authz/web/query"
	"github.com/tokengate/tokengate/store/cached"
)

// Bases are the two equivalent paths that the API is below.
var Bases = []string{config.APIPath + "/latest", config.APIPath + "/1.0"}

// Admin returns the API for the admin socket, a unix socket whose file permissions
// restrict it to administrators. The server must use ConnContext; requests whose
// peer is unknown are refused. view returns what a decision made now consults. The
// admin socket alone also has GET /status and POST /backup.
func Admin(m *manage.Manager, view func() authz.View, status func() Status, log *zap.Logger) http.Handler {
	return &handler{
		bases: Bases,
		endpoints: append(api{m, view}.endpoints(),
			newEndpoint(http.MethodGet, "status", func(call[empty]) (Status, error) { return status(), nil }),
			newReplyEndpoint[empty, empty](http.MethodPost, "backup", api{m, view}.backup)),
		read:     query.Read,
		refuse:   refuseOnSocket,
		identify: socketPrincipal,
		log:      log,
	}
}

// Status answers GET /status.
type Status struct {
	Started int64  `json:"started"` // milliseconds since 1970
	Refused string `json:"refused"` // why the configuration file is not in force; empty: it is
	File    string `json:"file"`    // SHA-256, in hexadecimal, of the configuration file when it was last applied or refused
	Envoy   string `json:"envoy"`   // its configuration: current, outdated, or unknown if no Envoy is there

	Store         string   `json:"store"`         // why the store cannot be used; empty: it can
	TokensFresh   bool     `json:"tokensFresh"`   // false: tokens are refused, because the store has not reported its changes
	Users         string   `json:"users"`         // why the last refresh of the user directory failed; empty: it did not
	UsersFresh    bool     `json:"usersFresh"`    // false: tokens are refused, because the user directory is too old
	MissingGroups []string `json:"missingGroups"` // that the configuration names and the directory does not have
}

// Options are the dependencies of New. All fields are required, except that
// PublicURL, ContextPath and TrustedHops may be zero.
type Options struct {
	Manager *manage.Manager
	View    func() authz.View // what a decision made now consults

	// Identify returns the user of a cookie or password: see
	// identify.Callers.Identify.
	Identify func(context.Context, identify.Credential) (user directory.User, login http.Header, err error)

	Usage       *cached.UsageRecorder // of management tokens
	PublicURL   string                // for browsers, with the context path; empty: browsers may make no changes
	ContextPath string                // of the application, such as /jira; the API and the pages are below it
	TrustedHops int                   // clientAddress.trustedHops; see authz.ClientAddress
	Log         *zap.Logger
	Now         func() time.Time
}

// New returns the API for users and automation, and the pages for users. Although it
// is behind Envoy, it trusts only what it has verified itself: a management token,
// which it checks with authz.Decide, or the request's cookie or password, which it hands
// to Identify. It reads no header that claims an identity.
func New(o Options) http.Handler {
	p := &authenticator{Options: o, origin: origin(o.PublicURL)}
	bases := make([]string, len(Bases))
	for i, base := range Bases {
		bases[i] = o.ContextPath + base
	}
	apiHandler := &handler{
		bases:     bases,
		endpoints: api{o.Manager, o.View}.endpoints(),
		read:      query.Read,
		refuse:    p.refuseInJSON,
		identify:  p.identify,
		limits:    newLimits(o.Now),
		anonymous: newLimits(o.Now),
		address:   o.clientAddress,
		log:       o.Log,
	}
	return &mux{api: apiHandler, pages: newPageHandler(p, apiHandler), health: o.ContextPath + config.HealthPath}
}

// mux dispatches requests to the API or the pages, and answers health checks.
type mux struct {
	api, pages *handler
	health     string // path
}

// ServeHTTP implements http.Handler.
func (m *mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if path == m.health && !isUnsafe(r) {
		reply{status: http.StatusOK, body: []byte("ok\n"), contentType: "text/plain;charset=UTF-8"}.write(w)
		return
	}
	below, isPage := m.pages.belowBase(path)
	if !isPage {
		m.api.ServeHTTP(w, r)
		return
	}
	// Styles and scripts are public.
	if body, contentType, ok := page.Asset(below); ok && !isUnsafe(r) {
		reply{status: http.StatusOK, body: body, contentType: contentType, headers: map[string]string{
			"Cache-Control": "public, max-age=31536000, immutable", // the name changes with the content
		}}.write(w)
		return
	}
	m.pages.ServeHTTP(w, r)
}
