package web

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
	"github.com/tokengate/tokengate/store"
)

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

// authenticator finds out who has sent a request.
type authenticator struct {
	Options
	origin string // of PublicURL
	forms  bool   // what a form can send is taken, too: what it leads to has to see that it is one of ours
}

// identify decides as the gate does, so that each kind of token is refused at the
// other's door even where the gate was not asked.
func (p *authenticator) identify(r *http.Request) (principal, error) {
	asked := p.gateRequest(r)
	view := p.View()
	d := authz.Decide(&asked, view)
	switch {
	case d.Outcome == authz.PassThrough && d.Reason == authz.ManagementPath:
		return p.identifyManagement(r, &asked, d, view)
	case d.Reason == authz.OtherBearer:
		return principal{}, errForeignBearer
	case d.Outcome == authz.PassThrough && (d.Reason == authz.NoCredential || d.Reason == authz.Password):
		return p.identifyUser(r, asked.Client)
	case d.Outcome == authz.Denied:
		return principal{}, gateRefusal(d.Reason, 0)
	}
	return principal{}, gateRefusal(authz.WrongTokenType, 0)
}

var errForeignBearer = &httpError{
	status: http.StatusUnauthorized,
	text:   "This Bearer credential is not accepted here. Log in to Jira in the browser, or send your user name and password, or a management token (tgadm_…).",
}

// identifyManagement is who sent a management token. The store is asked, too: what is
// done by such a token may be much, so it is not done on what the index says
// alone.
func (p *authenticator) identifyManagement(r *http.Request, asked *authz.Request, d authz.Decision, view authz.View) (principal, error) {
	t, err := p.Manager.Tokens.Get(r.Context(), d.TokenID.String())
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && t.State == store.Revoked:
		return principal{}, gateRefusal(authz.UnknownToken, 0)
	case err != nil:
		return principal{}, err
	case t.Kind != store.Management:
		return principal{}, gateRefusal(authz.WrongTokenType, 0)
	case t.State != store.Active:
		return principal{}, gateRefusal(authz.Disabled, 0)
	case !t.Expires.IsZero() && !view.Now.Before(t.Expires):
		return principal{}, gateRefusal(authz.Expired, 0)
	}
	if entry, ok := view.Index.Lookup(t.ID); ok {
		if wait := entry.Limiter.Take(view.Now); wait > 0 {
			return principal{}, gateRefusal(authz.RateLimited, wait)
		}
	}
	return principal{
		caller:    manage.Automation(t, asked.Client.String()),
		parameter: view.Policy.QueryParameter,
		count:     func() { p.Usage.Record(t.ID, isUnsafe(r), view.Now, asked.Client) },
	}, nil
}

// identifyUser is who sent a cookie or a password, or both.
func (p *authenticator) identifyUser(r *http.Request, client netip.Addr) (principal, error) {
	if err := p.checkOrigin(r); err != nil {
		return principal{}, err
	}
	credential := directory.Credential{Cookie: strings.Join(r.Header.Values("Cookie"), "; "), Client: client}
	authorization := strings.Join(r.Header.Values("Authorization"), ",")
	if scheme, _, _ := strings.Cut(authorization, " "); strings.EqualFold(scheme, "Basic") {
		credential.Authorization = authorization
	}
	user, err := p.Identify(r.Context(), credential)
	if err != nil {
		refusal := identifyError(err)
		if err.Error() == directory.ErrNotLoggedIn.Error() && credential.Authorization != "" {
			refusal.text = wrongPassword
			if name, _, _ := r.BasicAuth(); strings.Contains(name, "@") {
				refusal.text += userNameHint
			}
		}
		return principal{}, refusal
	}
	from := "unknown address"
	if client.IsValid() {
		from = client.String()
	}
	return principal{caller: manage.Person(user, from)}, nil
}

// What is told to somebody whose password Jira refuses.
const (
	wrongPassword = "Jira does not accept this user name and password. Check both, for instance by logging in to Jira in the browser."
	userNameHint  = " Send the user name, which may differ from the e-mail address."
)

// identifyError is the refusal of somebody of whom it cannot be told who it is.
func identifyError(err error) *httpError {
	refusal := &httpError{status: http.StatusServiceUnavailable, cause: err}
	for _, known := range []struct {
		err    error
		status int
	}{
		{directory.ErrNotLoggedIn, http.StatusUnauthorized},
		{directory.ErrInactive, http.StatusForbidden},
		{directory.ErrBasicRefused, http.StatusForbidden},
		{directory.ErrCaptcha, http.StatusForbidden},
		{directory.ErrUnusableName, http.StatusForbidden},
		{directory.ErrTooManyFailures, http.StatusForbidden}, // not 429: no waiting helps
		{directory.ErrUnavailable, http.StatusServiceUnavailable},
	} {
		if errors.Is(err, known.err) {
			refusal.status, refusal.text = known.status, sentence(err.Error())
			break
		}
	}
	if refusal.status == http.StatusServiceUnavailable {
		refusal.text = unavailable
	}
	return refusal
}

// sentence makes a whole sentence of an error's text.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// gateRefusal is a refusal as the gate gives it, but for the header that would make
// a browser ask for a password.
func gateRefusal(reason authz.Reason, wait time.Duration) error {
	text := reason.Text()
	if wait > 0 {
		text += tryAgainIn(wait)
	}
	return &httpError{status: reason.Status(), text: text, retry: wait}
}

// clientAddress returns the client's address, or the invalid one if it is
// missing or unreadable.
func (o *Options) clientAddress(r *http.Request) netip.Addr {
	values := r.Header.Values(authz.ClientIPHeader)
	if len(values) != 1 {
		return netip.Addr{}
	}
	return authz.ClientAddress(values[0], o.TrustedHops)
}

// gateRequest returns a request as the gate sees it: repeated headers are joined as
// Envoy joins them.
func (o *Options) gateRequest(r *http.Request) authz.Request {
	asked := authz.Request{Method: r.Method, Path: r.RequestURI, Protocol: r.Proto, Client: o.clientAddress(r)}
	for _, name := range authz.Headers {
		*asked.Header(name) = strings.Join(r.Header.Values(name), ",")
	}
	return asked
}
