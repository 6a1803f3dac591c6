package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// Set makes a personal access token the credential of its user, after the application has confirmed
// it. expected is the key of the user whom it must belong to, or "" for any. It replaces the user's
// previous one. audit is the record of who did it; it gets the user's name. It fails with ErrRefused, ErrOtherUser or ErrBusy.
func (c *Credentials) Set(ctx context.Context, expected string, value product.Secret, audit store.Audit) (Connection, error) {
	user, err := c.confirm(ctx, value)
	switch {
	case err != nil:
		return Connection{}, err
	case expected != "" && user.Key != expected:
		return Connection{}, ErrOtherUser
	}
	unlock, err := c.lockUser(ctx, user.Key)
	if err != nil {
		return Connection{}, err
	}
	defer unlock()
	now := c.Now()
	made := store.UpstreamCredential{
		Owner: user.Name, Created: now, Checked: now, State: store.UpstreamActive, SetBy: audit.Actor,
		Expires: c.onlyEnd(ctx, user.Key, value),
	}
	if made.ID, err = newID(c.Random); err != nil {
		return Connection{}, err
	}
	if made.Sealed, err = c.Keys.Seal([]byte(value.Reveal()), c.context(user.Key, made)); err != nil {
		return Connection{}, err
	}
	audit.Owner = user.Name
	if err := c.replace(ctx, user.Key, made, audit); err != nil {
		return Connection{}, err
	}
	c.tidyAfter(ctx, user.Key, value.Bearer())
	return c.connection(user.Key, made), nil
}

// onlyEnd returns the end of a value if the user has no other in the application, besides those that
// tokengate created. A value does not tell its end itself. It returns zero if it does not end or that is unknown.
func (c *Credentials) onlyEnd(ctx context.Context, user string, value product.Secret) (end time.Time) {
	all, err := c.minter().List(ctx, value.Bearer())
	if err != nil {
		return time.Time{}
	}
	stored, err := c.readable(ctx, user)
	if err != nil {
		return time.Time{}
	}
	all = slices.DeleteFunc(all, func(o product.UpstreamCredential) bool {
		return slices.ContainsFunc(stored, func(own store.UpstreamCredential) bool { return own.UpstreamID == o.ID })
	})
	if len(all) != 1 {
		return time.Time{}
	}
	return all[0].Ends
}

// replace takes a credential into use. A previous one is to be deleted in the application if
// tokengate created it; one that somebody gave is only forgotten. If the credential was minted, its intent must
// still be there.
func (c *Credentials) replace(ctx context.Context, user string, made store.UpstreamCredential, audit store.Audit) error {
	return c.settle(ctx, user, func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		intended := slices.ContainsFunc(before, func(o store.UpstreamCredential) bool {
			return o.ID == made.ID && o.State == store.UpstreamMinting
		})
		if made.UpstreamID != "" && !intended {
			return nil, nil, ErrDisconnected
		}
		after := retire(slices.DeleteFunc(before, func(o store.UpstreamCredential) bool { return o.ID == made.ID }))
		return append(limit(after), made), []store.Audit{audit}, nil
	})
}

// retire returns the credentials with none in use.
func retire(all []store.UpstreamCredential) []store.UpstreamCredential {
	kept := make([]store.UpstreamCredential, 0, len(all)+1)
	for _, o := range all {
		if o.State.InUse() {
			if o.UpstreamID == "" {
				continue
			}
			o.State = store.UpstreamDeleting
		}
		kept = append(kept, o)
	}
	return kept
}

// limit leaves room for another credential. The oldest that the application would not delete are
// forgotten; they end by themselves.
func limit(all []store.UpstreamCredential) []store.UpstreamCredential {
	for len(all) >= store.MaxUpstreamCredentials {
		oldest := -1
		for i, o := range all {
			if !o.State.InUse() && (oldest < 0 || o.Created.Before(all[oldest].Created)) {
				oldest = i
			}
		}
		if oldest < 0 {
			break
		}
		all = slices.Delete(all, oldest, oldest+1)
	}
	return all
}

// newID returns the id of a new credential.
func newID(random io.Reader) (string, error) {
	v, err := token.Mint(token.Ordinary, random)
	if err != nil {
		return "", fmt.Errorf("make the id of a credential: %w", err)
	}
	return v.ID().String(), nil
}

// confirm asks the application whom a value belongs to.
func (c *Credentials) confirm(ctx context.Context, value product.Secret) (directory.User, error) {
	if c.Answer(value.Reveal()) == "" {
		return directory.User{}, ErrRefused
	}
	user, _, err := c.Client.Myself(ctx, value.Bearer(), askTimeout, c.Now())
	switch {
	case errors.Is(err, directory.ErrNotLoggedIn), errors.Is(err, directory.ErrInactive):
		return directory.User{}, ErrRefused
	case err != nil:
		return directory.User{}, err
	case user.Key == "":
		return directory.User{}, errNoKey
	}
	return user, nil
}

var errNoKey = fmt.Errorf("%w: the application did not name the user's key", directory.ErrUnavailable)
