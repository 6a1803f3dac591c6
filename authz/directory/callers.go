package directory

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

const (
	// answerTTL is how long an answer about a credential is good, from when
	// Jira was asked: so long somebody who logged out or was deactivated is
	// still identified.
	answerTTL = 30 * time.Second

	// noAnswerTTL is how long it is remembered that there was no answer.
	noAnswerTTL = 2 * time.Second

	// identifyTimeout bounds one question to Jira, so that one without an answer
	// gives its place back.
	identifyTimeout = 10 * time.Second

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

	// Client is where the request came from; invalid where that is not known. Of
	// unknown credentials, those of the network that asks least go first.
	Client netip.Addr
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
// Requests that bring the same credential at the same time share one question.
// What is bounded is how many questions are under way at once, not their rate: a
// jiraRequest costs Jira no more than the same request sent to Jira. Credentials
// that were good lately have a lane of their own, and Jira is asked about them
// again in the background before their answer ends, so that made-up credentials
// delay nobody who is known. Unknown ones go newest first, those of the network
// with the fewest questions under way before others, and after two seconds
// without a place they are refused with ErrBusy. Nothing but the credential is
// handed on, and no cookie that Jira sets is handed back.
//
// Jira counts failed logins of a user until a good one, and asks for a CAPTCHA
// after three. So once two wrong passwords for a user name were handed on no
// more is, until somebody of that name comes with a session that was not known
// before the last of them, or seven days are over; a right password in between
// begins the count anew. An attempt of which nobody knows what came counts as a
// wrong one. With that nobody can lock a user out of Jira by way of one process
// within seven days, short of wrong passwords for 250,000 other names between
// two attempts. It is not promised beyond that, nor over restarts and several
// processes, each of which counts for itself, nor where wrong passwords come to
// Jira by other ways, too. And a session may be older than it looks: one that was
// not used here for eight hours.
type Callers struct {
	client      *Client
	now         func() time.Time
	hasher      hasher
	lockout     lockout
	unknownPool *pool
	knownPool   *pool
	memory      credentialMemory
	answerCache answerCache // good ones
	refusals    answerCache // apart, so that strangers push out no good answer

	asked, cacheHits, blocked atomic.Uint64
}

// CallerStats are what Callers has to tell of itself.
type CallerStats struct {
	Asked   uint64 // questions that went to Jira
	Kept    uint64 // answered from what is kept
	Blocked uint64 // refused because of too many failures
	Dropped uint64 // refused because too many waited for Jira
}

// NewCallers returns Callers that ask by client.
func NewCallers(client *Client, now func() time.Time) *Callers {
	return &Callers{
		client:      client,
		now:         now,
		hasher:      newHasher(),
		lockout:     lockout{now: now},
		unknownPool: newPool(unknownSlots, unknownWait),
		knownPool:   newPool(knownSlots, knownWait),
		answerCache: answerCache{maxSize: maxAnswers},
		refusals:    answerCache{maxSize: maxRefusals},
	}
}

// Stats returns what happened so far.
func (c *Callers) Stats() CallerStats {
	return CallerStats{
		Asked: c.asked.Load(), Kept: c.cacheHits.Load(), Blocked: c.blocked.Load(),
		Dropped: c.unknownPool.dropped.Load() + c.knownPool.dropped.Load(),
	}
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
		if len(credential.Cookie) > maxCookie || !validHeaderValue(credential.Cookie) {
			return User{}, fmt.Errorf("%w (the request's cookies are malformed or too long)", ErrNotLoggedIn)
		}
		u, err := c.identify(ctx, credential.Client, byCookie, credential.Cookie, basic.name)
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
	return c.identify(ctx, credential.Client, byBasic, basic.text, basic.name)
}

// identify returns who has one credential. name is whose password it is.
func (c *Callers) identify(ctx context.Context, client netip.Addr, kind credentialKind, text, name string) (User, error) {
	a := attempt{kind: kind, text: text, name: name, key: c.hasher.sum(kind, text), pool: c.unknownPool}
	a.sessionKey = a.key
	if kind == byCookie {
		a.sessionKey = c.hasher.sum(kind, sessionOf(text))
	}
	kept, ok := c.cached(a.key)
	if ok && !c.expiresSoon(kept) {
		c.cacheHits.Add(1)
		return cloneUser(kept.user), kept.err
	}
	user, known := c.memory.get(a.sessionKey, c.now())
	if known {
		a.pool, a.known, a.origins = c.knownPool, true, []string{user}
	} else {
		a.origins = networks(client)
	}
	// The request goes on for other callers when the first one has left.
	shared := context.WithoutCancel(ctx)
	answer := a.pool.flights.DoChan(string(a.key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(shared, a.pool.maxWait+identifyTimeout)
		defer cancel()
		return c.askAndCache(ctx, a)
	})
	if ok {
		c.cacheHits.Add(1)
		return cloneUser(kept.user), nil
	}
	select {
	case r := <-answer:
		u, _ := r.Val.(User)
		return cloneUser(u), r.Err
	case <-ctx.Done():
		return User{}, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// cached returns the answer about a credential that is still good.
func (c *Callers) cached(key credentialHash) (cachedAnswer, bool) {
	if kept, ok := c.answerCache.get(key, c.now()); ok {
		return kept, true
	}
	return c.refusals.get(key, c.now())
}

// expiresSoon reports whether it is time to ask about a good credential again, while
// its answer is still good.
func (c *Callers) expiresSoon(kept cachedAnswer) bool {
	return kept.err == nil && !c.now().Before(kept.until.Add(-answerTTL/2))
}

// jiraRequest asks Jira about a credential and keeps the answer.
func (c *Callers) askAndCache(ctx context.Context, a attempt) (User, error) {
	// An earlier question may have left an answer since.
	if kept, ok := c.cached(a.key); ok && !c.expiresSoon(kept) {
		return kept.user, kept.err
	}
	asked, u, err := c.askJira(ctx, a)
	c.updateMemory(a, asked, u, err)
	switch {
	case err == nil:
		c.answerCache.put(cachedAnswer{key: a.key, user: u, until: asked.Add(answerTTL)}, c.now())
	case errors.Is(err, ErrTooManyFailures):
		c.blocked.Add(1)
	case errors.Is(err, ErrBusy):
		// Jira was not asked, and so many are refused that they would push
		// out the answers.
	case errors.Is(err, ErrUnavailable):
		c.refusals.put(cachedAnswer{key: a.key, err: err, until: c.now().Add(noAnswerTTL)}, c.now())
	default:
		c.answerCache.delete(a.key)
		c.refusals.put(cachedAnswer{key: a.key, user: u, err: err, until: asked.Add(answerTTL)}, c.now())
	}
	return u, err
}

// cloneUser returns a user who shares nothing that can be changed.
func cloneUser(u User) User {
	u.Groups.Names = slices.Clone(u.Groups.Names)
	return u
}

// updateMemory remembers which credentials are good. A session that was not known is
// one that its user has logged in to.
func (c *Callers) updateMemory(a attempt, asked time.Time, u User, err error) {
	switch {
	case err == nil:
		c.memory.put(store.FoldOwner(u.Name), a.sessionKey, asked.Add(knownTTL), c.now())
		if a.kind == byCookie && !a.known {
			c.lockout.loggedIn(u.Name, asked)
		}
	case !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrTooManyFailures):
		c.memory.delete(a.sessionKey)
	}
}

// attempt is a credential on its way to Jira.
type attempt struct {
	kind   credentialKind
	text   string
	name   string         // whose password it is
	key    credentialHash // of the whole credential
	sessionKey  credentialHash // of what of it says whose it is
	pool   *pool
	origins []string // in the lane
	known  bool     // it was good lately
}

// header returns the header in which the credential goes to Jira.
func (a attempt) header() http.Header {
	if a.kind == byCookie {
		return http.Header{"Cookie": {a.text}}
	}
	return http.Header{"Authorization": {"Basic " + a.text}}
}

// askJira asks Jira, and sees to it that a wrong password is counted. asked is
// when it did.
func (c *Callers) askJira(ctx context.Context, a attempt) (asked time.Time, u User, err error) {
	outcome, name := func(verdict) {}, a.name
	if a.kind == byBasic {
		if err := c.lockout.begin(name, a.known); err != nil {
			return time.Time{}, User{}, err
		}
		outcome = func(v verdict) {
			switch v {
			case verdictAccepted:
				c.lockout.succeeded(name)
			case verdictUnchecked:
				c.lockout.cancelled(name)
			default:
				c.lockout.failed(name)
			}
		}
	}
	if err := a.pool.enter(ctx, a.origins...); err != nil {
		outcome(verdictUnchecked)
		return time.Time{}, User{}, err
	}
	defer a.pool.leave(a.origins...)
	asked = c.now()
	c.asked.Add(1)
	u, v, err := c.client.myself(ctx, a.header(), identifyTimeout, asked)
	if a.kind == byBasic && v == verdictAccepted && store.FoldOwner(u.Name) != store.FoldOwner(name) && !errors.Is(err, ErrUnusableName) {
		u, v, err = User{}, verdictUnknown, fmt.Errorf("%w (Jira knows the user by another name than the one that was sent)", ErrNotLoggedIn)
	}
	outcome(v)
	return asked, u, err
}

// basicCredential is a Basic credential: the base64 as it goes to Jira, and
// sessionKey it is.
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

// validHeaderValue reports whether a text can be a header's value. net/http would
// refuse another, too.
func validHeaderValue(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
