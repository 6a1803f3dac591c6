package manage

import (
	"context"
	"errors"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
)

// Connection is with which credential of the application requests with a user's tokens are
// forwarded. The zero Connection is that of a site whose users need none.
type Connection struct {
	Needed bool // upstream.identity.pat is set, so the user's tokens need it
	upstream.Connection
}

// Connection returns the caller's own connection. If it is due, it is renewed soon after. It fails with
// ErrForbidden.
func (m *Manager) Connection(ctx context.Context, c Caller) (Connection, error) {
	return read(ctx, m, c, connectionAction, "", func(op *operation) (Connection, error) {
		if m.Upstream == nil {
			return Connection{}, nil
		}
		own, err := m.Upstream.Of(ctx, c.user.Key)
		if err != nil && !errors.Is(err, store.ErrInvalid) {
			return Connection{}, err
		}
		if err != nil { // the record cannot be read
			own.State = store.UpstreamBroken
		}
		if c.login != nil && !own.RenewAt.IsZero() && !op.now.Before(own.RenewAt) {
			m.Upstream.Visit(c.user, c.login())
		}
		return Connection{true, own}, nil
	})
}

// Connect creates a personal access token in the application with the caller's login, and
// uses it from then on in place of a present one, which is deleted there. It fails with ErrState,
// ErrForbidden, ErrTooMany or ErrUnavailable, whose texts say what the user can do.
func (m *Manager) Connect(ctx context.Context, c Caller) error {
	return m.perform(ctx, c, connectAction, "", func(op *operation) error {
		if err := op.checkUpstream(); err != nil {
			return err
		}
		op.subject.owner = c.user.Name
		done, err := op.connect(ctx, true)
		if err == nil {
			done()
		}
		return err
	})
}

// connect connects the caller with the caller's login, unless that has been done and again is false. Until
// done is called, the connection does not count as unused.
func (op *operation) connect(ctx context.Context, again bool) (done func(), err error) {
	c := op.caller
	if c.login == nil {
		return nil, refused(BadState, "Log in with the browser, or send your user name and password: this login cannot connect you.")
	}
	record := op.newRecord("done")
	record.Action = connectAction.name
	done, err = op.manager.Upstream.Connect(ctx, c.user, c.login(), again, record)
	switch {
	case err == nil:
		return done, nil
	case errors.Is(err, upstream.ErrRefused), errors.Is(err, upstream.ErrOtherUser):
		return nil, refused(BadState, "The application does not recognize the personal access token that it has just created for you, so tokengate deleted it. Log in again and repeat this.")
	case errors.Is(err, upstream.ErrDisconnected):
		return nil, refused(BadState, "%s", Sentence(err))
	case errors.Is(err, directory.ErrBasicRefused), errors.Is(err, directory.ErrCaptcha):
		return nil, refused(BadState, "tokengate could not connect you with a personal access token: %s.", err)
	case errors.Is(err, directory.ErrUnavailable):
		return nil, &Error{Code: Unavailable, Cause: err,
			Message: "The application did not answer, so you are not connected and no API token was created. Try again later; what the application may have created is deleted."}
	}
	return nil, upstreamRefusal(err)
}

// connectOwner connects the owner of a new token if it is the caller, whose login can do it. Others
// connect by themselves, or an administrator connects them; until then their tokens are suspended. The caller
// calls done after the token is created.
func (op *operation) connectOwner(ctx context.Context, t store.Token) (done func(), err error) {
	if op.manager.Upstream == nil || !op.caller.owns(t) || op.caller.login == nil {
		return func() {}, nil
	}
	owned, err := op.manager.Tokens.Live(ctx, t.Owner.Name)
	if err != nil {
		return nil, err
	}
	if err := op.checkLimits(owned, t); err != nil { // before the application creates anything
		return nil, err
	}
	return op.connect(ctx, false)
}

// Disconnect stops using the caller's credential, and deletes it in the application. The
// caller's tokens are denied from then on. It fails with ErrNotFound, ErrState, ErrForbidden or
// ErrUnavailable.
func (m *Manager) Disconnect(ctx context.Context, c Caller) error {
	return m.perform(ctx, c, disconnectAction, "", func(op *operation) error {
		if err := op.checkUpstream(); err != nil {
			return err
		}
		op.subject.owner = c.user.Name
		if c.login == nil {
			return upstreamRefusal(m.Upstream.Disconnect(ctx, c.user.Key, nil, op.newRecord("done")))
		}
		return upstreamRefusal(m.Upstream.Disconnect(ctx, c.user.Key, c.login(), op.newRecord("done")))
	})
}

// upstreamRefusal turns the errors of package upstream about the request into refusals.
func upstreamRefusal(err error) error {
	switch {
	case errors.Is(err, upstream.ErrRefused), errors.Is(err, upstream.ErrOtherUser), errors.Is(err, directory.ErrUnusableName):
		return invalid(FieldToken, "%s", Sentence(err))
	case errors.Is(err, upstream.ErrBusy):
		return &Error{Code: Unavailable, Cause: err, Message: Sentence(err)}
	case errors.Is(err, upstream.ErrNotConnected):
		return refused(NotFound, "%s", Sentence(err))
	case errors.Is(err, directory.ErrNotLoggedIn):
		return refused(BadState, "The application did not accept your login when tokengate asked for a personal access token. Log in again and repeat this.")
	case errors.Is(err, product.ErrCredentialsOff), errors.Is(err, product.ErrCredentialLimit), errors.Is(err, product.ErrCredentialRefused),
		errors.Is(err, product.ErrLicense), errors.Is(err, product.ErrCrossSite), errors.Is(err, product.ErrNotAllowed):
		return refused(BadState, "tokengate could not connect you with a personal access token: %s.", err)
	case errors.Is(err, directory.ErrUnavailable), errors.Is(err, directory.ErrCaptcha), errors.Is(err, directory.ErrBasicRefused):
		return &Error{Code: Unavailable, Cause: err,
			Message: "The application did not say whether it accepts the personal access token, so nothing was done. Try again later."}
	}
	return err
}
