package upstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/store"
)

// Reseal seals every credential with the current key, so that the other keys can be removed. It
// returns how many it sealed again.
func (c *Credentials) Reseal(ctx context.Context) (sealed int, err error) {
	users, err := c.find(ctx, c.isOld)
	damaged := 0
	for _, user := range users {
		if err != nil {
			break
		}
		changed, unopened := 0, 0
		err = c.update(ctx, user, func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
			changed, unopened = 0, 0
			for i := range before {
				o := &before[i]
				if !c.isOld(*o) {
					continue
				}
				value, err := c.Keys.Open(o.Sealed, c.context(user, *o))
				if errors.Is(err, seal.ErrDamaged) || errors.Is(err, seal.ErrNoKey) {
					unopened++
					continue
				}
				if err == nil {
					o.Sealed, err = c.Keys.Seal(value, c.context(user, *o))
				}
				if err != nil {
					return nil, nil, err
				}
				changed++
			}
			return before, nil, nil
		})
		if err == nil {
			sealed, damaged = sealed+changed, damaged+unopened
		}
	}
	if err == nil && damaged > 0 {
		err = fmt.Errorf("%w: no key opens %d of the connections, whose users have to be disconnected or connected again; keep the old key files until then", seal.ErrDamaged, damaged)
	}
	if err != nil {
		return sealed, fmt.Errorf("seal the connections of users again: %w", err)
	}
	return sealed, nil
}

// isOld reports whether a credential is sealed with another key than the current one.
func (c *Credentials) isOld(of store.UpstreamCredential) bool {
	id, ok := seal.KeyOf(of.Sealed)
	return len(of.Sealed) > 0 && (!ok || id != c.Keys.Current())
}
