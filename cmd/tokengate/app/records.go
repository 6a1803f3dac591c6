package app

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/envoy"
)

// flushEvery is how often the use of tokens is written, and flushOver how long
// writing very many may take. Together they bound what a crash can lose.
const (
	flushEvery = 2500 * time.Millisecond
	flushOver  = 2 * time.Second
)

// recordEvery is how often the totals and the use of passwords are written, and
// about how much of them a crash can lose.
const recordEvery = 30 * time.Second

// openRecords makes what counts requests for administrators. Its shutdown comes
// behind the last request.
func (s *Server) openRecords() {
	s.metrics = envoy.NewMetrics(s.registry)
	s.records = envoy.NewRecorder(s.tokens, s.metrics, time.Now)
	s.records.IsKnown = s.knows
	s.atStop("write the last totals and uses of passwords", s.records.Flush)
}

// flushRecords writes the totals and the use of passwords. A disk that hangs
// holds up nothing but this.
func (s *Server) flushRecords(ctx context.Context) {
	if err := s.records.Flush(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("cannot write the totals and the use of passwords; they are kept in memory and tried again", zap.Error(err))
	}
}

// flushUsage writes the use of tokens. A disk that hangs holds up nothing but
// this.
func (s *Server) flushUsage(ctx context.Context) {
	if err := s.usage.FlushOver(ctx, flushOver); err != nil && ctx.Err() == nil {
		s.log.Error("cannot write the use of tokens; it is kept in memory and tried again", zap.Error(err))
	}
}
