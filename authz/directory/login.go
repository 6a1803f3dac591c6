package directory

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Errors about callers, in addition to those in user.go. The texts tell users
// what to do.
var (
	// ErrNotLoggedIn means that Jira does not know the caller.
	ErrNotLoggedIn = errors.New("you are not logged in: log in to Jira in the browser, " +
		"or send your user name and password")

	// ErrBasicRefused means that Jira accepts no passwords on REST, the default
	// of Jira 11.
	ErrBasicRefused = errors.New("passwords are switched off on this Jira's REST API: " +
		"log in to Jira in the browser and use the API tokens page there")

	// ErrCaptcha means that Jira asks for a CAPTCHA after too many failed
	// logins.
	ErrCaptcha = errors.New("Jira requires a CAPTCHA after failed logins: " +
		"log in to Jira in the browser and use the API tokens page there")
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
func loginReason(r jiraResponse) string {
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
func basicDisabled(r jiraResponse) bool {
	body := strings.ToLower(errorMessage(r))
	return r.status == http.StatusForbidden && strings.Contains(body, "basic auth") && strings.Contains(body, "disabled")
}

// verdict is what a response says about the credential.
type verdict int

const (
	verdictUnknown   verdict = iota // whether Jira checked it is unknown
	verdictRejected                 // wrong, or not checked because of too many failures
	verdictUnchecked                // Jira checks none
	verdictAccepted
)

// myself returns the user of a credential, which is in header. asked is the
// time of the request.
func (c *Client) myself(ctx context.Context, header http.Header, timeout time.Duration, asked time.Time) (User, verdict, error) {
	r, err := c.ask(ctx, jiraRequest{
		path:    myselfPath,
		query:   url.Values{"expand": {"groups"}},
		header:  header,
		maxBody: maxUserBody,
		timeout: timeout,
	})
	switch {
	case errors.Is(err, errNotSent):
		return User{}, verdictUnchecked, err
	case err != nil:
		return User{}, verdictUnknown, err
	}
	return readCaller(r, asked)
}

// readCaller reads the response to GET /rest/api/2/myself.
func readCaller(r jiraResponse, asked time.Time) (User, verdict, error) {
	switch reason := loginReason(r); {
	case reason == loginDenied:
		return User{}, verdictRejected, ErrCaptcha
	case r.status == http.StatusUnauthorized, reason == loginFailed:
		return User{}, verdictRejected, ErrNotLoggedIn
	case basicDisabled(r):
		return User{}, verdictUnchecked, ErrBasicRefused
	case r.status == http.StatusOK && strings.EqualFold(r.header.Get("X-AUSERNAME"), "anonymous"):
		return User{}, verdictRejected, ErrNotLoggedIn
	case r.status != http.StatusOK:
		return User{}, verdictUnknown, r.unexpected(myselfPath)
	}
	b, err := decodeUser(r, myselfPath)
	if err != nil {
		return User{}, verdictUnknown, err
	}
	u := b.loggedInUser(asked)
	if err := u.check(); err != nil {
		return User{}, verdictAccepted, fmt.Errorf("%w (you are %q in Jira)", err, truncate(u.Name))
	}
	return u, verdictAccepted, checkActive(u)
}
