package app

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/envoy"
)

// flushEvery is how often the use of tokens is written, unless the store asks for less, and flushOver how long
// writing very many may take. Together they bound what a crash can lose.
const (
	flushEvery = 2500 * time.Millisecond
	flushOver  = 2 * time.Second
)

// recordEvery is how often totals and password uses are written, and so how much of
// them a crash can lose.
const recordEvery = 30 * time.Second

// openRecords creates the metrics and the recorder of totals and password uses. It is
// flushed after the last request.
func (s *Server) openRecords() {
	s.metrics = envoy.NewMetrics(s.registry)
	s.records = envoy.NewRecorder(s.tokens, s.metrics, time.Now)
	s.records.IsKnown = s.knows
	s.atStop("write the last totals and password uses", s.records.Flush)
}

// flushRecords writes totals and password uses. A hanging disk blocks only this.
func (s *Server) flushRecords(ctx context.Context) {
	if err := s.records.Flush(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("cannot write totals and password uses; they stay in memory for the next attempt", zap.Error(err))
	}
}

// flushUsage writes the usage of tokens. A hanging disk blocks only this.
func (s *Server) flushUsage(ctx context.Context) {
	if err := s.usage.FlushOver(ctx, flushOver); err != nil && ctx.Err() == nil {
		s.log.Error("cannot write the usage of tokens; it stays in memory for the next attempt", zap.Error(err))
	}
}
