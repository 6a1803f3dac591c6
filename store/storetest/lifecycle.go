package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

// calls has every method of a store that takes a context.
var calls = map[string]func(context.Context, store.Store) error{
	"create": func(ctx context.Context, s store.Store) error {
		_, err := s.Create(ctx, NewToken(2, "fred"), admitted("test00000002"))
		return err
	},
	"get": func(ctx context.Context, s store.Store) error {
		_, err := s.Get(ctx, "test00000001")
		return err
	},
	"update": func(ctx context.Context, s store.Store) error {
		_, err := s.Update(ctx, "test00000001", revoked)
		return err
	},
	"update of a shared record": func(ctx context.Context, s store.Store) error {
		return s.UpdateShared(ctx, "count", counted)
	},
	"shared record": func(ctx context.Context, s store.Store) error {
		_, err := s.Shared(ctx, "count")
		return err
	},
	"hold a role": func(ctx context.Context, s store.Store) error {
		_, err := s.Hold(ctx, "role")
		return err
	},
	"release a role": func(ctx context.Context, s store.Store) error { return s.Release(ctx, "role") },
	"watch upstream": func(ctx context.Context, s store.Store) error {
		return s.WatchUpstream(ctx, func(string) {})
	},
	"list": func(ctx context.Context, s store.Store) error {
		_, err := s.List(ctx, "", 0, 10)
		return err
	},
	"live": func(ctx context.Context, s store.Store) error {
		_, err := s.Live(ctx, "fred")
		return err
	},
	"all": func(ctx context.Context, s store.Store) error {
		return s.All(ctx, func(store.Token) error { return nil })
	},
	"prune": func(ctx context.Context, s store.Store) error {
		_, err := s.Prune(ctx, Epoch.AddDate(10, 0, 0), func(t store.Token) store.Audit { return audit("prune", t.ID) })
		return err
	},
	"prune ended": func(ctx context.Context, s store.Store) error {
		_, err := s.PruneEnded(ctx, Epoch.AddDate(10, 0, 0), 0, func(t store.Token) store.Audit { return audit("prune", t.ID) })
		return err
	},
	"prune audit": func(ctx context.Context, s store.Store) error {
		_, err := s.PruneAudit(ctx, Epoch.AddDate(10, 0, 0), 1)
		return err
	},
	"add usage": func(ctx context.Context, s store.Store) error {
		return s.AddUsage(ctx, map[string]store.Usage{"test00000001": {Count: 1}})
	},
	"usage": func(ctx context.Context, s store.Store) error {
		_, err := s.Usage(ctx, []string{"test00000001"})
		return err
	},
	"all usage": func(ctx context.Context, s store.Store) error {
		return s.AllUsage(ctx, func(string, store.Usage) error { return nil })
	},
	"update upstream": func(ctx context.Context, s store.Store) error {
		_, err := s.UpdateUpstream(ctx, "JIRAUSER1", func(all []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
			return all, nil, nil
		})
		return err
	},
	"upstream": func(ctx context.Context, s store.Store) error {
		_, err := s.Upstream(ctx, "JIRAUSER1")
		return err
	},
	"all upstream": func(ctx context.Context, s store.Store) error {
		return s.AllUpstream(ctx, func(string, []store.UpstreamCredential, error) error { return nil })
	},
	"append audit": func(ctx context.Context, s store.Store) error {
		return s.AppendAudit(ctx, audit("token.show", "test00000001"))
	},
	"audit log": func(ctx context.Context, s store.Store) error {
		_, err := s.AuditLog(ctx, 0, 10)
		return err
	},
	"add totals": func(ctx context.Context, s store.Store) error {
		return s.AddTotals(ctx, store.DayOf(Epoch), map[string]uint64{"allowed": 1})
	},
	"totals": func(ctx context.Context, s store.Store) error {
		_, err := s.Totals(ctx, 0)
		return err
	},
	"add password uses": func(ctx context.Context, s store.Store) error {
		_, err := s.AddPasswordUses(ctx, []store.PasswordUse{passwordUse("fred", "curl", 0)})
		return err
	},
	"password uses": func(ctx context.Context, s store.Store) error {
		_, err := s.PasswordUses(ctx)
		return err
	},
	"prune password uses": func(ctx context.Context, s store.Store) error {
		return s.PrunePasswordUses(ctx, Epoch)
	},
	"health": func(ctx context.Context, s store.Store) error { return s.Health(ctx) },
}

func testContextEnded(t *testing.T, s Suite) {
	f := open(t, s)
	token := NewToken(1, "fred")
	token.Expires = Epoch
	f.create(token)
	for name, call := range calls {
		f.unchanged(name+" with an ended context", func() {
			wantError(t, name, call(ended(t), f), context.Canceled)
		})
	}
	same(t, "usage", f.usage(token.ID), map[string]store.Usage{})
	same(t, "totals", f.totals(0), []store.DayTotals(nil))
	same(t, "password uses", f.passwords(), map[string]store.PasswordUse{})

	// The context ends after the callback and before the commit.
	inside := map[string]func(context.Context, func()) error{
		"create": func(ctx context.Context, cancel func()) error {
			_, err := f.Create(ctx, NewToken(2, "fred"), func([]store.Token) (store.Audit, error) {
				cancel()
				return audit("token.create", "test00000002"), nil
			})
			return err
		},
		"update": func(ctx context.Context, cancel func()) error {
			_, err := f.Update(ctx, token.ID, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
				cancel()
				return revoked(t, nil)
			})
			return err
		},
		"prune": func(ctx context.Context, cancel func()) error {
			_, err := f.Prune(ctx, Epoch.Add(time.Hour), func(t store.Token) store.Audit {
				cancel()
				return audit("token.prune", t.ID)
			})
			return err
		},
	}
	for name, call := range inside {
		f.unchanged(name+" whose context ends in the callback", func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			wantError(t, name, call(ctx, cancel), context.Canceled)
		})
	}
	// The running number has no gaps.
	if n := f.create(NewToken(3, "fred")).Number; n != 2 {
		t.Errorf("the number after 1 is %d, want 2", n)
	}
}

func testClosed(t *testing.T, s Suite) {
	f := open(t, s)
	f.create(NewToken(1, "fred"))
	if err := f.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	for name, call := range calls {
		wantError(t, name, call(t.Context(), f), store.ErrClosed)
	}
	wantError(t, "close", f.Close(), store.ErrClosed)
}
