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

	"github.com/tokengate/tokengate/authz/directory"
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

	perUser     userLocks
	visits      chan visit    // see Visit
	tidying     chan struct{} // wakes keepTidy; holds one value
	figures     figures
	cannotRenew atomic.Bool // the application creates no credential for a request with one

	unsure   sync.Map // users whom block has blocked, until an update of theirs succeeds
	wanted   sync.Map // when a connection of a user was last wanted, by the user's key; see release
	suspects suspects
	retried  sync.Map // users whose broken credential is checked once more; see check

	denied sync.Map // when Refused last denied a user's tokens
}

// Store is the part of store.Store that Credentials uses.
type Store interface {
	UpdateUpstream(ctx context.Context, user string, change store.UpstreamFunc) ([]store.UpstreamCredential, error)
	Upstream(ctx context.Context, user string) ([]store.UpstreamCredential, error)
	AllUpstream(ctx context.Context, visit func(user string, all []store.UpstreamCredential, err error) error) error
}

// askTimeout bounds a request to the application.
const askTimeout = 10 * time.Second

// Load opens all credentials into the index. One that cannot be opened counts as broken, and is
// logged: the tokens of that user are denied, and all others work. If a sealing key is missing,
// nothing is loaded and the error, which wraps seal.ErrNoKey, names it.
func (c *Credentials) Load(ctx context.Context) error {
	all := make(map[string]*index.Upstream)
	missing := make(map[seal.KeyID]int)
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
			missing[id]++
		} else if err != nil {
			c.Log.Error("the connection of a user cannot be opened; the user has to connect again", zap.String("user_key", user), zap.Error(err))
		}
		all[user] = u
		return nil
	})
	if err != nil {
		return fmt.Errorf("load the connections of users: %w", err)
	}
	for id, users := range missing {
		return fmt.Errorf("%w: the connections of %d users are sealed with key %s, which is in none of the files of upstream.identity.pat.sealKeys; "+
			"add its file there", seal.ErrNoKey, users, id)
	}
	c.Index.SetUpstreams(all)
	return nil
}

// working returns the credential that is in use, or nil.
func working(all []store.UpstreamCredential) *store.UpstreamCredential {
	for i := range all {
		if isInUse(all[i]) {
			return &all[i]
		}
	}
	return nil
}

func isInUse(of store.UpstreamCredential) bool {
	return of.State == store.UpstreamActive || of.State == store.UpstreamBroken
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

// context is what a credential's sealed secret is bound to. A sealed login is none of them, whatever
// the state in the record is changed to.
func (c *Credentials) context(user string, of store.UpstreamCredential) seal.Context {
	id := of.ID
	if of.State == store.UpstreamMinting {
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

func (c *Credentials) wakeTidying() chan<- struct{} {
	c.makeChannels()
	return c.tidying
}

// block denies a user's tokens, whether or not the disk answers. An update at the same time may undo
// it, but then the user is still unsure.
func (c *Credentials) block(user string) {
	c.Index.SetUpstreams(map[string]*index.Upstream{user: index.BrokenUpstream})
	c.unsure.Store(user, true)
}

// update changes a user's credentials in the store and then in the index.
func (c *Credentials) update(ctx context.Context, user string, change store.UpstreamFunc) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	refused := false
	after, err := c.Store.UpdateUpstream(ctx, user, func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		all, audits, err := change(before)
		refused = err != nil
		return all, audits, err
	})
	if err != nil {
		if !refused { // what is stored is unknown; the next check or start finds out
			c.block(user)
		}
		return err
	}
	c.unsure.Delete(user)
	u := (*index.Upstream)(nil)
	if inUse := working(after); inUse != nil {
		if u, err = c.opened(user, *inUse); err != nil {
			c.Log.Error("the connection of a user cannot be opened; the user has to connect again", zap.String("user_key", user), zap.Error(err))
		}
	}
	c.Index.SetUpstreams(map[string]*index.Upstream{user: u})
	return nil
}

// Check asks the application whether it still accepts a user's credential. If it does not, the
// user's tokens are denied until it does again or the user connects again. It returns the credential's
// state after that. audit is the record of a changed state.
func (c *Credentials) Check(ctx context.Context, user string, audit store.Audit) (store.UpstreamState, error) {
	all, err := c.Store.Upstream(ctx, user)
	if err != nil {
		return 0, err
	}
	inUse := working(all)
	if inUse == nil {
		return 0, ErrNotConnected
	}
	state, asked := store.UpstreamActive, c.Now()
	value, err := c.Keys.Open(inUse.Sealed, c.context(user, *inUse))
	if err == nil {
		var found directory.User
		if found, err = c.confirm(ctx, product.NewSecret(string(value))); err == nil && found.Key != user {
			err = ErrOtherUser
		}
	}
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, ErrOtherUser), errors.Is(err, seal.ErrDamaged), errors.Is(err, seal.ErrNoKey):
		state = store.UpstreamBroken
	case err != nil:
		return inUse.State, err
	}
	if _, unsure := c.unsure.Load(user); state == inUse.State && !unsure && asked.Sub(inUse.Checked) < recheckAfter {
		return state, nil
	}
	if state == store.UpstreamBroken {
		c.block(user)
	}
	id := inUse.ID
	audit.Owner, audit.Changes = inUse.Owner, map[string]store.Change{"state": {Before: inUse.State.String(), After: state.String()}}
	if state == store.UpstreamBroken && inUse.State != state {
		c.Log.Warn("the application does not accept the connection of a user; the user's tokens are refused until the user connects again", zap.String("user_key", user))
	}
	err = c.update(ctx, user, func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		now := working(before)
		if now == nil || now.ID != id {
			return before, nil, nil // replaced meanwhile
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
