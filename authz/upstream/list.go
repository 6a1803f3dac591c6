package upstream

import (
	"context"
	"fmt"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
)

// Connection is a user's credential without its value. Only one that is active or broken is in use.
type Connection struct {
	User    string // the user's key
	Owner   string // the user's name when the credential was set; empty if the record cannot be read
	State   store.UpstreamState
	Name    string    // its name in the application; empty if tokengate did not create it
	Created time.Time // zero if the record cannot be read
	Expires time.Time // zero: never, or unknown
	RenewAt time.Time // from when on it is renewed; zero: never
	Checked time.Time // when the application last confirmed or refused it; zero: never
	SetBy   string    // who set it, as in audit records
}

// List returns the credentials of all users, in no order. One in use is broken while the user's tokens are
// denied, such as because it cannot be opened.
func (c *Credentials) List(ctx context.Context) (found []Connection, err error) {
	err = c.Store.AllUpstream(ctx, func(user string, all []store.UpstreamCredential, err error) error {
		if err != nil {
			found = append(found, Connection{User: user, State: store.UpstreamBroken})
		}
		for _, o := range all {
			found = append(found, c.connection(user, o))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the connections of users: %w", err)
	}
	return found, nil
}

// Of returns a user's credential in use, and the zero Connection if there is none.
func (c *Credentials) Of(ctx context.Context, user string) (Connection, error) {
	all, err := c.Store.Upstream(ctx, user)
	if err != nil {
		return Connection{}, fmt.Errorf("read the connection of a user: %w", err)
	}
	if inUse := working(all); inUse != nil {
		return c.connection(user, *inUse), nil
	}
	return Connection{}, nil
}

func (c *Credentials) connection(user string, of store.UpstreamCredential) Connection {
	if of.State.InUse() && c.Index.Upstream(user) == index.BrokenUpstream {
		of.State = store.UpstreamBroken
	}
	return Connection{
		User: user, Owner: of.Owner, State: of.State, Name: of.Name,
		Created: of.Created, Expires: of.Expires, RenewAt: c.renewTime(of), Checked: of.Checked, SetBy: of.SetBy,
	}
}

// Marks are the times before the end of a credential from which on it counts as ending, in the order of
// Figures.Ending.
var Marks = [3]time.Duration{30 * 24 * time.Hour, 14 * 24 * time.Hour, 3 * 24 * time.Hour}

// Figures count the credentials of all users.
type Figures struct {
	States [store.UpstreamDeleting + 1]int // by store.UpstreamState
	Ending [len(Marks)]int                 // active ones that end within each of Marks
}

// Figures returns the counts, which Run renews within seconds of a change, and every ten minutes.
func (c *Credentials) Figures() Figures {
	if f := c.figures.Load(); f != nil {
		return *f
	}
	return Figures{}
}

// count adds a user's credentials. blocked says that the one in use is broken, whatever is stored.
func (f *Figures) count(all []store.UpstreamCredential, blocked bool, now time.Time) {
	for _, o := range all {
		if o.State.InUse() && blocked {
			o.State = store.UpstreamBroken
		}
		f.States[o.State]++
		for i, mark := range Marks {
			if o.State == store.UpstreamActive && !o.Expires.IsZero() && o.Expires.Sub(now) <= mark {
				f.Ending[i]++
			}
		}
	}
}
