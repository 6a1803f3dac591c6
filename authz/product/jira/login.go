package jira

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
)

// myselfPath is the path at which Jira identifies the caller.
const myselfPath = "/rest/api/2/myself"

// Jira's reasons for a failed login: a wrong password, and a password not
// checked because a CAPTCHA is required.
const (
	loginFailed = "AUTHENTICATED_FAILED"
	loginDenied = "AUTHENTICATION_DENIED"
)

// loginReason returns one of these reasons, or "".
func loginReason(r response) string {
	if strings.HasPrefix(r.header.Get("X-Authentication-Denied-Reason"), "CAPTCHA_CHALLENGE") {
		return loginDenied
	}
	reasons := strings.Join(r.header.Values("X-Seraph-LoginReason"), ",")
	for _, reason := range []string{loginDenied, loginFailed} {
		if strings.Contains(reasons, reason) {
			return reason
		}
	}
	return ""
}

// basicDisabled reports whether Jira refuses all Basic credentials
// (configurable since 8.16, the default since 11) without checking the
// password.
func basicDisabled(r response) bool {
	body := strings.ToLower(errorMessage(r))
	return r.status == http.StatusForbidden && strings.Contains(body, "basic auth") && strings.Contains(body, "disabled")
}

// Myself implements product.Client.
func (c *client) Myself(ctx context.Context, credential http.Header, timeout time.Duration, asked time.Time) (directory.User, product.Verdict, error) {
	r, err := c.ask(ctx, request{
		path:    myselfPath,
		query:   url.Values{"expand": {"groups"}},
		header:  credential,
		maxBody: maxUserBody,
		timeout: timeout,
	})
	switch {
	case errors.Is(err, errNotSent):
		return directory.User{}, product.VerdictUnchecked, err
	case err != nil:
		return directory.User{}, product.VerdictUnknown, err
	}
	return readCaller(r, asked)
}

// readCaller reads the response to GET /rest/api/2/myself.
func readCaller(r response, asked time.Time) (directory.User, product.Verdict, error) {
	switch reason := loginReason(r); {
	case reason == loginDenied:
		return directory.User{}, product.VerdictRejected, directory.ErrCaptcha
	case r.status == http.StatusUnauthorized, reason == loginFailed:
		return directory.User{}, product.VerdictRejected, directory.ErrNotLoggedIn
	case basicDisabled(r):
		return directory.User{}, product.VerdictUnchecked, directory.ErrBasicRefused
	case r.status == http.StatusOK && strings.EqualFold(r.header.Get("X-AUSERNAME"), "anonymous"):
		return directory.User{}, product.VerdictRejected, directory.ErrNotLoggedIn
	case r.status != http.StatusOK:
		return directory.User{}, product.VerdictUnknown, r.unexpected()
	}
	a, err := decode(r, isUser)
	if err != nil {
		return directory.User{}, product.VerdictUnknown, err
	}
	u := a.loggedInUser(asked)
	if err := u.Check(); err != nil {
		return directory.User{}, product.VerdictAccepted, fmt.Errorf("%w (you are %q in Jira)", err, directory.Truncate(u.Name))
	}
	return u, product.VerdictAccepted, directory.CheckActive(u)
}
