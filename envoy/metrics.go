package envoy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokengate/tokengate/authz"
)

// Metrics counts decisions. No label holds a user or a token.
//
// Each processor counts in its own stripe, and a scrape adds them up: processors
// that write to one place wait for each other's caches.
type Metrics struct {
	stripes [32]stripe
	next    atomic.Uint32
	free    sync.Pool // of *stripe, per processor

	panics   prometheus.Counter
	plain    prometheus.Counter
	outdated prometheus.Gauge

	decisions, seconds, observed *prometheus.Desc
}

// stripe is one set of counters.
type stripe struct {
	decisions []atomic.Uint64 // by kindOf
	observed  atomic.Uint64
	counted   atomic.Uint64

	buckets [len(bounds) + 1]atomic.Uint64
	nanos   atomic.Uint64 // the sum of the durations in the buckets

	_ [64]byte // keeps stripes in different cache lines
}

// timedEvery is the sampling interval of the timing: reading the clock again takes
// about as long as a decision.
const timedEvery = 64

// bounds are the upper bounds of the buckets of tokengate_decision_seconds.
var bounds = [...]time.Duration{
	time.Microsecond, 2500 * time.Nanosecond, 5 * time.Microsecond, 10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second,
}

const outcomes = int(authz.Allowed) + 1

// kindOf returns an index below kinds for a pair of outcome and reason. ok is false
// if either is out of range.
func kindOf(outcome authz.Outcome, reason authz.Reason) (n int, ok bool) {
	n = int(reason)*outcomes + int(outcome)
	return n, int(outcome) < outcomes && n < kinds
}

var kinds = (len(authz.Reasons()) + 1) * outcomes

// NewMetrics makes the metrics and registers them. All reasons exist from the
// start, at zero, so that an alert on a rate sees the first increase.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		outdated: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokengate_envoy_configuration_outdated",
			Help: "1 if in the last minute an Envoy checked the health whose configuration was generated from other settings or by another version.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokengate_panics_total",
			Help: "Requests that were refused because the server panicked.",
		}),
		plain: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokengate_plain_http_tokens_total",
			Help: "Requests with a verified token that came over plain HTTP, although publicURL is https.",
		}),
		decisions: prometheus.NewDesc("tokengate_decisions_total", "Decisions by outcome and reason.", []string{"outcome", "reason"}, nil),
		seconds: prometheus.NewDesc("tokengate_decision_seconds",
			"Time from a decoded check to its answer, sampled once in 64 decisions.", nil, nil),
		observed: prometheus.NewDesc("tokengate_passwords_observed_total", "Requests with a password that passed and that mode block would deny.", nil, nil),
	}
	for i := range m.stripes {
		m.stripes[i].decisions = make([]atomic.Uint64, kinds)
	}
	m.free.New = func() any { return &m.stripes[m.next.Add(1)%uint32(len(m.stripes))] }
	registry.MustRegister(m, m.panics, m.plain, m.outdated)
	return m
}

// count counts a decision that began at the given time.
func (m *Metrics) count(d authz.Decision, began time.Time, now func() time.Time) {
	s := m.free.Get().(*stripe)
	defer m.free.Put(s)
	if n, ok := kindOf(d.Outcome, d.Reason); ok {
		s.decisions[n].Add(1)
	}
	if d.WouldBlock {
		s.observed.Add(1)
	}
	if s.counted.Add(1)%timedEvery == 1 {
		s.time(now().Sub(began))
	}
}

func (s *stripe) time(took time.Duration) {
	bucket := 0
	for bucket < len(bounds) && took > bounds[bucket] {
		bucket++
	}
	s.buckets[bucket].Add(1)
	s.nanos.Add(uint64(max(took, 0)))
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.decisions
	to <- m.seconds
	to <- m.observed
}

// sum returns the sum of a counter over all stripes.
func (m *Metrics) sum(of func(*stripe) *atomic.Uint64) (total uint64) {
	for i := range m.stripes {
		total += of(&m.stripes[i]).Load()
	}
	return total
}

// decided returns the number of requests with this outcome and reason.
func (m *Metrics) decided(outcome authz.Outcome, reason authz.Reason) uint64 {
	n, _ := kindOf(outcome, reason)
	return m.sum(func(s *stripe) *atomic.Uint64 { return &s.decisions[n] })
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	for _, reason := range authz.Reasons() {
		for _, outcome := range reason.Outcomes() {
			total := m.decided(outcome, reason)
			to <- prometheus.MustNewConstMetric(m.decisions, prometheus.CounterValue, float64(total), outcome.String(), reason.String())
		}
	}
	observed := m.sum(func(s *stripe) *atomic.Uint64 { return &s.observed })
	to <- prometheus.MustNewConstMetric(m.observed, prometheus.CounterValue, float64(observed))
	buckets := make(map[float64]uint64, len(bounds))
	below := uint64(0)
	for i, bound := range bounds {
		below += m.sum(func(s *stripe) *atomic.Uint64 { return &s.buckets[i] })
		buckets[bound.Seconds()] = below
	}
	all := below + m.sum(func(s *stripe) *atomic.Uint64 { return &s.buckets[len(bounds)] })
	nanos := m.sum(func(s *stripe) *atomic.Uint64 { return &s.nanos })
	to <- prometheus.MustNewConstHistogram(m.seconds, all, time.Duration(nanos).Seconds(), buckets)
}
