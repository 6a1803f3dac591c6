package upstream

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
)

// The actions of audit records about a credential that is no longer used, and about one that was deleted
// in the application.
const (
	DisconnectAction = "upstream.disconnect"
	DeleteAction     = "upstream.delete"
)

// tidyTimeout bounds the requests that delete what is left of a user's credentials.
const tidyTimeout = 20 * time.Second

// settleTime is how long the application may take to create a credential after the process that asked
// for it has ended.
const settleTime = time.Minute

// Disconnect stops using a user's credential at once, and deletes it in the application if tokengate created it
// there: now with the login, which may be nil, or with the credential itself, or else later in Run. A
// connection that is being made ends.
func (c *Credentials) Disconnect(ctx context.Context, user string, login http.Header, audit store.Audit) error {
	if err := c.disconnect(ctx, user, audit); err != nil {
		return err
	}
	if unlock, free := c.tryLockUser(ctx, user); free { // otherwise the holder is connecting, and Run deletes it
		c.tidyAfter(ctx, user, login)
		unlock()
	}
	return nil
}

// disconnect stops using a user's credential, and ends attempts to make another. What cannot be read is removed.
func (c *Credentials) disconnect(ctx context.Context, user string, audit store.Audit) error {
	_, err := c.Store.Upstream(ctx, user)
	unreadable := errors.Is(err, store.ErrInvalid)
	c.ends.Store(user, new(doubt)) // before the change, so that no attempt begins between both
	return c.settle(ctx, user, func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		minting := func(o store.UpstreamCredential) bool { return o.State == store.UpstreamMinting }
		inUse := working(before)
		switch {
		case inUse != nil:
			audit.Owner = inUse.Owner
		case !unreadable && !slices.ContainsFunc(before, minting):
			return nil, nil, ErrNotConnected
		}
		after := retire(before)
		for i := range after {
			after[i].State = store.UpstreamDeleting
		}
		return after, []store.Audit{audit}, nil
	})
}

// unusedAfter is how long ago a user connected before the credential can count as unused: that comes before the first token.
const unusedAfter = time.Hour

// release disconnects a user whose credential nothing uses any more: the user has no tokens, or is
// deactivated in the application, which no longer accepts it. One that tokengate did not create stays.
func (c *Credentials) release(ctx context.Context, user string) {
	if !c.isUnused(ctx, user) {
		return
	}
	unlock, free := c.tryLockUser(ctx, user)
	if !free { // the user is connecting
		return
	}
	defer unlock()
	if !c.isUnused(ctx, user) {
		return
	}
	if err := c.disconnect(ctx, user, c.audit(DisconnectAction, "")); err != nil {
		c.Log.Warn("the connection of a user without tokens could not be removed; it is tried again", zap.String("user_key", user), zap.Error(err))
		return
	}
	c.tidyAfter(ctx, user, nil)
}

func (c *Credentials) isUnused(ctx context.Context, user string) bool {
	all, err := c.Store.Upstream(ctx, user)
	inUse := working(all)
	if err != nil || inUse == nil || inUse.UpstreamID == "" || c.Now().Sub(inUse.Created) < unusedAfter {
		return false
	}
	owner := store.Owner{Name: inUse.Owner, Key: user}
	unused, err := c.Unused(ctx, owner)
	if err == nil && !unused {
		unused = inUse.State == store.UpstreamBroken && c.Index.OwnerStatus(owner) == index.OwnerInactive
	}
	return err == nil && unused
}

// Purge disconnects all users, and returns how many were connected. Run deletes the credentials in the
// application. audit is the record for each user; it gets the user's name.
func (c *Credentials) Purge(ctx context.Context, audit store.Audit) (disconnected int, err error) {
	users, err := c.find(ctx, func(o store.UpstreamCredential) bool { return o.State != store.UpstreamDeleting })
	for _, user := range users {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = c.disconnect(ctx, user, audit)
		}
		switch {
		case err == nil:
			disconnected++
		case errors.Is(err, ErrNotConnected):
			err = nil
		}
	}
	return disconnected, err
}

// find returns the keys of users with a credential for which is reports true, and of those whose
// credentials cannot be read.
func (c *Credentials) find(ctx context.Context, is func(store.UpstreamCredential) bool) (users []string, err error) {
	err = c.Store.AllUpstream(ctx, func(user string, all []store.UpstreamCredential, err error) error {
		if err != nil || slices.ContainsFunc(all, is) {
			users = append(users, user)
		}
		return nil
	})
	return users, err
}

// isLeft reports whether a credential may have to be deleted in the application.
func isLeft(of store.UpstreamCredential) bool {
	return of.State == store.UpstreamMinting || of.State == store.UpstreamDeleting
}

// tidyAfter deletes what is left of a user's previous credentials. What can't be deleted now is
// deleted later. The caller holds the user's lock.
func (c *Credentials) tidyAfter(ctx context.Context, user string, login http.Header) {
	ctx, cancel := context.WithTimeout(ctx, tidyTimeout)
	defer cancel()
	var err error
	if login != nil {
		err = c.tidy(ctx, user, login)
	} else {
		err = c.tidyAlone(ctx, user)
	}
	if err != nil {
		c.Log.Info("the application has not deleted an old personal access token of a user yet; it is tried again", zap.String("user_key", user), zap.Error(err))
	}
}

// tidyAlone is tidy with what is stored: the credential in use, a session, or a credential that is to
// delete itself. What has ended by itself is forgotten.
func (c *Credentials) tidyAlone(ctx context.Context, user string) error {
	all, err := c.Store.Upstream(ctx, user)
	if err != nil || !slices.ContainsFunc(all, isLeft) {
		return err
	}
	err = directory.ErrNotLoggedIn
	for _, login := range c.logins(user, all) {
		if err = c.tidy(ctx, user, login); !errors.Is(err, directory.ErrNotLoggedIn) {
			return err
		}
	}
	ended := func(o store.UpstreamCredential) bool {
		end := o.Expires
		if end.IsZero() {
			end = o.Created.Add(lifetime)
		}
		return isLeft(o) && end.Before(c.Now())
	}
	if forget := slices.ContainsFunc(all, ended); !forget {
		return err
	}
	return c.update(ctx, user, func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		return slices.DeleteFunc(before, ended), nil, nil
	})
}

// logins returns the logins of a user that are stored, the one that works most likely first.
func (c *Credentials) logins(user string, all []store.UpstreamCredential) (logins []http.Header) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b store.UpstreamCredential) int { return rank(a) - rank(b) })
	for _, o := range all {
		if o.UpstreamID == "" && !o.State.InUse() {
			if login := c.openLogin(user, o); login != nil {
				logins = append(logins, login)
			}
		} else if value, err := c.Keys.Open(o.Sealed, c.context(user, o)); err == nil {
			logins = append(logins, product.NewSecret(string(value)).Bearer())
		}
	}
	return logins
}

func rank(of store.UpstreamCredential) int {
	return slices.Index([]store.UpstreamState{store.UpstreamActive, store.UpstreamMinting, store.UpstreamDeleting, store.UpstreamBroken}, of.State)
}

// isSame reports whether a credential of the application is the one of a record. The name must be one of
// tokengate's, so that no record makes it delete another.
func isSame(of store.UpstreamCredential, e product.UpstreamCredential) bool {
	return (of.UpstreamID == e.ID || of.UpstreamID == "") && of.Name == e.Name && strings.HasPrefix(e.Name, namePrefix)
}

// tidy deletes what is left of a user's previous credentials and of failed attempts, in the application and
// then in the store. The caller holds the user's lock.
func (c *Credentials) tidy(ctx context.Context, user string, login http.Header) error {
	all, err := c.readable(ctx, user)
	if err != nil || !slices.ContainsFunc(all, isLeft) {
		return err
	}
	existing, err := c.minter().List(ctx, login)
	if err != nil {
		return err
	}
	if inUse := working(all); inUse != nil {
		existing = slices.DeleteFunc(existing, func(o product.UpstreamCredential) bool { return o.ID == inUse.UpstreamID })
	}
	gone := make(map[string]store.UpstreamState)
	var audits []store.Audit
	for _, o := range all {
		if !isLeft(o) {
			continue
		}
		found := false
		for _, e := range existing {
			if err == nil && isSame(o, e) {
				err = c.minter().Delete(ctx, login, e.ID)
				found = true
			}
		}
		switch {
		case err != nil: // record those before
			continue
		case found:
			audits = append(audits, c.audit(DeleteAction, o.Owner))
		case o.UpstreamID == "" && c.Now().Sub(o.Created) < settleTime:
			continue // it may still come
		}
		gone[o.ID] = o.State
	}
	if len(gone) == 0 {
		return err
	}
	return errors.Join(err, c.update(ctx, user, func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		return slices.DeleteFunc(before, func(o store.UpstreamCredential) bool { return isLeft(o) && gone[o.ID] == o.State }), audits, nil
	}))
}
