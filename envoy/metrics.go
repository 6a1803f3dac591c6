package envoy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokengate/tokengate/authz"
)

// Metrics counts decisions. No label holds a user or a token.
type Metrics struct {
	decisions map[decided]prometheus.Counter
	seconds   prometheus.Histogram
	panics    prometheus.Counter
	observed  prometheus.Counter
}

// decided is what a decision is counted by.
type decided struct {
	outcome authz.Outcome
	reason  authz.Reason
}

// NewMetrics makes the metrics and registers them. Every reason is there from
// the start, at zero, so that an alert on a rate sees its first increase.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	decisions := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tokengate_decisions_total",
		Help: "Decisions by outcome and reason.",
	}, []string{"outcome", "reason"})
	m := &Metrics{
		decisions: make(map[decided]prometheus.Counter),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "tokengate_decision_seconds",
			Help:    "Time from having a question of Envoy's to having its answer.",
			Buckets: []float64{1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2, 1e-1, 1},
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokengate_panics_total",
			Help: "Requests that made the server panic and were refused.",
		}),
		observed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokengate_passwords_observed_total",
			Help: "Passwords let through that the mode block would refuse.",
		}),
	}
	for _, reason := range authz.Reasons() {
		for _, outcome := range reason.Outcomes() {
			m.decisions[decided{outcome, reason}] = decisions.WithLabelValues(outcome.String(), reason.String())
		}
	}
	registry.MustRegister(decisions, m.seconds, m.panics, m.observed)
	return m
}

func (m *Metrics) count(d authz.Decision, took time.Duration) {
	if counter, known := m.decisions[decided{d.Outcome, d.Reason}]; known {
		counter.Inc()
	}
	m.seconds.Observe(took.Seconds())
	if d.WouldBlock {
		m.observed.Inc()
	}
}
