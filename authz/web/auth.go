package web

import (
	"errors"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/identify"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

// authenticator identifies the senders of requests.
type authenticator struct {
	Options
	origin string // of PublicURL
	forms  bool   // allows requests that a form can send; the pages check a nonce
}

// identify repeats authz.Decide, so that each kind of token is refused at the
// other's API even if Envoy did not ask.
func (a *authenticator) identify(r *http.Request) (principal, error) {
	asked := a.decisionRequest(r)
	view := a.View()
	d := authz.Decide(&asked, view)
	switch {
	case d.Outcome == authz.PassThrough && d.Reason == authz.ManagementPath:
		return a.identifyManagement(r, &asked, d, view)
	case d.Reason == authz.OtherBearer:
		return principal{}, errForeignBearer
	case d.Outcome == authz.PassThrough && (d.Reason == authz.NoCredential || d.Reason == authz.Password):
		return a.identifyUser(r, asked.Client)
	case d.Outcome == authz.Denied:
		return principal{}, decisionRefusal(d.Reason, 0)
	}
	return principal{}, decisionRefusal(authz.WrongTokenType, 0)
}

var errForeignBearer = &httpError{
	status: http.StatusUnauthorized,
	text:   "This Bearer credential is not accepted here. Log in with the browser, or send your user name and password, or a management token (tgadm_…).",
}

// identifyManagement returns the caller of a management token. It checks the token
// in the store, not just in the index, because management tokens can do much.
func (a *authenticator) identifyManagement(r *http.Request, asked *authz.Request, d authz.Decision, view authz.View) (principal, error) {
	t, err := a.Manager.Tokens.Get(r.Context(), d.TokenID.String())
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && t.State == store.Revoked:
		return principal{}, decisionRefusal(authz.UnknownToken, 0)
	case err != nil:
		return principal{}, err
	case t.Kind != store.Management:
		return principal{}, decisionRefusal(authz.WrongTokenType, 0)
	case t.State != store.Active:
		return principal{}, decisionRefusal(authz.Disabled, 0)
	case t.Expired(view.Now):
		return principal{}, decisionRefusal(authz.Expired, 0)
	}
	if entry, ok := view.Index.Lookup(t.ID); ok {
		if wait := entry.Limiter.Take(view.Now); wait > 0 {
			return principal{}, decisionRefusal(authz.RateLimited, wait)
		}
	}
	return principal{
		caller:    manage.ManagementToken(t, asked.Client.String()),
		parameter: view.Policy.QueryParameter,
		count:     func() { a.Usage.Record(t.ID, isUnsafe(r), view.Now, asked.Client) },
	}, nil
}

// identifyUser returns the user of a cookie, a password, or both.
func (a *authenticator) identifyUser(r *http.Request, client netip.Addr) (principal, error) {
	if err := a.checkOrigin(r); err != nil {
		return principal{}, err
	}
	credential := identify.Credential{Cookie: strings.Join(r.Header.Values("Cookie"), "; "), Client: client}
	authorization := strings.Join(r.Header.Values("Authorization"), ",")
	if scheme, _, _ := strings.Cut(authorization, " "); strings.EqualFold(scheme, "Basic") {
		credential.Authorization = authorization
	}
	user, login, err := a.Identify(r.Context(), credential)
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
	return principal{caller: manage.User(user, from).WithLogin(login)}, nil
}

// The answers to a wrong password.
const (
	wrongPassword = "This user name and password are not accepted. Check both, for instance by logging in with the browser."
	userNameHint  = " Send the user name, which may differ from the e-mail address."
)

// identifyError returns the refusal of a caller who cannot be identified.
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
		{identify.ErrTooManyFailures, http.StatusForbidden}, // not 429: waiting does not help
		{directory.ErrUnavailable, http.StatusServiceUnavailable},
	} {
		if errors.Is(err, known.err) {
			refusal.status, refusal.text = known.status, manage.Sentence(err)
			break
		}
	}
	if refusal.status == http.StatusServiceUnavailable {
		refusal.text = unavailable
	}
	return refusal
}

// decisionRefusal is a refusal by authz.Decide, without the header that would make a browser
// ask for a password.
func decisionRefusal(reason authz.Reason, wait time.Duration) error {
	text := reason.Text()
	if wait > 0 {
		text += tryAgainIn(wait)
	}
	return &httpError{status: reason.Status(), text: text, retry: wait}
}

// clientAddress returns the client's address, or the invalid one if it is missing or
// unreadable.
func (o *Options) clientAddress(r *http.Request) netip.Addr {
	values := r.Header.Values(authz.ClientIPHeader)
	if len(values) != 1 {
		return netip.Addr{}
	}
	return authz.ClientAddress(values[0], o.TrustedHops)
}

// decisionRequest returns a request as authz.Decide sees it, with repeated headers joined
// like Envoy does.
func (o *Options) decisionRequest(r *http.Request) authz.Request {
	asked := authz.Request{Method: r.Method, Path: r.RequestURI, Protocol: r.Proto, Client: o.clientAddress(r)}
	for _, name := range authz.Headers {
		*asked.Header(name) = strings.Join(r.Header.Values(name), ",")
	}
	return asked
}

// isUnsafe reports whether a request may change something (RFC 9110, 9.2.1).
func isUnsafe(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead
}

// checkOrigin refuses changes that a page of another site made a browser send
// (CSRF). Browsers attach cookies and remembered passwords to such requests, but no
// management tokens.
//
// The origin that a browser states must be this site's; other clients state none. In
// addition a POST needs something that a form cannot send. Browsers send DELETE,
// PATCH and PUT to another site only after a CORS preflight, which this API never answers.
func (a *authenticator) checkOrigin(r *http.Request) error {
	if !isUnsafe(r) {
		return nil
	}
	site, origins := r.Header.Values("Sec-Fetch-Site"), r.Header.Values("Origin")
	switch {
	case len(site) > 1, len(site) == 1 && site[0] != "same-origin" && site[0] != "none":
		return errCrossSite
	case len(origins) > 1, len(origins) == 1 && (a.origin == "" || origins[0] != a.origin):
		return errCrossSite
	case r.Method == http.MethodPost && !a.forms && !isJSON(r) && !strings.EqualFold(r.Header.Get("X-Atlassian-Token"), "no-check"):
		return errFormLike
	}
	return nil
}

var (
	errCrossSite = &httpError{
		status: http.StatusForbidden,
		text:   "The browser says that a page of another site has sent this request, so nothing was done. Open this site at its own address (publicURL).",
	}
	errFormLike = &httpError{
		status: http.StatusForbidden,
		text:   "A page of another site could have sent this request, so nothing was done. Send the header Content-Type: application/json, or X-Atlassian-Token: no-check.",
	}
)

// isJSON reports whether a request declares its body as JSON in UTF-8.
func isJSON(r *http.Request) bool {
	media, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := parameters["charset"]
	return err == nil && media == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8"))
}

// origin returns the origin of a URL as browsers send it (RFC 6454, 6.2): in lower
// case, without the scheme's default port; "" if it has none.
func origin(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Hostname() == "" {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	scheme := strings.ToLower(u.Scheme)
	if port := u.Port(); port != "" && port != map[string]string{"http": "80", "https": "443"}[scheme] {
		host += ":" + port
	}
	return scheme + "://" + host
}
