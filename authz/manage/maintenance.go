package manage

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/store"
)

// maintenanceCaller is the caller of what tokengate does by itself.
var maintenanceCaller = Caller{name: "tokengate:upkeep", from: "tokengate", kind: kindSystem}

// Prune removes the tokens that were revoked or expired longer ago than the
// configuration keeps them, and those that ended first of owners who have more of
// them than it keeps, and returns how many. It is to be called now and then.
func (m *Manager) Prune(ctx context.Context) (removed int, err error) {
	err = m.perform(ctx, maintenanceCaller, pruneAction, func(op *operation) error {
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

// PruneAudit removes the audit records that are older than the configuration keeps
// them, and the oldest ones of a log that is larger than it allows. It is to be
// called now and then.
func (m *Manager) PruneAudit(ctx context.Context) (pruned store.AuditPruned, err error) {
	err = m.perform(ctx, maintenanceCaller, pruneAction, func(op *operation) error {
		var before time.Time
		if keep := op.settings.Audit.Retention; !keep.Unlimited {
			before = op.now.Add(-keep.Duration)
		}
		pruned, err = m.Tokens.PruneAudit(ctx, before, int64(op.settings.Audit.MaxMiB)<<20)
		return err
	})
	return pruned, err
}

// UpdateOwnerStatus tells the index how the owners of tokens stand by what the directory
// knows and the rules in force say. It is to be called after each refresh and
// each change of the rules; who comes to own a token later is judged by what
// snapshot and the rules are then.
func (m *Manager) UpdateOwnerStatus(snapshot func() *directory.Snapshot) {
	m.statusMu.Lock()
	defer m.statusMu.Unlock()
	m.Tokens.Index().UpdateOwnerStatus(func(o store.Owner, before store.OwnerStatus) store.OwnerStatus {
		known, rules := snapshot(), m.Settings()
		user, err := known.Owner(o.Name, o.Key, m.Now())
		switch {
		case errors.Is(err, directory.ErrUnavailable):
			return store.OwnerUnknown
		case err != nil:
			return store.OwnerInactive
		case store.FoldOwner(user.Name) != store.FoldOwner(o.Name):
			return store.OwnerUnknown // renamed: Follow writes the tokens anew
		case rules.Access.MayUse(groups(user.Groups)):
			return store.OwnerPermitted
		case !known.Follows(rules.Access.UseGroups()):
			// The settings name a group that the directory has not been asked for
			// yet. It will be soon; until then it is as it was.
			return before
		}
		return store.OwnerNotPermitted
	}, snapshot().GoodUntil())
}

// SyncOwners writes down what a snapshot of the directory says of the tokens'
// owners: the keys of those who had none yet, and the new names of those whom
// Jira has renamed. A token that cannot be written now is written the next time,
// and does not keep others from it. Follow is to be called after each refresh.
func (m *Manager) SyncOwners(ctx context.Context, s *directory.Snapshot) error {
	return m.perform(ctx, maintenanceCaller, syncAction, func(op *operation) error {
		owners, err := m.Tokens.Owners(ctx)
		if err != nil {
			return err
		}
		var failed error
		// Renamed users' tokens wait for it.
		slices.SortFunc(owners, func(a, b store.Owned) int {
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

// DisableExposedTokens disables the tokens of administrators of which somebody else, who is
// none, was told the value: made before the one became an administrator, or the
// other ceased to be one. It is to be called after each refresh.
func (m *Manager) DisableExposedTokens(ctx context.Context) error {
	return m.perform(ctx, maintenanceCaller, disableAction, func(op *operation) error {
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
	live, err := op.liveTokens(ctx, store.Token{Owner: o})
	if err != nil {
		return err
	}
	var failed error
	for _, t := range live {
		reaches, err := op.isExposed(t)
		if t.State != store.Active || err != nil || !reaches {
			continue // what cannot be told now will be
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

// renamedFirst puts those first whom Jira has renamed.
func renamedFirst(s *directory.Snapshot, o store.Owner, now time.Time) int {
	if u, _ := s.Owner(o.Name, o.Key, now); u.Name != "" && store.FoldOwner(u.Name) != store.FoldOwner(o.Name) {
		return 0
	}
	return 1
}

// moveTokens writes an owner anew in all their tokens that are not revoked.
func (op *operation) moveTokens(ctx context.Context, from, to store.Owner) error {
	var failed error
	err := op.eachOwned(ctx, from.Name, func(owned []store.Token) error {
		for _, t := range owned {
			if t.Owner != from || t.State == store.Revoked {
				continue
			}
			_, err := op.update(ctx, t.ID, func(t *store.Token) error {
				if t.Owner == from {
					t.Owner = to
				}
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
