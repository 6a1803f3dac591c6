// Package upstream keeps the credentials with which requests of users' tokens go to the
// application: sealed in the store, and open in the index alone. Start with
// Credentials.Load and Credentials.Set.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
)

// The refusals of Set and Check. They may be shown to users.
var (
	// ErrNotConnected means that the user has no credential.
	ErrNotConnected = errors.New("the user is not connected")

	// ErrRefused means that the application does not accept the credential.
	ErrRefused = errors.New("the application does not accept this personal access token; " +
		"copy it again, and check that it has not expired and is not revoked")

	// ErrOtherUser means that the credential belongs to another user.
	ErrOtherUser = errors.New("this personal access token belongs to another user")
)

// Credentials are the upstream credentials of all users. All fields are required and set before
// Load. Its methods are safe for concurrent use.
type Credentials struct {
	Store   Store
	Index   *index.Index
	Keys    *seal.Keys
	Site    string           // the application's public URL; credentials of another open nothing
	Product *product.Product // whose Credentials are not nil
	Client  product.Client   // of the product
	RenewAt int              // percent of a credential's life after which it is renewed
	// Unused reports whether a user has no token that may be used now or later.
	Unused func(ctx context.Context, user store.Owner) (bool, error)
	// Answer encodes a value for the index: see index.NewUpstream. It returns "" for a value
	// that cannot be sent.
	Answer func(value string) string
	Log    *zap.Logger
	Now    func() time.Time
	Random io.Reader // token.Random, except in tests

	once sync.Once     // makes the channels
	busy chan struct{} // holds one value while the store and then the index change, so that both have the same order

	perUser        userLocks     // see lockUser
	visits         chan visit    // see Visit
	tidying        chan struct{} // wakes keepTidy; holds one value
	figures        atomic.Pointer[Figures]
	refusedRenewal atomic.Pointer[time.Time] // when the application refused to create a credential for a request with one

	showing  sync.Mutex // held to change unsure and the index together
	unsure   sync.Map   // doubts, by user: see block
	waiting  sync.Map   // users whom suspectLater will suspect
	visited  sync.Map   // when users last visited; see Visit
	ends     sync.Map   // which disconnection was the last, by user; see connect
	suspects users
	changed  users    // whose credentials another server has changed; "" stands for all users
	retried  sync.Map // users whose broken credential is checked once more; see check

	denied    sync.Map    // when Refused last denied a user's tokens
	hadRounds atomic.Bool // see hasRounds
}

// Store is the part of store.Store that Credentials uses.
type Store interface {
	Hold(ctx context.Context, role string) (bool, error)
	Release(ctx context.Context, role string) error
	WatchUpstream(ctx context.Context, changed func(user string)) error
	UpdateUpstream(ctx context.Context, user string, change store.UpstreamFunc) ([]store.UpstreamCredential, error)
	Upstream(ctx context.Context, user string) ([]store.UpstreamCredential, error)
	AllUpstream(ctx context.Context, visit func(user string, all []store.UpstreamCredential, err error) error) error
}

// askTimeout bounds a request to the application.
const askTimeout = 10 * time.Second

// Load opens all credentials into the index. One that cannot be opened counts as broken, and is
// logged: the tokens of that user are denied, and all others work. If a sealing key is missing,
// nothing is loaded and the error, which wraps seal.ErrNoKey, names it; with acceptLoss the users whose
// credentials it sealed are disconnected.
func (c *Credentials) Load(ctx context.Context, acceptLoss bool) error {
	all := make(map[string]*index.Upstream)
	missing := make(map[seal.KeyID][]string) // users
	damaged := make(map[string]error)        // by user
	err := c.Store.AllUpstream(ctx, func(user string, credentials []store.UpstreamCredential, err error) error {
		if err != nil {
			c.Log.Error("the connection of a user cannot be read; the user has to connect again", zap.String("user_key", user), zap.Error(err))
			all[user] = index.BrokenUpstream
			return nil
		}
		inUse := working(credentials)
		if inUse == nil {
			return nil
		}
		u, err := c.opened(user, *inUse)
		if errors.Is(err, seal.ErrNoKey) {
			id, _ := seal.KeyOf(inUse.Sealed)
			missing[id] = append(missing[id], user)
		} else if err != nil {
			damaged[user] = err
		}
		all[user] = u
		return nil
	})
	if err != nil {
		return fmt.Errorf("load the connections of users: %w", err)
	}
	for id, users := range missing {
		if !acceptLoss {
			return fmt.Errorf("%w: the connections of %d users are sealed with key %s, which is in none of the files of upstream.identity.pat.sealKeys; "+
				"add its file there or, if the key is lost, start once with --accept-loss, which disconnects these users", seal.ErrNoKey, len(users), id)
		}
	}
	c.logDamaged(damaged, len(all))
	c.Index.SetUpstreams(all)
	for id, users := range missing {
		c.Log.Warn("the key of users' connections is lost; they have to connect again", zap.Stringer("key", id), zap.Int("users", len(users)))
		for _, user := range users {
			if err := c.disconnect(ctx, user, c.audit(DisconnectAction, "")); err != nil {
				return fmt.Errorf("disconnect a user whose key is lost: %w", err)
			}
		}
	}
	return nil
}

// logDamaged logs the connections that cannot be opened. If it is all of them, the site's address is the
// likely cause.
func (c *Credentials) logDamaged(damaged map[string]error, all int) {
	if len(damaged) == all && all > 1 {
		c.Log.Error("none of the connections of users can be opened: if publicURL was changed, set it back; otherwise the users have to connect again",
			zap.Int("users", all), zap.String("publicURL", c.Site))
		return
	}
	for user, err := range damaged {
		c.Log.Error("the connection of a user cannot be opened; the user has to connect again", zap.String("user_key", user), zap.Error(err))
	}
}

// working returns the credential that is in use, or nil.
func working(all []store.UpstreamCredential) *store.UpstreamCredential {
	for i := range all {
		if all[i].State.InUse() {
			return &all[i]
		}
	}
	return nil
}

// opened returns what the index holds for a user's credential in use.
func (c *Credentials) opened(user string, of store.UpstreamCredential) (*index.Upstream, error) {
	value, err := c.Keys.Open(of.Sealed, c.context(user, of))
	if err != nil || of.State != store.UpstreamActive {
		return index.BrokenUpstream, err
	}
	if answer := c.Answer(string(value)); answer != "" {
		return index.NewUpstream(answer), nil
	}
	return index.BrokenUpstream, seal.ErrDamaged
}

// context is what a credential's sealed secret is bound to. A sealed login is never taken for one,
// whatever the state in the record is changed to.
func (c *Credentials) context(user string, of store.UpstreamCredential) seal.Context {
	id := of.ID
	if of.UpstreamID == "" && !of.State.InUse() {
		id += " login"
	}
	return seal.Context{Site: c.Site, User: user, Credential: id}
}

// lock waits for other changes until ctx ends: a disk may hang.
func (c *Credentials) lock(ctx context.Context) error {
	c.makeChannels()
	select {
	case c.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Credentials) unlock() { <-c.busy }

// minter creates and deletes credentials in the application.
func (c *Credentials) minter() product.CredentialClient { return c.Product.Credentials(c.Client) }

func (c *Credentials) makeChannels() {
	c.once.Do(func() {
		c.busy, c.tidying, c.visits = make(chan struct{}, 1), make(chan struct{}, 1), make(chan visit, 100)
	})
}

// wake makes keepTidy look again.
func (c *Credentials) wake() {
	c.makeChannels()
	select {
	case c.tidying <- struct{}{}:
	default:
	}
}

// doubt is why a user's tokens are denied until the application or the store has answered. Each is another
// one, so that an answer to an older question does not end it.
type doubt struct{ _ byte }

// block denies a user's tokens, whether or not the disk answers.
func (c *Credentials) block(user string) {
	c.showing.Lock()
	defer c.showing.Unlock()
	c.unsure.Store(user, new(doubt))
	c.Index.SetUpstreams(map[string]*index.Upstream{user: index.BrokenUpstream})
}

// show gives the index a user's credential, or nil, and ends a doubt, or none. While another doubt remains, the
// credential is broken.
func (c *Credentials) show(user string, u *index.Upstream, settled any) {
	c.showing.Lock()
	defer c.showing.Unlock()
	if settled != nil {
		c.unsure.CompareAndDelete(user, settled)
	}
	if _, unsure := c.unsure.Load(user); unsure && u != nil {
		u = index.BrokenUpstream
	}
	c.Index.SetUpstreams(map[string]*index.Upstream{user: u})
}

// writeTimeout bounds a change in the store, which does not end with the request: otherwise it would be unknown
// what is stored.
const writeTimeout = 10 * time.Second

// update changes a user's credentials in the store and then in the index. A doubt about the user remains.
func (c *Credentials) update(ctx context.Context, user string, change store.UpstreamFunc) error {
	return c.updateAfter(ctx, user, nil, change)
}

// settle is update with a change after which there is no doubt about what is in use. A doubt that begins
// meanwhile remains.
func (c *Credentials) settle(ctx context.Context, user string, change store.UpstreamFunc) error {
	before, _ := c.unsure.Load(user)
	return c.updateAfter(ctx, user, before, change)
}

// updateAfter is update, and ends a doubt, or nil, that is older than what the change is based on.
func (c *Credentials) updateAfter(ctx context.Context, user string, settled any, change store.UpstreamFunc) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	refused := false
	after, err := c.Store.UpdateUpstream(ctx, user, func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		all, audits, err := change(before)
		refused = err != nil
		return all, audits, err
	})
	if err != nil {
		// After these, nothing is written. Otherwise that is unknown, and a check finds out.
		if !refused && !errors.Is(err, store.ErrNoSpace) && !errors.Is(err, store.ErrInvalid) {
			c.block(user)
			c.suspectLater(user)
		}
		return err
	}
	c.showStored(user, after, nil, settled)
	return nil
}

// Check asks the application whether it still accepts a user's credential. If it does not, the
// user's tokens are denied until it does again or the user connects again. It returns the credential's
// state after that. audit is the record of a changed state.
func (c *Credentials) Check(ctx context.Context, user string, audit store.Audit) (state store.UpstreamState, err error) {
	for range checkTries {
		if state, err = c.checkOnce(ctx, user, audit); !errors.Is(err, errChecked) {
			break
		}
	}
	return state, err
}

// errChecked means that the credential was checked meanwhile, perhaps by another server, and that the answers may contradict each other.
var errChecked = errors.New("the connection of the user was checked meanwhile")

const checkTries = 3

func (c *Credentials) checkOnce(ctx context.Context, user string, audit store.Audit) (store.UpstreamState, error) {
	all, err := c.Store.Upstream(ctx, user)
	if err != nil {
		return 0, err
	}
	inUse := working(all)
	if inUse == nil {
		return 0, ErrNotConnected
	}
	doubt, unsure := c.unsure.Load(user)
	state, asked := store.UpstreamActive, c.Now()
	value, err := c.Keys.Open(inUse.Sealed, c.context(user, *inUse))
	if err != nil {
		c.show(user, index.BrokenUpstream, nil)
		return store.UpstreamBroken, nil // until a start with the right key and publicURL, so it is not stored
	}
	found, err := c.confirm(ctx, product.NewSecret(string(value)))
	switch {
	case errors.Is(err, ErrRefused), err == nil && found.Key != user:
		state = store.UpstreamBroken
	case err != nil:
		return inUse.State, err
	}
	if state == inUse.State && !unsure && asked.Sub(inUse.Checked) < recheckAfter {
		return state, nil
	}
	if state == store.UpstreamBroken {
		c.block(user)
		doubt, _ = c.unsure.Load(user)
	}
	was := *inUse
	audit.Owner, audit.Changes = inUse.Owner, map[string]store.Change{"state": {Before: inUse.State.String(), After: state.String()}}
	if state == store.UpstreamBroken && inUse.State != state {
		c.Log.Warn("the application does not accept the connection of a user; the user's tokens are refused until it does, which is checked after ten minutes and then regularly, or the user connects again", zap.String("user_key", user))
	}
	err = c.updateAfter(ctx, user, doubt, func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		now := working(before)
		if now == nil || now.ID != was.ID {
			return before, nil, nil // replaced meanwhile
		}
		if now.State != was.State || !now.Checked.Equal(was.Checked) {
			return nil, nil, errChecked
		}
		changed := now.State != state
		now.State, now.Checked = state, asked
		if !changed {
			return before, nil, nil
		}
		return before, []store.Audit{audit}, nil
	})
	return state, err
}

// recheckAfter is how old the time of the last check in the store may become while nothing
// changes, so that checks write little.
const recheckAfter = 6 * time.Hour
