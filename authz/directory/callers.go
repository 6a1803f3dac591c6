package directory

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

const (
	// answerLasts is how long an answer about a credential is good, from when
	// Jira was asked: so long somebody who logged out or was deactivated is
	// still identified.
	answerLasts = 30 * time.Second

	// silenceLasts is how long it is remembered that there was no answer.
	silenceLasts = 2 * time.Second

	// identifyTime bounds one identification.
	identifyTime = 10 * time.Second

	// Identifications go to Jira no more than callersRate times a second, with
	// a burst, and no more than callersAtOnce at once.
	callersRate   = 10
	callersBurst  = 20
	callersAtOnce = 8

	maxCookie = 16 << 10
	maxBasic  = 4 << 10
)

// Credential is what a request carries of its sender's own: the Cookie header
// whole, since load balancers before Jira need cookies of theirs, and an
// Authorization header if it is Basic. Both are taken as they came; what was
// not sent is empty. Printing one prints nothing of it.
type Credential struct {
	Cookie        string
	Authorization string
}

// Format prints nothing of the credential.
func (Credential) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("credential")) }

// LogValue logs nothing of the credential.
func (Credential) LogValue() slog.Value { return slog.StringValue("credential") }

// credentialKind tells a cookie from a password.
type credentialKind byte

const (
	byCookie credentialKind = iota + 1
	byBasic
)

// Callers finds out who sent a request, by handing the request's own cookie or
// password to GET /rest/api/2/myself of Jira. It is safe for concurrent use.
//
// Answers are kept for 30 seconds from when Jira was asked, failures too.
// Those who send the same credential at the same time share one question.
// Jira counts failed logins and asks for a CAPTCHA after three, so no more
// than two wrong passwords for one user name are handed on within an hour,
// unless a right one comes between; an attempt of which nobody knows what came
// counts as one of them. Nothing but the credential is handed on, and no
// cookie that Jira sets is handed back.
type Callers struct {
	client  *Client
	now     func() time.Time
	hasher  hasher
	pace    pace
	lockout lockout
	slots   chan struct{}
	flights flights[credentialHash]
	answers answers

	asked, kept, blocked atomic.Uint64
}

// CallerStats are what Callers has to tell of itself.
type CallerStats struct {
	Asked   uint64 // questions that went to Jira
	Kept    uint64 // answered from what is kept
	Blocked uint64 // refused because of too many failures
}

// NewCallers returns Callers that ask by client.
func NewCallers(client *Client, now func() time.Time) *Callers {
	return &Callers{
		client:  client,
		now:     now,
		hasher:  newHasher(),
		pace:    pace{now: now, every: time.Second / callersRate, burst: callersBurst},
		lockout: lockout{now: now},
		slots:   make(chan struct{}, callersAtOnce),
	}
}

// Stats returns what happened so far.
func (c *Callers) Stats() CallerStats {
	return CallerStats{Asked: c.asked.Load(), Kept: c.kept.Load(), Blocked: c.blocked.Load()}
}

// Identify returns who has a credential. Its errors wrap ErrNotLoggedIn,
// ErrBasicRefused, ErrCaptcha, ErrTooManyFailures, ErrInactive,
// ErrUnusableName or ErrUnavailable, and are fit to show to the caller; but of
// ErrUnavailable only that itself, since what it wraps names addresses.
//
// Jira prefers a session to a password, and then says nothing of the password.
// So if there are both the cookie goes alone, and its user must be the one
// that the password is said to be of; the password goes only if the cookie
// leads to nobody.
func (c *Callers) Identify(ctx context.Context, credential Credential) (User, error) {
	basic, err := parseBasic(credential.Authorization)
	if err != nil {
		return User{}, err
	}
	if credential.Cookie != "" {
		if len(credential.Cookie) > maxCookie || !headerValue(credential.Cookie) {
			return User{}, fmt.Errorf("%w (the request's cookies are malformed or too long)", ErrNotLoggedIn)
		}
		u, err := c.identify(ctx, byCookie, credential.Cookie, basic.name)
		switch {
		case errors.Is(err, ErrNotLoggedIn) && basic.name != "":
		case err == nil && basic.name != "" && store.FoldOwner(u.Name) != store.FoldOwner(basic.name):
			return User{}, fmt.Errorf("%w (the session in the cookie and the user name of the password are two users')", ErrNotLoggedIn)
		default:
			return u, err
		}
	}
	if basic.name == "" {
		return User{}, ErrNotLoggedIn
	}
	return c.identify(ctx, byBasic, basic.text, basic.name)
}

// identify returns who has one credential. name is whose password it is.
func (c *Callers) identify(ctx context.Context, kind credentialKind, text, name string) (User, error) {
	key := c.hasher.sum(kind, text)
	if kept, ok := c.answers.get(key, c.now()); ok {
		c.kept.Add(1)
		return copied(kept.user), kept.err
	}
	u, err := c.flights.do(ctx, key, identifyTime, func(ctx context.Context) (User, error) {
		// Who asked before may have left an answer since.
		if kept, ok := c.answers.get(key, c.now()); ok {
			return kept.user, kept.err
		}
		var header http.Header
		if kind == byCookie {
			header = http.Header{"Cookie": {text}}
		} else {
			header = http.Header{"Authorization": {"Basic " + text}}
		}
		asked, u, err := c.ask(ctx, kind, header, name)
		switch {
		case errors.Is(err, ErrTooManyFailures):
			c.blocked.Add(1)
		case errors.Is(err, ErrUnavailable):
			c.answers.put(keptAnswer{key: key, err: err, until: c.now().Add(silenceLasts)}, c.now())
		default:
			c.answers.put(keptAnswer{key: key, user: u, err: err, until: asked.Add(answerLasts)}, c.now())
		}
		return u, err
	})
	return copied(u), err
}

// copied returns a user who shares nothing that can be changed.
func copied(u User) User {
	u.Groups.Names = slices.Clone(u.Groups.Names)
	return u
}

// ask asks Jira, and sees to it that a wrong password is counted. asked is
// when it did.
func (c *Callers) ask(ctx context.Context, kind credentialKind, header http.Header, name string) (asked time.Time, u User, err error) {
	outcome := func(verdict) {}
	if kind == byBasic {
		if err := c.lockout.begin(name); err != nil {
			return time.Time{}, User{}, err
		}
		outcome = func(v verdict) {
			switch v {
			case good:
				c.lockout.succeeded(name)
			case notLooked:
				c.lockout.unmade(name)
			default:
				c.lockout.failed(name)
			}
		}
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		outcome(notLooked)
		return time.Time{}, User{}, fmt.Errorf("%w: too many requests are waiting for Jira", ErrUnavailable)
	}
	if err := c.pace.wait(ctx); err != nil {
		outcome(notLooked)
		return time.Time{}, User{}, err
	}
	asked = c.now()
	c.asked.Add(1)
	r, err := c.client.ask(ctx, question{
		path:   myselfPath,
		query:  url.Values{"expand": {"groups"}},
		header: header,
		most:   maxUserBody,
		within: identifyTime,
	})
	if err != nil {
		v := unsure
		if errors.Is(err, errNotSent) {
			v = notLooked
		}
		outcome(v)
		return asked, User{}, err
	}
	u, v, err := caller(r, asked)
	if kind == byBasic && v == good && store.FoldOwner(u.Name) != store.FoldOwner(name) && !errors.Is(err, ErrUnusableName) {
		u, v, err = User{}, unsure, fmt.Errorf("%w (Jira knows the user by another name than the one that was sent)", ErrNotLoggedIn)
	}
	outcome(v)
	return asked, u, err
}

// basicCredential is a Basic credential: the base64 as it goes to Jira, and
// whose it is.
type basicCredential struct{ text, name string }

// parseBasic reads an Authorization header; an empty one is no credential.
// What can't be a password of somebody who may own tokens is refused here, and
// a token of ours, too: to Jira it would be a wrong password.
func parseBasic(header string) (basicCredential, error) {
	if header == "" {
		return basicCredential{}, nil
	}
	scheme, text, _ := strings.Cut(header, " ")
	text = strings.Trim(text, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return basicCredential{}, fmt.Errorf("%w (only Basic is good in the Authorization header here)", ErrNotLoggedIn)
	}
	decoded, err := base64.StdEncoding.DecodeString(text)
	name, password, found := strings.Cut(string(decoded), ":")
	if err != nil || !found || len(text) > maxBasic || strings.ContainsAny(text, "\r\n") {
		return basicCredential{}, fmt.Errorf("%w (the Basic credential is malformed or too long)", ErrNotLoggedIn)
	}
	if token.IsCredential(name) || token.IsCredential(password) {
		return basicCredential{}, fmt.Errorf("%w (an API token is no password here)", ErrNotLoggedIn)
	}
	if err := (User{Name: name}).check(); err != nil {
		return basicCredential{}, err
	}
	return basicCredential{text: text, name: name}, nil
}

// headerValue reports whether a text can be a header's value. net/http would
// refuse another, too.
func headerValue(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
