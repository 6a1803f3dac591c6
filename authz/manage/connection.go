package manage

import (
	"context"
	"time"

	"github.com/tokengate/tokengate/store"
)

// Connection describes with which credential of the application requests with a user's
// tokens are forwarded. The zero Connection is that of a site whose users need none.
type Connection struct {
	Needed   bool                // upstream.identity.pat is set, so the user's tokens need it
	State    store.UpstreamState // UpstreamActive or UpstreamBroken; 0: the user is not connected
	Name     string              // the credential's name in the application; empty if the user or an administrator gave it
	Created  time.Time           // when the user was connected
	Expires  time.Time           // zero: never, or unknown
	RenewAt  time.Time           // from when on it is renewed; zero: never
	Checked  time.Time           // when the application last confirmed or refused it; zero: never
	SetBy    string              // who connected the user, as in audit records
	CanLogin bool                // the caller's login can connect: see Caller.WithLogin
}

// Connection returns the caller's own connection. It fails with ErrForbidden.
func (m *Manager) Connection(ctx context.Context, c Caller) (Connection, error) {
	return Connection{}, nil
}

// Connect creates a personal access token in the application with the caller's login, and
// uses it from then on in place of a present one, which is deleted there. It fails with ErrState,
// ErrForbidden, ErrTooMany or ErrUnavailable, whose texts say what the user can do.
func (m *Manager) Connect(ctx context.Context, c Caller) error {
	return refused(BadState, "not built yet")
}

// Disconnect stops using the caller's credential, and deletes it in the application. The
// caller's tokens are denied from then on. It fails with ErrNotFound, ErrState, ErrForbidden or
// ErrUnavailable.
func (m *Manager) Disconnect(ctx context.Context, c Caller) error {
	return refused(BadState, "not built yet")
}
