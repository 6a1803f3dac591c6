package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/store"
)

const (
	// lifetime is how long a credential should work. The application may allow less.
	lifetime = 365 * 24 * time.Hour

	// connectTimeout bounds all requests to the application that connect a user.
	connectTimeout = time.Minute
)

// Connect creates a credential in the application with a login of the user, which the application
// has just accepted, and uses it from then on. A user with a working credential keeps it, unless
// again is true. Of concurrent calls for a user, by all servers, the others wait for the first. audit is the record of who did it.
// Until the caller calls done, the credential does not count as unused, and other calls for the user wait.
//
// Errors wrap ErrRefused or ErrOtherUser if the application does not recognize what it created,
// ErrDisconnected or ErrBusy, or are those of product.CredentialClient. Nothing is left in the application after an error, unless
// it did not answer: then Run deletes what it may have created.
func (c *Credentials) Connect(ctx context.Context, user directory.User, login http.Header, again bool, audit store.Audit) (done func(), err error) {
	return c.connect(ctx, user, login, audit, func(inUse *store.UpstreamCredential) bool {
		_, unsure := c.unsure.Load(user.Key)
		return again || unsure || inUse == nil || inUse.State != store.UpstreamActive
	})
}

// ErrDisconnected means that the user was disconnected while a connection was made.
var ErrDisconnected = errors.New("the user was disconnected meanwhile; connect again")

// connect is Connect if the user's credential in use, or nil, makes it necessary.
func (c *Credentials) connect(ctx context.Context, user directory.User, login http.Header, audit store.Audit, necessary func(inUse *store.UpstreamCredential) bool) (done func(), err error) {
	if user.Key == "" {
		return nil, errNoKey
	}
	last, _ := c.ends.Load(user.Key)
	before, err := c.readable(ctx, user.Key)
	if err != nil {
		return nil, err
	}
	ended := func(all []store.UpstreamCredential) bool { // after this call, by this server or another
		now, _ := c.ends.Load(user.Key)
		return now != last || working(before) != nil && working(all) == nil
	}
	unlock, err := c.lockUser(ctx, user.Key)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			unlock()
		}
	}()
	all, err := c.readable(ctx, user.Key)
	switch {
	case err != nil:
		return nil, err
	case ended(all):
		return nil, ErrDisconnected
	case !necessary(working(all)):
		return unlock, nil
	}
	// What was begun is finished even if the client leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	return unlock, c.mint(ctx, user, login, audit, ended)
}

// readable returns a user's credentials; none if they cannot be read, so that the user can connect again.
func (c *Credentials) readable(ctx context.Context, user string) ([]store.UpstreamCredential, error) {
	all, err := c.Store.Upstream(ctx, user)
	if errors.Is(err, store.ErrInvalid) {
		return nil, nil
	}
	return all, err
}

// mint creates a credential and takes it into use. The store knows its name before the application
// is asked, so that it can be found and deleted if the process ends in between. ended reports whether the
// user, who has these credentials now, was disconnected since. The caller holds the user's lock.
func (c *Credentials) mint(ctx context.Context, user directory.User, login http.Header, audit store.Audit, ended func([]store.UpstreamCredential) bool) error {
	existing, err := c.minter().List(ctx, login)
	if err != nil {
		return err
	}
	known, err := c.readable(ctx, user.Key)
	if err != nil {
		return err
	}
	if inUse := working(known); inUse != nil && inUse.State == store.UpstreamBroken {
		for _, e := range existing { // it may take the user's last place
			if isSame(*inUse, e) {
				err = errors.Join(err, c.minter().Delete(ctx, login, e.ID))
			}
		}
	}
	if err != nil {
		return err
	}
	c.tidyAfter(ctx, user.Key, login)
	intent := store.UpstreamCredential{
		Owner: user.Name, Name: c.unusedName(existing, known), Created: c.Now(), State: store.UpstreamMinting, SetBy: audit.Actor,
	}
	if intent.ID, err = newID(c.Random); err != nil {
		return err
	}
	if intent.Sealed, err = c.sealLogin(user.Key, intent, login); err != nil {
		return err
	}
	audit.Owner = user.Name
	err = c.update(ctx, user.Key, func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		if ended(before) {
			return nil, nil, ErrDisconnected
		}
		return append(limit(before), intent), nil, nil
	})
	if err != nil {
		return err
	}
	made, err := c.minter().Mint(ctx, login, intent.Name, lifetime)
	if err == nil {
		var found directory.User
		if found, err = c.confirm(ctx, made.Value); err == nil && found.Key != user.Key {
			err = ErrOtherUser
		}
	}
	if err != nil {
		c.abandon(ctx, user.Key, intent, made.ID, login, err)
		return err
	}
	active := intent
	active.State, active.UpstreamID, active.Expires, active.Checked = store.UpstreamActive, made.ID, made.Ends, c.Now()
	if active.Sealed, err = c.Keys.Seal([]byte(made.Value.Reveal()), c.context(user.Key, active)); err == nil {
		err = c.replace(ctx, user.Key, active, audit)
	}
	if err != nil {
		c.abandon(ctx, user.Key, intent, made.ID, login, err)
		return err
	}
	c.tidyAfter(ctx, user.Key, made.Value.Bearer())
	return nil
}

// abandon ends an attempt that failed. What the application has created is deleted. If that is
// unknown, the intent stays for tidy.
func (c *Credentials) abandon(ctx context.Context, user string, intent store.UpstreamCredential, id string, login http.Header, cause error) {
	switch {
	case id != "":
		if err := c.minter().Delete(ctx, login, id); err != nil {
			c.Log.Warn("a personal access token that is not used could not be deleted in the application; it is tried again", zap.String("user_key", user), zap.String("name", intent.Name), zap.Error(err))
			return
		}
	case errors.Is(cause, directory.ErrUnavailable), ctx.Err() != nil:
		return
	}
	err := c.update(ctx, user, func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		return slices.DeleteFunc(before, func(o store.UpstreamCredential) bool { return o.ID == intent.ID && o.State == store.UpstreamMinting }), nil, nil
	})
	if err != nil {
		c.Log.Warn("a failed attempt to connect a user stays recorded; it is removed later", zap.String("user_key", user), zap.Error(err))
	}
}

const (
	maxName    = 40 // characters in Jira
	namePrefix = "tokengate "
)

// unusedName returns a name that none of a user's credentials has, in the application or in the store: an
// attempt that failed is found by its name.
func (c *Credentials) unusedName(existing []product.UpstreamCredential, known []store.UpstreamCredential) string {
	host := c.Site
	if u, err := url.Parse(c.Site); err == nil && u.Hostname() != "" {
		host = u.Hostname()
	}
	for n := 1; ; n++ {
		end := " " + strconv.Itoa(n)
		name := namePrefix + host
		name = strings.TrimRight(name[:min(len(name), maxName-len(end))], " ") + end
		if !slices.ContainsFunc(existing, func(o product.UpstreamCredential) bool { return o.Name == name }) &&
			!slices.ContainsFunc(known, func(o store.UpstreamCredential) bool { return o.Name == name }) {
			return name
		}
	}
}

// sealLogin seals the session of a login, with which tidy can delete what the application creates
// if the process ends meanwhile. It returns nil for another login: passwords are never stored, and a
// credential in use is stored already.
func (c *Credentials) sealLogin(user string, intent store.UpstreamCredential, login http.Header) ([]byte, error) {
	session := c.session(login)
	if session == "" || len(session) > maxSession {
		return nil, nil
	}
	return c.Keys.Seal([]byte(session), c.context(user, intent))
}

// maxSession leaves room for sealing in a record.
const maxSession = 800

// session returns the cookies of a login's session, or "".
func (c *Credentials) session(login http.Header) string {
	if len(login["Authorization"]) > 0 {
		return ""
	}
	var cookies []string
	for _, cookie := range (&http.Request{Header: login}).Cookies() {
		if slices.Contains(c.Product.SessionCookies, cookie.Name) {
			cookies = append(cookies, cookie.Name+"="+cookie.Value)
		}
	}
	return strings.Join(cookies, "; ")
}

// openLogin returns the login that sealLogin has sealed, or nil.
func (c *Credentials) openLogin(user string, intent store.UpstreamCredential) http.Header {
	session, err := c.Keys.Open(intent.Sealed, c.context(user, intent))
	if err != nil {
		return nil
	}
	return http.Header{"Cookie": {string(session)}}
}

// userLocks lets one goroutine of this server at a time change the credentials of a user in the application. The
// zero value is ready.
type userLocks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when the lock is released
}

// tryLock takes a user's lock if it is free.
func (l *userLocks) tryLock(user string) (unlock func(), free bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, held := l.held[user]; held {
		return nil, false
	}
	released := make(chan struct{})
	if l.held == nil {
		l.held = make(map[string]chan struct{})
	}
	l.held[user] = released
	return func() {
		l.mu.Lock()
		delete(l.held, user)
		l.mu.Unlock()
		close(released)
	}, true
}

// lock waits for a user's lock until ctx ends.
func (l *userLocks) lock(ctx context.Context, user string) (unlock func(), err error) {
	for {
		if unlock, free := l.tryLock(user); free {
			return unlock, nil
		}
		l.mu.Lock()
		holder, held := l.held[user]
		l.mu.Unlock()
		if !held {
			continue
		}
		select {
		case <-holder:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
