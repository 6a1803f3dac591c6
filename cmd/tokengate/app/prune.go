package app

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// pruneEvery is how often old tokens and audit records are removed. The first time is a
// few minutes after the start, so that a server that restarts often does it too.
const (
	pruneEvery = 6 * time.Hour
	pruneFirst = 5 * time.Minute
)

// keepPruned prunes until ctx ends.
func (s *Server) keepPruned(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(pruneFirst):
		s.prune(ctx)
		every(ctx, pruneEvery, s.prune)
	}
}

// prune removes old tokens and audit records, unless another server does.
func (s *Server) prune(ctx context.Context) {
	held, err := s.roles.Hold(ctx, maintenanceRole)
	if err != nil && ctx.Err() == nil {
		s.log.Error("cannot remove old tokens and audit records; it is tried again", zap.Error(err))
	}
	if held && !s.removeOld(ctx) && ctx.Err() == nil {
		_ = s.roles.Release(ctx, maintenanceRole) // another server may succeed
	}
}

// removeOld removes old tokens and audit records, and reports whether it could.
func (s *Server) removeOld(ctx context.Context) (done bool) {
	removed, err := s.manager.Prune(ctx)
	done = err == nil
	switch {
	case err != nil && ctx.Err() == nil:
		s.log.Error("cannot remove old tokens; it is tried again", zap.Error(err))
	case removed > 0:
		s.log.Info("removed ended tokens (tokens.retention, tokens.maxEnded)", zap.Int("tokens", removed))
	}
	pruned, err := s.manager.PruneAudit(ctx)
	if pruned.Old > 0 {
		s.log.Info("removed audit records that are too old (audit.retention)", zap.Int("records", pruned.Old))
	}
	if pruned.Cut > 0 {
		s.log.Warn("removed the oldest audit records early, because the audit log is too large (audit.maxMiB)", zap.Int("records", pruned.Cut))
	}
	if err != nil && ctx.Err() == nil {
		s.log.Error("cannot remove audit records; it is tried again", zap.Error(err))
	}
	return done && err == nil
}
