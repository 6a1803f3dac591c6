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

// Why a caller is not identified, beside the errors of user.go. The texts tell
// people what to do.
var (
	// ErrNotLoggedIn says that Jira does not know who that is.
	ErrNotLoggedIn = errors.New("you are not logged in: log in to Jira in the browser, " +
		"or send your user name and password")

	// ErrBasicRefused says that Jira takes no passwords on REST, as Jira 11
	// does by default.
	ErrBasicRefused = errors.New("passwords are switched off on this Jira's REST API: " +
		"log in to Jira in the browser and use the API tokens page there")

	// ErrCaptcha says that Jira wants a CAPTCHA after too many failed logins.
	ErrCaptcha = errors.New("after failed logins Jira asks for a CAPTCHA first: " +
		"log in to Jira in the browser and use the API tokens page there")
)

// myselfPath is where Jira says who is calling.
const myselfPath = "/rest/api/2/myself"

// What Jira says of a login that failed: of a wrong password, and of one that
// it did not look at because it wants a CAPTCHA.
const (
	loginFailed = "AUTHENTICATED_FAILED"
	loginDenied = "AUTHENTICATION_DENIED"
)

// loginReason returns one of these, or nothing.
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

// basicDisabled reports whether Jira says that it takes no Basic credentials at
// all (from 8.16 where it is set so, and from 11 by default). It looks at no
// password then.
func basicDisabled(r jiraResponse) bool {
	said := strings.ToLower(errorMessage(r))
	return r.status == http.StatusForbidden && strings.Contains(said, "basic auth") && strings.Contains(said, "disabled")
}

// verdict is what an answer says of the password that it was asked with.
type verdict int

const (
	verdictUnknown    verdict = iota // nobody knows whether Jira looked at it
	verdictRejected                   // it was wrong, or not even looked at because too many were
	verdictUnchecked                // Jira takes none
	verdictAccepted
)

// myself asks who has a credential. header holds the credential, and asked is
// the time of the answer.
func (c *Client) myself(ctx context.Context, header http.Header, timeout time.Duration, asked time.Time) (User, verdict, error) {
	r, err := c.ask(ctx, jiraRequest{
		path:   myselfPath,
		query:  url.Values{"expand": {"groups"}},
		header: header,
		maxBody:   maxUserBody,
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

// readCaller reads who is calling from an answer to GET /rest/api/2/myself.
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
