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

// An outdated Envoy beside a current one is logged every 10 minutes, and shows in the metric until a
// minute after its last health check.
func TestOutdatedEnvoyBesideACurrentOne(t *testing.T) {
	core, lines := observer.New(zapcore.WarnLevel)
	now := time.Unix(1e9, 0)
	h := &healthServer{fingerprint: "current", log: zap.New(core), now: func() time.Time { return now }, outdated: prometheus.NewGauge(prometheus.GaugeOpts{Name: "outdated"})}
	for _, step := range []struct {
		after       time.Duration
		fingerprint string
		outdated    float64
		warnings    int
	}{
		{0, "current", 0, 0},
		{time.Second, "old", 1, 1},
		{time.Second, "current", 1, 1},
		{time.Second, "older", 1, 1},
		{time.Minute - 1, "current", 1, 1},
		{1, "current", 0, 1},
		{9*time.Minute - 2*time.Second - 1, "old", 1, 1},
		{1, "old", 1, 2},
	} {
		now = now.Add(step.after)
		h.compare(step.fingerprint)
		if got := testutil.ToFloat64(h.outdated); got != step.outdated || lines.Len() != step.warnings {
			t.Errorf("%s after %v: the metric is %v with %d warnings, want %v and %d", step.fingerprint, step.after, got, lines.Len(), step.outdated, step.warnings)
		}
	}
}
