package app

import (
	"context"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/store"
)

const (
	maxUnknownOwners  = 100              // that wait; others wait for the next refresh
	askUnknownOwnerIn = 10 * time.Second // from one lookup of an owner to the next
)

// unknownOwner lets an owner be looked up soon, of whom the directory knows nothing. It does not wait.
func (s *Server) unknownOwner(o store.Owner) {
	select {
	case s.users.unknown <- o:
	default:
	}
}

// findOwners looks up unknown owners until ctx ends, so that a token that another server has created works
// before the next refresh.
func (s *Server) findOwners(ctx context.Context) {
	asked := make(map[string]time.Time)
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-s.users.unknown:
			now, id := time.Now(), directory.Identity(o.Name, o.Key)
			if now.Sub(asked[id]) < askUnknownOwnerIn || !s.tokens.Index().OwnersFresh(now) {
				continue
			}
			if len(asked) >= maxUnknownOwners {
				clear(asked)
			}
			asked[id] = now
			_, _ = s.users.directory.Lookup(ctx, o.Name) // an error leaves the owner's tokens denied
			s.manager.UpdateOwnerStatus(s.users.directory.Snapshot)
		}
	}
}
