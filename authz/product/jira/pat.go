package jira

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
)

// The API of personal access tokens (PATs), since Jira 8.14. Atlassian documents only how
// to create one ("Using personal access tokens"); the rest is what Jira's plugin for PATs
// does. No live Jira was tried.
const (
	patPath    = "/rest/pat/latest/tokens"
	patTimeout = 10 * time.Second
	maxPATBody = 256 << 10 // by default a user has at most 10 PATs
)

// pat is a PAT in Jira's answers.
type pat struct {
	ID       int64     `json:"id"`
	Name     string    `json:"name"`
	Created  time.Time `json:"createdAt"`
	Ends     time.Time `json:"expiringAt"`
	RawToken string    `json:"rawToken"` // only when it is created
}

func (p pat) credential() product.UpstreamCredential {
	if p.Ends.Year() >= 9999 { // Jira's end of PATs that do not end
		p.Ends = time.Time{}
	}
	id := strconv.FormatInt(p.ID, 10)
	return product.UpstreamCredential{ID: id, Name: p.Name, Created: p.Created, Ends: p.Ends}
}

func isPAT(p pat) bool { return p.ID > 0 && !p.Ends.IsZero() }

// isPATValue reports whether a value fits in a header. Jira's are 44 characters of base64.
func isPATValue(value string) bool {
	unfit := func(c rune) bool { return c <= ' ' || c > '~' }
	return value != "" && len(value) <= 1024 && !strings.ContainsFunc(value, unfit)
}

// askPAT sends a request to the API of PATs.
func (c *client) askPAT(ctx context.Context, method, path string, user http.Header, body []byte) (response, error) {
	return c.ask(ctx, request{
		method:  method,
		path:    path,
		header:  user,
		body:    body,
		maxBody: maxPATBody,
		timeout: patTimeout,
	})
}

// createPAT asks for a PAT with a lifetime in days.
func (c *client) createPAT(ctx context.Context, user http.Header, name string, days int) (response, error) {
	body, err := json.Marshal(map[string]any{"name": name, "expirationDuration": days})
	if err != nil {
		return response{}, err
	}
	return c.askPAT(ctx, http.MethodPost, patPath, user, body)
}

// Mint implements product.CredentialClient.
func (c *client) Mint(ctx context.Context, user http.Header, name string, lifetime time.Duration) (
	made product.UpstreamCredential, err error,
) {
	const day = 24 * time.Hour
	if name == "" || lifetime <= 0 { // without a lifetime, the PAT would never end
		return made, fmt.Errorf("%w: it must have both", product.ErrCredentialRefused)
	}
	days := int(max(lifetime, day) / day)
	r, err := c.createPAT(ctx, user, name, days)
	if most := maxDays(r); err == nil && r.status == http.StatusBadRequest && most > 0 && most < days {
		r, err = c.createPAT(ctx, user, name, most)
	}
	switch {
	case err != nil:
		return made, err
	case r.status == http.StatusBadRequest:
		return made, c.explainBadPAT(ctx, user, r)
	case r.status != http.StatusCreated:
		return made, refusedPAT(r)
	}
	p, err := decode(r, isPAT)
	if err != nil {
		return made, err
	}
	made = p.credential()
	if !isPATValue(p.RawToken) {
		return made, r.unexpected()
	}
	made.Value = product.NewSecret(p.RawToken)
	return made, nil
}

// number matches a whole number, possibly with separators of thousands.
var number = regexp.MustCompile(`[0-9]+([.,' \x{2019}\x{a0}\x{202f}][0-9]{3})*`)

// maxDays returns the number in a refusal, or 0. Nothing else tells Jira's maximum
// lifetime, and the text around the number is in the user's language. If the number is
// another one, the next attempt is refused too, or the PAT ends earlier.
func maxDays(r response) int {
	digits := strings.Map(func(c rune) rune {
		if c < '0' || c > '9' {
			return -1
		}
		return c
	}, number.FindString(patRefusal(r).Text))
	n, _ := strconv.Atoi(digits)
	return n
}

// explainBadPAT returns the error for a refusal with status 400. Jira refuses so what is
// wrong in the request, and everything while PATs are switched off, which it checks
// first. Only the texts differ, which are in the user's language. So another request,
// without a name, is refused with the same text only if PATs are off.
func (c *client) explainBadPAT(ctx context.Context, user http.Header, refused response) error {
	if patRefusal(refused) == (refusal{}) {
		return refused.unexpected()
	}
	r, err := c.createPAT(ctx, user, "", 1)
	switch {
	case err != nil:
		return err
	case r.status == http.StatusCreated: // it accepts one without a name
		if p, err := decode(r, isPAT); err == nil {
			_ = c.Delete(ctx, user, p.credential().ID)
		}
	case r.status != http.StatusBadRequest:
		return refusedPAT(r)
	case patRefusal(r) == patRefusal(refused):
		return errPATsOff
	}
	return fmt.Errorf("%w: an administrator of Jira can compare it with atlassian.pats.max.tokens.expiry.days "+
		"and atlassian.pats.token.name.length", product.ErrCredentialRefused)
}

// List implements product.CredentialClient.
func (c *client) List(ctx context.Context, user http.Header) ([]product.UpstreamCredential, error) {
	r, err := c.askPAT(ctx, http.MethodGet, patPath, user, nil)
	switch {
	case err != nil:
		return nil, err
	case r.status != http.StatusOK:
		return nil, refusedPAT(r)
	}
	pats, err := decode(r, func(pats []pat) bool {
		for _, p := range pats {
			if !isPAT(p) {
				return false
			}
		}
		return pats != nil
	})
	if err != nil {
		return nil, err
	}
	list := make([]product.UpstreamCredential, 0, len(pats))
	for _, p := range pats {
		list = append(list, p.credential())
	}
	return list, nil
}

// Delete implements product.CredentialClient.
func (c *client) Delete(ctx context.Context, user http.Header, id string) error {
	if n, err := strconv.ParseInt(id, 10, 64); err != nil || n <= 0 {
		return fmt.Errorf("delete a personal access token: %q is no id of one", directory.Truncate(id))
	}
	r, err := c.askPAT(ctx, http.MethodDelete, patPath+"/"+id, user, nil)
	switch {
	case err != nil:
		return err
	case r.status != http.StatusNoContent:
		return refusedPAT(r)
	}
	return nil
}

// refusal is the body of a refusal by the API of PATs.
type refusal struct {
	Exception string `json:"exception"` // the name of a Java class, whose package may change
	Text      string `json:"error"`     // in the user's language
}

// patRefusal returns the body of a refusal; the zero refusal if it has another form.
func patRefusal(r response) (body refusal) {
	if !r.isJSON() || json.Unmarshal(r.body, &body) != nil {
		return refusal{}
	}
	return body
}

var errPATsOff = fmt.Errorf("%w in Jira: ask an administrator of Jira to switch them on "+
	"(atlassian.pats.enabled, from 8.14 on)", product.ErrCredentialsOff)

// refusedPAT returns the error for an answer other than success. Its text contains
// nothing of the answer.
func refusedPAT(r response) error {
	reason, exception := loginReason(r), patRefusal(r).Exception
	name := r.header.Get("X-AUSERNAME")
	switch {
	case reason == loginDenied:
		return directory.ErrCaptcha
	case reason == loginFailed:
		return directory.ErrNotLoggedIn
	case basicDisabled(r):
		return directory.ErrBasicRefused
	case r.status == http.StatusUnauthorized && name != "" && !strings.EqualFold(name, "anonymous"):
		return fmt.Errorf("%w: use the login of the token's user or of an administrator", product.ErrNotAllowed)
	case r.status == http.StatusUnauthorized:
		return directory.ErrNotLoggedIn
	case r.status == http.StatusForbidden && strings.HasSuffix(exception, "UserTokenLimitExceededException"):
		return fmt.Errorf("%w: delete one in your profile in Jira, where expired ones count too, and try again",
			product.ErrCredentialLimit)
	case r.status == http.StatusForbidden && strings.HasSuffix(exception, "InvalidLicenseException"):
		return fmt.Errorf("%w: ask an administrator to check the license of Jira", product.ErrLicense)
	case r.status == http.StatusForbidden && strings.Contains(string(r.body), "XSRF check failed"):
		return fmt.Errorf("%w: an administrator can check that no proxy between tokengate and Jira changes "+
			"User-Agent, Origin or X-Atlassian-Token", product.ErrCrossSite)
	case r.status == http.StatusForbidden && exception != "" && name != "" && !strings.EqualFold(name, "anonymous"):
		return fmt.Errorf("%w: Jira refuses it for an unknown reason, which its log may say", product.ErrNotAllowed)
	case r.status == http.StatusNotFound && r.isJSON():
		return errPATsOff
	}
	return r.unexpected()
}
