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

// Session returns what of the cookies says whose they are: the ids of Jira's
// sessions, or all of them where there is none. Cookies beside them may change
// from answer to answer, as those of load balancers do.
func (c Credential) Session() string { return sessionOf(c.Cookie) }

func sessionOf(header string) string {
	cookies, err := http.ParseCookie(header)
	if err != nil {
		return header
	}
	var ids []string
	for _, cookie := range cookies {
		if cookie.Name == "JSESSIONID" {
			ids = append(ids, cookie.Value)
		}
	}
	if len(ids) == 0 {
		return header
	}
	return "JSESSIONID=" + strings.Join(ids, ";")
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
// Credentials that were good lately go to Jira by a lane of their own, so that
// those who make some up keep out nobody who has logged in; who comes with an
// unknown one while too many others do is refused with ErrBusy within two
// seconds. Nothing but the credential is handed on, and no cookie that Jira sets
// is handed back.
//
// Jira counts failed logins of a user until a good one, and asks for a CAPTCHA
// after three. So once two wrong passwords for a user name were handed on no
// more is, until somebody of that name comes with a session that was not known
// before the last of them, or seven days are over; a right password in between
// begins the count anew. An attempt of which nobody knows what came counts as a
// wrong one. With that nobody can lock a user out of Jira by way of one process
// within seven days. It is not promised beyond them, nor over restarts and
// several processes, each of which counts for itself, nor where wrong passwords
// come to Jira by other ways, too. And a session may be older than it looks: one
// that was not used here for eight hours.
type Callers struct {
	client  *Client
	now     func() time.Time
	hasher  hasher
	lockout lockout
	unknown *lane
	known   *lane
	answers answers
	proven  answers // of credentials that were good lately

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
		lockout: lockout{now: now},
		unknown: newLane(now, unknownRate, unknownBurst, unknownWait),
		known:   newLane(now, provenRate, provenBurst, provenWait),
		answers: answers{most: maxAnswers},
		proven:  answers{most: maxProven},
	}
}

// Stats returns what happened so far.
func (c *Callers) Stats() CallerStats {
	return CallerStats{Asked: c.asked.Load(), Kept: c.kept.Load(), Blocked: c.blocked.Load()}
}

// Identify returns who has a credential. Its errors wrap ErrNotLoggedIn,
// ErrBasicRefused, ErrCaptcha, ErrTooManyFailures, ErrInactive,
// ErrUnusableName or ErrUnavailable (ErrBusy is one), and are fit to show to the
// caller; but of ErrUnavailable only that itself, since what wraps it names
// addresses.
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
	lane, whose := c.unknown, key
	if kind == byCookie {
		whose = c.hasher.sum(kind, sessionOf(text))
	}
	_, proven := c.proven.get(whose, c.now())
	if proven {
		lane = c.known
	}
	u, err := lane.flights.do(ctx, key, identifyTime, func(ctx context.Context) (User, error) {
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
		asked, u, err := c.ask(ctx, attempt{kind: kind, header: header, name: name, lane: lane, proven: proven})
		c.learn(whose, kind, proven, asked, u, err)
		switch {
		case errors.Is(err, ErrTooManyFailures):
			c.blocked.Add(1)
		case errors.Is(err, ErrBusy):
			// Jira was not asked, and so many are refused that they would push
			// out the answers.
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

// learn remembers which credentials are good. A session that was not known is
// one that its user has logged in to.
func (c *Callers) learn(key credentialHash, kind credentialKind, proven bool, asked time.Time, u User, err error) {
	switch {
	case err == nil:
		c.proven.put(keptAnswer{key: key, until: asked.Add(provenLasts)}, c.now())
		if kind == byCookie && !proven {
			c.lockout.loggedIn(u.Name, asked)
		}
	case !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrTooManyFailures):
		c.proven.forget(key)
	}
}

// attempt is a credential on its way to Jira.
type attempt struct {
	kind   credentialKind
	header http.Header
	name   string // whose password it is
	lane   *lane
	proven bool // it was good lately
}

// ask asks Jira, and sees to it that a wrong password is counted. asked is
// when it did.
func (c *Callers) ask(ctx context.Context, a attempt) (asked time.Time, u User, err error) {
	outcome, name := func(verdict) {}, a.name
	if a.kind == byBasic {
		if err := c.lockout.begin(name, a.proven); err != nil {
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
	if err := a.lane.enter(ctx); err != nil {
		outcome(notLooked)
		return time.Time{}, User{}, err
	}
	defer a.lane.leave()
	asked = c.now()
	c.asked.Add(1)
	r, err := c.client.ask(ctx, question{
		path:   myselfPath,
		query:  url.Values{"expand": {"groups"}},
		header: a.header,
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
	if a.kind == byBasic && v == good && store.FoldOwner(u.Name) != store.FoldOwner(name) && !errors.Is(err, ErrUnusableName) {
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
