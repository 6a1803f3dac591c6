package upstream

import (
	"context"
	"fmt"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
)

// Connection is a user's credential in use, without its value.
type Connection struct {
	User    string // the user's key
	Owner   string // the user's name when the credential was set; empty if the record cannot be read
	State   store.UpstreamState
	Created time.Time // zero if the record cannot be read
	Expires time.Time // zero: never, or unknown
	Checked time.Time // when the application last confirmed or refused it; zero: never
	SetBy   string    // who set it, as in audit records
}

// List returns the connections of all users, in no order. A credential that cannot be opened is
// broken, because the user's tokens are denied.
func (c *Credentials) List(ctx context.Context) (found []Connection, err error) {
	err = c.Store.AllUpstream(ctx, func(user string, all []store.UpstreamCredential, err error) error {
		inUse := working(all)
		switch {
		case err != nil:
			found = append(found, Connection{User: user, State: store.UpstreamBroken})
		case inUse != nil:
			if u, _ := c.opened(user, *inUse); u == index.BrokenUpstream {
				inUse.State = store.UpstreamBroken
			}
			found = append(found, Connection{
				User: user, Owner: inUse.Owner, State: inUse.State,
				Created: inUse.Created, Expires: inUse.Expires, Checked: inUse.Checked, SetBy: inUse.SetBy,
			})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the connections of users: %w", err)
	}
	return found, nil
}
