package envoy

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// An outdated Envoy beside a current one is logged every 10 minutes, and shows until a minute after its
// last health check.
func TestOutdatedEnvoyBesideACurrentOne(t *testing.T) {
	core, lines := observer.New(zapcore.WarnLevel)
	now := time.Unix(1e9, 0)
	s := &Server{Fingerprint: "current", Log: zap.New(core), Now: func() time.Time { return now }, Metrics: NewMetrics(prometheus.NewRegistry())}
	if got := s.Configuration(); got != ConfigurationUnknown {
		t.Errorf("before the first health check: %s", got)
	}
	for _, step := range []struct {
		after       time.Duration
		fingerprint string
		state       ConfigurationState
		warnings    int
	}{
		{0, "current", ConfigurationCurrent, 0},
		{time.Second, "old", ConfigurationOutdated, 1},
		{time.Second, "current", ConfigurationOutdated, 1},
		{time.Second, "older", ConfigurationOutdated, 1},
		{time.Minute - 1, "current", ConfigurationOutdated, 1},
		{1, "current", ConfigurationCurrent, 1},
		{9*time.Minute - 2*time.Second - 1, "old", ConfigurationOutdated, 1},
		{1, "old", ConfigurationOutdated, 2},
	} {
		now = now.Add(step.after)
		s.compare(step.fingerprint)
		if got := s.Configuration(); got != step.state || lines.Len() != step.warnings {
			t.Errorf("%s after %v: %s with %d warnings, want %s and %d", step.fingerprint, step.after, got, lines.Len(), step.state, step.warnings)
		}
		if got := testutil.ToFloat64(s.Metrics.outdated) == 1; got != (step.state == ConfigurationOutdated) {
			t.Errorf("%s after %v: the metric says %t", step.fingerprint, step.after, got)
		}
	}
	now = now.Add(time.Minute)
	if got := s.Configuration(); got != ConfigurationUnknown {
		t.Errorf("a minute after the last health check: %s", got)
	}
}
