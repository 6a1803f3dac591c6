package web

import (
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/web/query"
	"github.com/tokengate/tokengate/store"
)

// UpstreamConnection says how requests with a user's tokens are forwarded to the application.
type UpstreamConnection struct {
	User      string `json:"user"` // empty if the record cannot be read
	UserKey   string `json:"userKey"`
	State     string `json:"state"`     // active; broken: the user's tokens are refused; minting or deleting: not in use
	Name      string `json:"name"`      // the credential's name in the application; empty if tokengate did not create it
	CreatedAt *int64 `json:"createdAt"` // milliseconds since 1970; null: the record cannot be read
	ExpiresAt *int64 `json:"expiresAt"` // null: never, or unknown
	RenewAt   *int64 `json:"renewAt"`   // from when on it is renewed; null: never
	CheckedAt *int64 `json:"checkedAt"` // when the application last confirmed or refused it; null: never
	SetBy     string `json:"setBy"`
}

// UpstreamConnections answers GET /upstream, ordered by user.
type UpstreamConnections struct {
	Connections []UpstreamConnection `json:"connections"`
}

func (a api) listUpstream(c call[empty]) (reply, error) {
	all, err := a.ListUpstream(c.ctx, c.caller)
	if err != nil {
		return reply{}, err
	}
	return arrayReply(`{"connections":[`, "]}\n", func(next func(any) error) error {
		for _, one := range all {
			err := next(UpstreamConnection{
				User: one.Owner, UserKey: one.User, State: one.State.String(), Name: one.Name,
				CreatedAt: millis(one.Created), ExpiresAt: millis(one.Expires), RenewAt: millis(one.RenewAt), CheckedAt: millis(one.Checked), SetBy: one.SetBy,
			})
			if err != nil {
				return err
			}
		}
		return nil
	}), nil
}

// SetUpstreamRequest is a request to connect a user. No answer has the token.
type SetUpstreamRequest struct {
	Token string `json:"token"`          // the user's personal access token
	User  string `json:"user,omitempty"` // to whom it must belong; empty: to any user
}

// UpstreamUser answers PUT /upstream.
type UpstreamUser struct {
	User      string `json:"user"`      // whose token it is
	ExpiresAt *int64 `json:"expiresAt"` // null: never, or unknown because the user has several
}

func (a api) setUpstream(c call[SetUpstreamRequest]) (UpstreamUser, error) {
	set, err := a.SetUpstream(c.ctx, c.caller, c.body.User, product.NewSecret(c.body.Token))
	return UpstreamUser{set.Owner, millis(set.Expires)}, err
}

// UpstreamState answers POST /upstream/check.
type UpstreamState struct {
	State string `json:"state"` // as in UpstreamConnection
}

func (a api) checkUpstream(c call[empty]) (UpstreamState, error) {
	state, err := a.CheckUpstream(c.ctx, c.caller, connectedUser(c.query))
	return UpstreamState{state.String()}, err
}

func (a api) disconnectUpstream(c call[empty]) (empty, error) {
	return empty{}, a.DisconnectUpstream(c.ctx, c.caller, connectedUser(c.query))
}

// Purged answers POST /upstream/purge.
type Purged struct {
	Disconnected int `json:"disconnected"` // users
}

func (a api) purgeUpstream(c call[empty]) (Purged, error) {
	disconnected, err := a.PurgeUpstream(c.ctx, c.caller)
	return Purged{disconnected}, err
}

// OwnConnection says with which credential of the application requests with the caller's tokens are
// forwarded.
type OwnConnection struct {
	Needed    bool   `json:"needed"`    // false: the site uses upstream.identity.header, and all else is empty
	State     string `json:"state"`     // active; broken or none: the tokens are refused
	Name      string `json:"name"`      // the credential's name in the application; empty if tokengate did not create it
	CreatedAt *int64 `json:"createdAt"` // milliseconds since 1970
	ExpiresAt *int64 `json:"expiresAt"` // null: never, or unknown
	RenewAt   *int64 `json:"renewAt"`   // from when on it is renewed; null: never
	CheckedAt *int64 `json:"checkedAt"` // when the application last confirmed or refused it; null: never
	SetBy     string `json:"setBy"`
}

func (a api) connection(c call[empty]) (OwnConnection, error) {
	own, err := a.Connection(c.ctx, c.caller)
	answer := OwnConnection{
		Needed: own.Needed, Name: own.Name, CreatedAt: millis(own.Created), ExpiresAt: millis(own.Expires),
		RenewAt: millis(own.RenewAt), CheckedAt: millis(own.Checked), SetBy: own.SetBy, State: "none",
	}
	if own.State != 0 {
		answer.State = own.State.String()
	}
	return answer, err
}

func (a api) connect(c call[empty]) (empty, error) { return empty{}, a.Connect(c.ctx, c.caller) }

func (a api) disconnect(c call[empty]) (empty, error) { return empty{}, a.Disconnect(c.ctx, c.caller) }

// connectedParameters are the parameters that name a connected user; one of them is given.
var connectedParameters = []string{"user", "userKey"}

func connectedUser(q query.Values) store.Owner {
	return store.Owner{Name: q["user"], Key: q["userKey"]}
}

// Resealed answers POST /seal/rotate.
type Resealed struct {
	Sealed int      `json:"sealed"` // credentials that were sealed again
	Key    string   `json:"key"`    // the id of the key that seals all of them now
	File   string   `json:"file"`   // of that key
	Others []string `json:"others"` // the files of the other keys, which are needed only for backups now
}

func (a api) rotateSeal(c call[empty]) (Resealed, error) {
	done, err := a.RotateSeal(c.ctx, c.caller)
	return Resealed(done), err
}
