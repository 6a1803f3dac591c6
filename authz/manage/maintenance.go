package manage

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
	"github.com/tokengate/tokengate/store/listing"
)

// maintenanceCaller is tokengate itself.
var maintenanceCaller = Caller{name: "tokengate:maintenance", from: "tokengate", kind: kindSystem}

// Prune removes tokens that ended longer ago than Settings.Retention, and each
// owner's oldest ended tokens beyond Settings.MaxEnded, and returns how many. It is
// called periodically.
func (m *Manager) Prune(ctx context.Context) (removed int, err error) {
	err = m.perform(ctx, maintenanceCaller, pruneAction, "", func(op *operation) error {
		record := func(t store.Token) store.Audit {
			a := op.newRecord("done")
			a.TokenID, a.Owner = t.ID, t.Owner.Name
			a.Changes = map[string]store.Change{"name": {Before: t.Name}, "state": {Before: string(op.stateOf(t))}}
			return a
		}
		if !op.settings.Retention.Unlimited {
			ids, err := m.Tokens.Prune(ctx, op.now.Add(-op.settings.Retention.Duration), record)
			removed = len(ids)
			if err != nil {
				return err
			}
		}
		ids, err := m.Tokens.PruneEnded(ctx, op.now, op.settings.MaxEnded, record)
		removed += len(ids)
		return err
	})
	return removed, err
}

// PruneAudit removes the audit records that are older than the configured retention,
// and the oldest beyond the configured size. It is called periodically.
func (m *Manager) PruneAudit(ctx context.Context) (pruned store.AuditPruned, err error) {
	err = m.perform(ctx, maintenanceCaller, pruneAction, "", func(op *operation) error {
		var before time.Time
		if keep := op.settings.Audit.Retention; !keep.Unlimited {
			before = op.now.Add(-keep.Duration)
		}
		pruned, err = m.Tokens.PruneAudit(ctx, before, int64(op.settings.Audit.MaxMiB)<<20)
		return err
	})
	return pruned, err
}

// UpdateOwnerStatus recomputes each token owner's status from the directory and the
// settings in force. It is called after each refresh and each reload; the status of
// later owners is computed from what snapshot and the settings are then.
func (m *Manager) UpdateOwnerStatus(snapshot func() *directory.Snapshot) {
	m.statusMu.Lock()
	defer m.statusMu.Unlock()
	var updated atomic.Bool // all owners; later calls are for the owners of single tokens
	m.Tokens.Index().UpdateOwnerStatus(func(o store.Owner, before index.OwnerStatus) index.OwnerStatus {
		users, settings := snapshot(), m.Settings()
		user, err := users.Owner(o.Name, o.Key, m.Now())
		switch {
		case errors.Is(err, directory.ErrUnavailable):
			if m.UnknownOwner != nil && updated.Load() {
				m.UnknownOwner(o)
			}
			return index.OwnerUnknown
		case err != nil:
			return index.OwnerInactive
		case store.FoldOwner(user.Name) != store.FoldOwner(o.Name):
			return index.OwnerUnknown // renamed: SyncOwners updates the tokens
		case settings.Access.MayUse(groups(user.Groups)):
			return index.OwnerPermitted
		case !users.Follows(settings.Access.UseGroups()):
			// The settings name a group that the directory has not loaded yet. Until then the
			// status stays.
			return before
		}
		return index.OwnerNotPermitted
	}, snapshot().GoodUntil())
	updated.Store(true)
}

// SyncOwners copies owners' keys and new names from the directory to their tokens. A
// token that cannot be written now is written by the next call, and does not stop
// the others. It is called after each refresh.
func (m *Manager) SyncOwners(ctx context.Context, s *directory.Snapshot) error {
	return m.perform(ctx, maintenanceCaller, syncAction, "", func(op *operation) error {
		owners, err := m.Tokens.Owners(ctx)
		if err != nil {
			return err
		}
		var failed error
		// Renamed owners first: their tokens are denied until then.
		slices.SortFunc(owners, func(a, b listing.Owned) int {
			return cmp.Compare(renamedFirst(s, a.Owner, op.now), renamedFirst(s, b.Owner, op.now))
		})
		for _, o := range owners {
			if err := ctx.Err(); err != nil {
				return err
			}
			user, err := s.Owner(o.Owner.Name, o.Owner.Key, op.now)
			next := store.Owner{Name: user.Name, Key: user.Key}
			known := err == nil || errors.Is(err, directory.ErrInactive)
			if !known || next.Key == "" || next == o.Owner || !o.Owner.MayBecome(next) {
				continue
			}
			failed = errors.Join(failed, op.moveTokens(ctx, o.Owner, next))
		}
		return failed
	})
}

// DisableExposedTokens disables administrators' tokens whose value is known to
// another user who is no administrator, because the owner became one or the other
// ceased to be one. It is called after each refresh.
func (m *Manager) DisableExposedTokens(ctx context.Context) error {
	return m.perform(ctx, maintenanceCaller, disableAction, "", func(op *operation) error {
		owners, err := m.Tokens.Owners(ctx)
		if err != nil {
			return err
		}
		var failed error
		for _, o := range owners {
			if err := ctx.Err(); err != nil {
				return err
			}
			if is, err := op.isAdmin(o.Owner.Name, o.Owner.Key); err == nil && is {
				failed = errors.Join(failed, op.disableExposed(ctx, o.Owner))
			}
		}
		return failed
	})
}

func (op *operation) disableExposed(ctx context.Context, o store.Owner) error {
	live, err := op.manager.Tokens.Live(ctx, o.Name)
	if err != nil {
		return err
	}
	var failed error
	for _, t := range live {
		reaches, err := op.isExposed(t)
		if t.State != store.Active || err != nil || !reaches {
			continue // unknown rights are checked by the next call
		}
		if err := op.setState(ctx, t.ID, store.Active, store.Disabled); err != nil && !isRefusal(err) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[*Error](err)
	return ok
}

// renamedFirst orders renamed owners before others.
func renamedFirst(s *directory.Snapshot, o store.Owner, now time.Time) int {
	if u, _ := s.Owner(o.Name, o.Key, now); u.Name != "" && store.FoldOwner(u.Name) != store.FoldOwner(o.Name) {
		return 0
	}
	return 1
}

// moveTokens changes the owner of all of an owner's tokens that are not revoked.
func (op *operation) moveTokens(ctx context.Context, from, to store.Owner) error {
	var failed error
	err := op.eachOwned(ctx, from.Name, func(owned []store.Token) error {
		for _, t := range owned {
			if t.Owner != from || t.State == store.Revoked {
				continue
			}
			_, err := op.update(ctx, t.ID, func(t *store.Token, _ store.LiveFunc) error {
				if t.Owner != from {
					return refused(BadState, "This token has another owner now.") // another server was first
				}
				t.Owner = to
				return nil
			})
			if err != nil && !isRefusal(err) {
				failed = errors.Join(failed, err)
			}
		}
		return nil
	})
	return errors.Join(failed, err)
}
