package manage

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
)

// checkUpstream refuses an operation on upstream credentials where there are none.
func (op *operation) checkUpstream() error {
	if op.manager.Upstream == nil {
		return refused(BadState, "This site uses upstream.identity.header; users have upstream credentials only with upstream.identity.pat.")
	}
	return nil
}

// ListUpstream returns which users are connected, with their present names, ordered by name. It
// fails with ErrState if users have no upstream credentials, or ErrForbidden.
func (m *Manager) ListUpstream(ctx context.Context, c Caller) ([]upstream.Connection, error) {
	return read(ctx, m, c, upstreamListAction, "", func(op *operation) ([]upstream.Connection, error) {
		if err := op.checkUpstream(); err != nil {
			return nil, err
		}
		return op.connections(ctx)
	})
}

// connections returns all connections, with the names that the directory has.
func (op *operation) connections(ctx context.Context) ([]upstream.Connection, error) {
	all, err := op.manager.Upstream.List(ctx)
	for i, c := range all {
		if u, _ := op.manager.Directory.Owner(c.Owner, c.User); u.Name != "" {
			all[i].Owner = u.Name
		}
	}
	slices.SortFunc(all, func(a, b upstream.Connection) int {
		return cmp.Or(cmp.Compare(store.FoldOwner(a.Owner), store.FoldOwner(b.Owner)), cmp.Compare(a.User, b.User))
	})
	return all, err
}

// SetUpstream makes a personal access token the upstream credential of its user, after the
// application has confirmed it. user is the name of the user whom it must belong to, or "" for any.
// It fails with ErrInvalid, ErrState, ErrForbidden, ErrTooMany or ErrUnavailable.
func (m *Manager) SetUpstream(ctx context.Context, c Caller, user string, value product.Secret) (upstream.Connection, error) {
	return read(ctx, m, c, upstreamSetAction, "", func(op *operation) (upstream.Connection, error) {
		key, err := op.expectedKey(ctx, user)
		if err != nil {
			return upstream.Connection{}, err
		}
		if token.Contains(value.Reveal()) || token.IsCredential(value.Reveal()) { // not the application's business
			return upstream.Connection{}, invalid(FieldToken, "This is an API token of tokengate. Give a personal access token that the user has made in the application.")
		}
		set, err := m.Upstream.Set(ctx, key, value, op.newRecord("done"))
		return set, upstreamRefusal(err)
	})
}

// expectedKey returns the key of the user with a name, and "" for no name.
func (op *operation) expectedKey(ctx context.Context, name string) (key string, err error) {
	if err := op.checkUpstream(); err != nil || name == "" {
		return "", err
	}
	if err := checkOwner(name); err != nil {
		return "", err
	}
	op.subject.owner = name
	u, err := op.manager.Directory.Lookup(ctx, name)
	switch {
	case errors.Is(err, directory.ErrUnavailable):
		return "", unavailable(err)
	case err != nil && ctx.Err() != nil:
		return "", err
	case err != nil:
		return "", invalid(FieldOwner, "%s", Sentence(err))
	case u.Key == "":
		return "", invalid(FieldOwner, "The directory does not know the key of this user. Leave the user out; the personal access token says whose it is.")
	}
	return u.Key, nil
}

// CheckUpstream asks the application whether it still accepts a user's credential, and returns
// the credential's state after that. The user has a key, or a name of ListUpstream. It fails with
// ErrInvalid, ErrNotFound, ErrState, ErrForbidden or ErrUnavailable.
func (m *Manager) CheckUpstream(ctx context.Context, c Caller, user store.Owner) (store.UpstreamState, error) {
	return read(ctx, m, c, upstreamCheckAction, "", func(op *operation) (store.UpstreamState, error) {
		key, err := op.connectedKey(ctx, user)
		if err != nil {
			return 0, err
		}
		state, err := m.Upstream.Check(ctx, key, op.newRecord("done"))
		if err != nil {
			return 0, upstreamRefusal(err)
		}
		return state, nil
	})
}

// DisconnectUpstream removes a user's credential: the user's tokens are denied from then on. The user
// has a key, or a name of ListUpstream. It fails with ErrInvalid, ErrNotFound, ErrState,
// ErrForbidden or ErrUnavailable.
func (m *Manager) DisconnectUpstream(ctx context.Context, c Caller, user store.Owner) error {
	return m.perform(ctx, c, upstreamDisconnectAction, "", func(op *operation) error {
		key, err := op.connectedKey(ctx, user)
		if err != nil {
			return err
		}
		return upstreamRefusal(m.Upstream.Disconnect(ctx, key, nil, op.newRecord("done")))
	})
}

// PurgeUpstream disconnects all users, and returns how many were connected. Their credentials are then deleted
// in the application, one after the other; those of ListUpstream are left. It fails with ErrState, ErrForbidden or
// ErrTooMany. After another error some may be disconnected.
func (m *Manager) PurgeUpstream(ctx context.Context, c Caller) (disconnected int, err error) {
	return read(ctx, m, c, upstreamPurgeAction, "", func(op *operation) (int, error) {
		if err := op.checkUpstream(); err != nil {
			return 0, err
		}
		return m.Upstream.Purge(ctx, op.newRecord("done"))
	})
}

// connectedKey returns the key of a connected user. If the user's name is in no connection, or in several
// because it was reused, the directory decides.
func (op *operation) connectedKey(ctx context.Context, user store.Owner) (string, error) {
	name := user.Name
	switch err := op.checkUpstream(); {
	case err != nil:
		return "", err
	case (name == "") == (user.Key == ""):
		return "", invalid(FieldOwner, "Give the user's name in the parameter user, or the user's key in userKey, and not both.")
	case user.Key != "":
		return user.Key, nil
	}
	if err := checkOwner(name); err != nil {
		return "", err
	}
	op.subject.owner = name
	all, err := op.connections(ctx)
	if err != nil {
		return "", err
	}
	all = slices.DeleteFunc(all, func(c upstream.Connection) bool { return !c.State.InUse() })
	named := slices.DeleteFunc(slices.Clone(all), func(c upstream.Connection) bool { return store.FoldOwner(c.Owner) != store.FoldOwner(name) })
	if len(named) == 1 {
		return named[0].User, nil
	}
	u, err := op.manager.Directory.Lookup(ctx, name)
	switch {
	case errors.Is(err, directory.ErrUnavailable):
		return "", unavailable(err)
	case u.Key != "" && slices.ContainsFunc(all, func(c upstream.Connection) bool { return c.User == u.Key }):
		return u.Key, nil
	}
	return "", refused(NotFound, "%s is not connected. Check the spelling of the user name.", name)
}

// Resealed is the result of RotateSeal.
type Resealed struct {
	Sealed int      // credentials that were sealed again
	Key    string   // the id of the key that seals all of them now
	File   string   // of that key
	Others []string // the files of the other keys, which are needed only for backups now
}

// RotateSeal seals every upstream credential with the first key of upstream.identity.pat.sealKeys, so
// that the others can be removed. It fails with ErrState, ErrForbidden or ErrTooMany. After another error
// some may be sealed again, and the next call seals the rest.
func (m *Manager) RotateSeal(ctx context.Context, c Caller) (Resealed, error) {
	return read(ctx, m, c, sealRotateAction, "", func(op *operation) (Resealed, error) {
		if err := op.checkUpstream(); err != nil {
			return Resealed{}, err
		}
		sealed, err := m.Upstream.Reseal(ctx)
		if errors.Is(err, seal.ErrDamaged) {
			return Resealed{}, refused(BadState, "%s", Sentence(err))
		}
		if err != nil {
			return Resealed{}, err
		}
		keys := m.Upstream.Keys
		key, files := keys.Current().String(), keys.Files()
		record := op.newRecord("done")
		record.Changes = map[string]store.Change{"key": {After: key}, "sealed": {After: strconv.Itoa(sealed)}}
		if err := m.Tokens.AppendAudit(ctx, record); err != nil {
			return Resealed{}, err
		}
		return Resealed{Sealed: sealed, Key: key, File: files[0], Others: files[1:]}, nil
	})
}
