// Package identify finds out who is calling the page or the API: from a session cookie
// or a password, which it checks with the application. It remembers answers, limits concurrent
// questions, and stops passing on wrong passwords before the application locks the user
// out. Start reading at Callers.Identify.
package identify

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

	"golang.org/x/time/rate"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

const (
	// answerTTL is how long an answer about a credential is used, from when the
	// application was asked: users who logged out or were deactivated are identified
	// that long.
	answerTTL = 30 * time.Second

	// noAnswerTTL is how long a failure to get an answer is cached.
	noAnswerTTL = 2 * time.Second

	// identifyTimeout limits one request to the application, so that it frees its slot.
	identifyTimeout = 10 * time.Second

	maxCookie = 16 << 10
	maxBasic  = 4 << 10
)

// The rate at which a server passes on passwords that it has not accepted recently. Each takes up to 1.5 KB of etcd's
// space until that is compacted, so a flood of invented ones must not fill it. If all slots wait, the last waits
// less than two seconds.
const (
	passwordsPerSecond = 20
	passwordBurst      = 200
)

// Credential is a request's own credential: the whole Cookie header, since load
// balancers before the application need their cookies, and a Basic Authorization header.
// Both are unmodified, and empty if not sent. Printing a Credential reveals
// nothing.
type Credential struct {
	Cookie        string
	Authorization string

	// Client is the address the request came from, or invalid if unknown. Among
	// unknown credentials, those from the least busy network go first.
	Client netip.Addr
}

// sessionOf returns the part of a Cookie header that identifies the user: the cookies
// with these names, or all if there are none. Other cookies, such as those of load
// balancers, may change between responses.
func sessionOf(header string, names []string) string {
	cookies, err := http.ParseCookie(header)
	if err != nil {
		return header
	}
	var session []string
	for _, cookie := range cookies {
		if slices.Contains(names, cookie.Name) {
			session = append(session, cookie.Name+"="+cookie.Value)
		}
	}
	if len(session) == 0 {
		return header
	}
	return strings.Join(session, ";")
}

// Format prints a placeholder.
func (Credential) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("credential")) }

// LogValue returns a placeholder.
func (Credential) LogValue() slog.Value { return slog.StringValue("credential") }

// credentialKind is a cookie or a password.
type credentialKind byte

const (
	byCookie credentialKind = iota + 1
	byBasic
)

// Callers identifies who sent a request by passing the request's own cookie or
// password to the application: see product.Client. It is safe for concurrent use.
//
// Answers, including failures, are cached for 30 seconds from when the application
// was asked. Concurrent requests with the same credential share one. The number of
// concurrent requests is limited, not their rate: one costs the application no more
// than if it were sent there directly. Recently accepted credentials have a pool of
// their own and are refreshed in the background before they expire, so that invented
// credentials don't delay known users. Among unknown credentials, those from the
// least busy network go first, then the newest; after two seconds without a slot
// they fail with ErrBusy. Unknown passwords are passed on at 20 a second. Only the
// credential is passed on, and no cookie of an answer is returned.
//
// Jira, for one, counts a user's failed logins until a successful one, and asks for
// a CAPTCHA after three. So after two wrong passwords for a user name, no more
// are passed on until the user comes with a session that is new since the last
// of them, or seven days have passed; a correct password in between resets the
// count. An attempt with unknown outcome counts as wrong. So nobody can lock a
// user out through tokengate within seven days, except by sending
// wrong passwords for 250,000 other names between two attempts. This does not
// hold if wrong passwords reach the application in other ways. And a session that was
// unused for eight to twelve hours counts as new.
//
// All servers of one store count together, in its shared records; with an embedded store the
// counts end with the process. Without an answer of the store, passwords that were not accepted recently are
// refused with ErrUnavailable, and a new session resets no count. If the servers' clocks differ, a new session does not
// reset what another server counted within that difference before.
//
// The answers and the recently accepted credentials are each server's own: nothing from which a password can
// be guessed is shared. So within 30 seconds each server asks about the same wrong
// password once, which counts each time. And a recently accepted password is passed on, whatever the
// count, by those servers only that have accepted it; once it is wrong, each of these passes it on once.
type Callers struct {
	client      product.Client
	cookies     []string // names of the session cookies
	now         func() time.Time
	hasher      hasher
	shared      *sharedMemory
	lockout     lockout
	unknownPool *pool
	passwords   *rate.Limiter // of passwords that are not known
	knownPool   *pool
	memory      credentialMemory
	answerCache answerCache // accepted credentials
	refusals    answerCache // separate, so that unauthenticated clients can't evict good answers

	asked, cacheHits, blocked atomic.Uint64
}

// CallerStats are the counters of Callers.
type CallerStats struct {
	Asked   uint64 // requests sent to the application
	Kept    uint64 // answered from the cache
	Blocked uint64 // refused because of too many failures
	Dropped uint64 // refused because too many were waiting
}

// NewCallers returns Callers that ask client, a client of p. They count wrong passwords in the records.
func NewCallers(p *product.Product, client product.Client, records store.SharedRecords, now func() time.Time) *Callers {
	shared := newSharedMemory(records, now)
	return &Callers{
		client:      client,
		cookies:     p.SessionCookies,
		now:         now,
		hasher:      newHasher(),
		shared:      shared,
		lockout:     lockout{shared},
		unknownPool: newPool(unknownSlots, unknownWait),
		passwords:   rate.NewLimiter(passwordsPerSecond, passwordBurst),
		knownPool:   newPool(knownSlots, knownWait),
		answerCache: newAnswerCache(maxAnswers),
		refusals:    newAnswerCache(maxRefusals),
	}
}

// Stats returns the current counters.
func (c *Callers) Stats() CallerStats {
	return CallerStats{
		Asked: c.asked.Load(), Kept: c.cacheHits.Load(), Blocked: c.blocked.Load(),
		Dropped: c.unknownPool.dropped.Load() + c.knownPool.dropped.Load(),
	}
}

// Identify returns the user of a credential. Errors wrap ErrNotLoggedIn,
// ErrBasicRefused, ErrCaptcha, ErrTooManyFailures, ErrInactive, ErrUnusableName
// or ErrUnavailable (including ErrBusy). They may be shown to the caller,
// except that of ErrUnavailable only that error itself, since its wrappers name
// addresses.
//
// With a session, an application may ignore the password, as Jira does. So if both
// are present the cookie is sent alone, and its user must be the user named with the
// password; the password is sent only if the cookie identifies nobody.
//
// login is the header of the credential that the application accepted.
func (c *Callers) Identify(ctx context.Context, credential Credential) (user directory.User, login http.Header, err error) {
	basic, err := parseBasic(credential.Authorization)
	if err != nil {
		return directory.User{}, nil, err
	}
	if credential.Cookie != "" {
		if len(credential.Cookie) > maxCookie || !validHeaderValue(credential.Cookie) {
			return directory.User{}, nil, fmt.Errorf("%w (the request's cookies are malformed or too long)", directory.ErrNotLoggedIn)
		}
		u, err := c.identify(ctx, credential.Client, byCookie, credential.Cookie, basic.name)
		switch {
		case errors.Is(err, directory.ErrNotLoggedIn) && basic.name != "":
		case err == nil && basic.name != "" && store.FoldOwner(u.Name) != store.FoldOwner(basic.name):
			return directory.User{}, nil, fmt.Errorf("%w (the cookie's session and the password's user name are two users')", directory.ErrNotLoggedIn)
		default:
			return u, http.Header{"Cookie": {credential.Cookie}}, err
		}
	}
	if basic.name == "" {
		return directory.User{}, nil, directory.ErrNotLoggedIn
	}
	user, err = c.identify(ctx, credential.Client, byBasic, basic.text, basic.name)
	return user, http.Header{"Authorization": {credential.Authorization}}, err
}

// identify returns the user of one credential. name is the user name that came
// with a password.
func (c *Callers) identify(ctx context.Context, client netip.Addr, kind credentialKind, text, name string) (directory.User, error) {
	a := attempt{kind: kind, text: text, name: name, key: c.hasher.sum(kind, text), pool: c.unknownPool}
	a.sessionKey = a.key
	if kind == byCookie {
		a.session = sessionOf(text, c.cookies)
		a.sessionKey = c.hasher.sum(kind, a.session)
	}
	entry, ok := c.cached(a.key)
	if ok && !c.expiresSoon(entry) {
		c.cacheHits.Add(1)
		return cloneUser(entry.user), entry.err
	}
	accepted, known := c.memory.get(a.sessionKey, c.now())
	if known {
		a.pool, a.known, a.shared, a.origins = c.knownPool, true, accepted.shared, []string{accepted.user}
	} else {
		a.origins = networks(client)
	}
	// The request continues for other waiting callers if this one leaves.
	whole := context.WithoutCancel(ctx)
	answer := a.pool.flights.DoChan(string(a.key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(whole, a.pool.maxWait+storeTimeout+identifyTimeout)
		defer cancel()
		return c.askAndCache(ctx, a)
	})
	if ok {
		c.cacheHits.Add(1)
		return cloneUser(entry.user), nil
	}
	select {
	case r := <-answer:
		u, _ := r.Val.(directory.User)
		return cloneUser(u), r.Err
	case <-ctx.Done():
		return directory.User{}, fmt.Errorf("%w: %w", directory.ErrUnavailable, context.Cause(ctx))
	}
}

// cached returns an unexpired answer about the credential.
func (c *Callers) cached(key credentialHash) (cachedAnswer, bool) {
	if entry, ok := c.answerCache.get(key, c.now()); ok {
		return entry, true
	}
	return c.refusals.get(key, c.now())
}

// expiresSoon reports whether a good answer is due for a background refresh.
func (c *Callers) expiresSoon(entry cachedAnswer) bool {
	return entry.err == nil && !c.now().Before(entry.until.Add(-answerTTL/2))
}

// askAndCache asks about a credential and caches the answer.
func (c *Callers) askAndCache(ctx context.Context, a attempt) (directory.User, error) {
	// An earlier request may have stored an answer since.
	if entry, ok := c.cached(a.key); ok && !c.expiresSoon(entry) {
		return entry.user, entry.err
	}
	asked, u, err := c.askProduct(ctx, a)
	c.updateMemory(context.WithoutCancel(ctx), a, asked, u, err)
	switch {
	case err == nil:
		c.answerCache.put(a.key, cachedAnswer{user: u, until: asked.Add(answerTTL)})
	case errors.Is(err, ErrTooManyFailures):
		c.blocked.Add(1)
	case errors.Is(err, directory.ErrBusy):
		// It was not asked, and so many are refused that they would evict
		// real answers.
	case errors.Is(err, directory.ErrUnavailable):
		c.refusals.put(a.key, cachedAnswer{err: err, until: c.now().Add(noAnswerTTL)})
	default:
		c.answerCache.delete(a.key)
		c.refusals.put(a.key, cachedAnswer{user: u, err: err, until: asked.Add(answerTTL)})
	}
	return u, err
}

// cloneUser returns a copy that shares nothing mutable.
func cloneUser(u directory.User) directory.User {
	u.Groups.Names = slices.Clone(u.Groups.Names)
	return u
}

// updateMemory records which credentials are good. A session that no server knew
// is a new login by its user.
func (c *Callers) updateMemory(ctx context.Context, a attempt, asked time.Time, u directory.User, err error) {
	switch {
	case err == nil:
		shared := a.shared
		if a.kind == byCookie && asked.Sub(shared) >= sessionTTL-knownTTL {
			isNew, err := c.shared.acceptSession(ctx, u.Name, a.session)
			if err == nil {
				shared = asked
			}
			if isNew && !a.known {
				c.lockout.loggedIn(ctx, u.Name, asked)
			}
		}
		c.memory.put(a.sessionKey, knownCredential{store.FoldOwner(u.Name), asked.Add(knownTTL), shared}, c.now())
	case !errors.Is(err, directory.ErrUnavailable) && !errors.Is(err, ErrTooManyFailures):
		c.memory.delete(a.sessionKey)
	}
}

// attempt is a credential to be checked.
type attempt struct {
	kind       credentialKind
	text       string
	name       string         // user name of the password
	session    string         // the part of a cookie that identifies the user
	key        credentialHash // hash of the whole credential
	sessionKey credentialHash // hash of the part that identifies the user
	pool       *pool
	origins    []string  // for the pool's scheduling
	known      bool      // accepted recently
	shared     time.Time // when this server last recorded the session in the store; zero: not yet
}

// header returns the header that carries the credential.
func (a attempt) header() http.Header {
	if a.kind == byCookie {
		return http.Header{"Cookie": {a.text}}
	}
	return http.Header{"Authorization": {"Basic " + a.text}}
}

// askProduct asks the application and counts wrong passwords. asked is the time of the
// request.
func (c *Callers) askProduct(ctx context.Context, a attempt) (asked time.Time, u directory.User, err error) {
	asked, u, count, err := c.askInPool(ctx, a)
	count(context.WithoutCancel(ctx))
	return asked, u, err
}

// askInPool is askProduct, but the caller counts the outcome with count, so that no slot of the pool waits for that.
func (c *Callers) askInPool(ctx context.Context, a attempt) (asked time.Time, u directory.User, count func(context.Context), err error) {
	count = func(context.Context) {}
	if err := a.pool.enter(ctx, a.origins...); err != nil {
		return time.Time{}, directory.User{}, count, err
	}
	defer a.pool.leave(a.origins...)
	var begun passed
	if a.kind == byBasic && !a.known {
		// Here, so that the pool decides whose turn it is.
		if c.passwords.Wait(ctx) != nil {
			return time.Time{}, directory.User{}, count, directory.ErrBusy
		}
		if begun, err = c.lockout.begin(ctx, a.name); err != nil {
			return time.Time{}, directory.User{}, count, err
		}
	}
	asked = c.now()
	if begun.id == 0 {
		begun.began = asked.UnixNano()
	}
	c.asked.Add(1)
	u, v, err := c.client.Myself(ctx, a.header(), identifyTimeout, asked)
	if a.kind == byBasic {
		if v == product.VerdictAccepted && store.FoldOwner(u.Name) != store.FoldOwner(a.name) && !errors.Is(err, directory.ErrUnusableName) {
			u, v, err = directory.User{}, product.VerdictUnknown, fmt.Errorf("%w (that is not the user name)", directory.ErrNotLoggedIn)
		}
		count = func(ctx context.Context) { c.lockout.end(ctx, a.name, begun, v) }
	}
	return asked, u, count, err
}

// basicCredential is a Basic credential: its base64 text and its user name.
type basicCredential struct{ text, name string }

// parseBasic reads an Authorization header; an empty one is no credential.
// Names that can't own tokens are refused, and so are API tokens, which would
// count as wrong passwords.
func parseBasic(header string) (basicCredential, error) {
	if header == "" {
		return basicCredential{}, nil
	}
	scheme, text, _ := strings.Cut(header, " ")
	text = strings.Trim(text, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return basicCredential{}, fmt.Errorf("%w (the Authorization header must be Basic here)", directory.ErrNotLoggedIn)
	}
	decoded, err := base64.StdEncoding.DecodeString(text)
	name, password, found := strings.Cut(string(decoded), ":")
	if err != nil || !found || len(text) > maxBasic || strings.ContainsAny(text, "\r\n") {
		return basicCredential{}, fmt.Errorf("%w (the Basic credential is malformed or too long)", directory.ErrNotLoggedIn)
	}
	if token.IsCredential(name) || token.IsCredential(password) {
		return basicCredential{}, fmt.Errorf("%w (an API token is not accepted as a password here)", directory.ErrNotLoggedIn)
	}
	if err := (directory.User{Name: name}).Check(); err != nil {
		return basicCredential{}, err
	}
	return basicCredential{text: text, name: name}, nil
}

// validHeaderValue reports whether net/http accepts text as a header value.
func validHeaderValue(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
