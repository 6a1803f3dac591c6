package upstream

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/store"
)

// RenewAction is the action of audit records about a credential that was renewed.
const RenewAction = "upstream.renew"

// renewTime returns when a credential is due for renewal: after RenewAt percent of its life. It is zero
// for one that never is, because tokengate did not create it or it does not end.
func (c *Credentials) renewTime(of store.UpstreamCredential) time.Time {
	if of.UpstreamID == "" || of.Expires.IsZero() {
		return time.Time{}
	}
	return of.Created.Add(of.Expires.Sub(of.Created) / 100 * time.Duration(c.RenewAt))
}

func (c *Credentials) isDue(inUse *store.UpstreamCredential) bool {
	if inUse == nil || inUse.State != store.UpstreamActive {
		return false
	}
	at := c.renewTime(*inUse)
	return !at.IsZero() && !c.Now().Before(at)
}

// visit is a user who came with a login.
type visit struct {
	user  directory.User
	login http.Header
}

// visitAgain is how soon a visit counts again, so that a page that is shown again and again costs the
// application little.
const visitAgain = 10 * time.Minute

// Visit makes Run renew the user's credential soon with a login of the user, which the application has
// just accepted, if it is due.
func (c *Credentials) Visit(user directory.User, login http.Header) {
	c.makeChannels()
	if last, ok := c.visited.Load(user.Key); ok && c.Now().Sub(last.(time.Time)) < visitAgain {
		return
	}
	c.visited.Store(user.Key, c.Now())
	select {
	case c.visits <- visit{user, login}:
	default: // there are many; the user comes again
	}
}

// renewVisitors renews the credentials of visitors until ctx ends.
func (c *Credentials) renewVisitors(ctx context.Context) {
	c.makeChannels()
	for {
		select {
		case <-ctx.Done():
			return
		case v := <-c.visits:
			c.logRenewal(v.user.Key, c.renew(ctx, v.user, v.login))
		}
	}
}

// renew connects a user again if the credential is due.
func (c *Credentials) renew(ctx context.Context, user directory.User, login http.Header) error {
	done, err := c.connect(ctx, user, login, c.audit(RenewAction, ""), c.isDue)
	if err == nil {
		done()
	}
	return err
}

// tryAgain is how long the application's refusal to create a credential for a request with one is remembered.
const tryAgain = 24 * time.Hour

// renewWithItself renews a user's credential with itself, if it is due. Whether the application allows
// that is found out by trying once a day.
func (c *Credentials) renewWithItself(ctx context.Context, key string) {
	if refused := c.refusedRenewal.Load(); refused != nil && c.Now().Sub(*refused) < tryAgain {
		return
	}
	all, err := c.Store.Upstream(ctx, key)
	inUse := working(all)
	if err != nil || !c.isDue(inUse) {
		return
	}
	text, err := c.Keys.Open(inUse.Sealed, c.context(key, *inUse))
	if err != nil {
		return // Check says so
	}
	value := product.NewSecret(string(text))
	user, err := c.confirm(ctx, value)
	if err != nil || user.Key != key {
		return // Check says so
	}
	err = c.renew(ctx, user, value.Bearer())
	if errors.Is(err, product.ErrNotAllowed) {
		c.refusedRenewal.Store(new(c.Now()))
		c.Log.Info("the application creates no personal access token for a request with one; connections are renewed when their users visit the page", zap.Error(err))
		return
	}
	c.logRenewal(key, err)
}

func (c *Credentials) logRenewal(user string, err error) {
	if err != nil {
		c.Log.Warn("the connection of a user could not be renewed; it is tried again", zap.String("user_key", user), zap.Error(err))
	}
}
