package envoy

import (
	"math"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tokengate/tokengate/authz"
)

// Concurrent decisions are all counted, and one in timedEvery is timed.
func TestMetricsCountAll(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry)
	var counting sync.WaitGroup
	const workers, each = 8, 64 * 50
	began := time.Unix(1e9, 0)
	for range workers {
		counting.Go(func() {
			for range each {
				m.count(authz.Decision{Outcome: authz.Allowed, Reason: authz.TokenAllowed}, began, func() time.Time { return began.Add(3 * time.Microsecond) })
			}
		})
	}
	counting.Wait()
	for _, d := range []authz.Decision{
		{Outcome: authz.PassThrough, Reason: authz.Password, WouldBlock: true},
		{Outcome: 77, Reason: authz.TokenAllowed},  // undefined
		{Outcome: 3, Reason: authz.MalformedToken}, // its index would be that of unknown_token
		{Outcome: authz.PassThrough, Reason: 200},
	} {
		m.count(d, began, func() time.Time { return began.Add(3 * time.Microsecond) })
	}

	values := scrape(t, registry)
	for name, want := range map[string]float64{
		`tokengate_decisions_total{outcome="allowed",reason="allowed"}`:       workers * each,
		`tokengate_decisions_total{outcome="pass_through",reason="password"}`: 1,
		`tokengate_decisions_total{outcome="denied",reason="unknown_token"}`:  0,
		`tokengate_passwords_observed_total`:                                  1,
		`tokengate_decision_seconds_bucket{le="2.5e-06"}`:                     0,
	} {
		if got, found := values[name]; !found || got != want {
			t.Errorf("%s is %v (found: %v), want %v", name, got, found, want)
		}
	}
	if sum, n := values["tokengate_decision_seconds_sum"], values["tokengate_decision_seconds_count"]; math.Abs(sum-3e-6*n) > 1e-9 {
		t.Errorf("%v decisions took %v s", n, sum)
	}
	// The first decision of each stripe is timed.
	least, most := float64(workers*each/timedEvery), float64(workers*each/timedEvery+len(m.stripes))
	for _, name := range []string{`tokengate_decision_seconds_bucket{le="5e-06"}`, "tokengate_decision_seconds_count"} {
		if n := values[name]; n < least || n > most {
			t.Errorf("%s is %v, want %v to %v", name, n, least, most)
		}
	}
}

// Bounds are inclusive.
func TestMetricsBuckets(t *testing.T) {
	var s stripe
	for bucket, bound := range bounds {
		s.time(bound)
		s.time(bound + 1)
		if n := s.buckets[bucket].Load(); n != 1+uint64(min(bucket, 1)) {
			t.Errorf("%d decisions up to %v", n, bound)
		}
	}
}

// scrape returns the values of a registry, by name and labels.
func scrape(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	values := map[string]float64{}
	for line := range strings.Lines(answer.Body.String()) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); !strings.HasPrefix(line, "#") {
			figure, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			values[name] = figure
		}
	}
	return values
}
