package app

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/store"
)

// probes serves Kubernetes and Prometheus.
//
//	/healthz            200 while the process runs
//	/readyz             200 if Check can be answered, even if the store fails, because
//	                    browsers would otherwise lose Jira too
//	/readyz?for=tokens  200 if also the store is writable, and tokens and directory are fresh
//	/metrics            Prometheus
func (s *Server) probes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !s.ready.Load() {
			http.Error(w, "not ready: starting or shutting down", http.StatusServiceUnavailable)
			return
		}
		if r.URL.Query().Get("for") == "tokens" {
			if err := s.health.check(); err != nil {
				http.Error(w, "not ready for tokens: the store does not work: "+err.Error(), http.StatusServiceUnavailable)
				return
			}
			if !s.tokens.Index().TokensFresh(time.Now()) {
				http.Error(w, "not ready for tokens: the store has not reported its changes for too long", http.StatusServiceUnavailable)
				return
			}
			if !s.tokens.Index().OwnersFresh(time.Now()) {
				http.Error(w, "not ready for tokens: the user directory is too old", http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	return mux
}

// status returns what GET /status of the admin socket answers.
func (s *Server) status(started int64, of envoy.ConfigurationState) web.Status {
	now, index, users := time.Now(), s.tokens.Index(), s.users.directory
	status := web.Status{
		Started: started, Refused: s.reloads.refusal(), File: s.reloads.file(), Envoy: string(of),
		TokensFresh: index.TokensFresh(now), UsersFresh: index.OwnersFresh(now),
		Users: users.Stats().LastError, MissingGroups: append([]string{}, users.Snapshot().MissingGroups()...),
	}
	if err := s.health.check(); err != nil {
		status.Store = err.Error()
	}
	return status
}

// gauges are the metrics that are read at each scrape.
type gauges struct {
	server                         *Server
	tokens, expired, ending, fresh *prometheus.Desc
	bytes, up, dropped, build      *prometheus.Desc
	records, recordBytes           *prometheus.Desc
}

func (s *Server) gauges() prometheus.Collector {
	return &gauges{
		server:  s,
		tokens:  prometheus.NewDesc("tokengate_tokens", "Tokens in the index by state; revoked ones are kept for the record.", []string{"state"}, nil),
		expired: prometheus.NewDesc("tokengate_tokens_expired", "Active tokens that have expired.", nil, nil),
		ending:  prometheus.NewDesc("tokengate_tokens_ending", "Active tokens that expire within 7 days.", nil, nil),
		fresh: prometheus.NewDesc("tokengate_index_fresh",
			"1 if the tokens in memory are fresh enough, 0 if every token is refused because the store has not reported its changes for too long.", nil, nil),
		bytes: prometheus.NewDesc("tokengate_store_bytes", "Size of the store's files on disk.", nil, nil),
		records: prometheus.NewDesc("tokengate_store_records",
			"Records in the store by kind. Ended tokens, which are revoked or expired, are among the tokens. Absent until the store has counted after a start.", []string{"kind"}, nil),
		recordBytes: prometheus.NewDesc("tokengate_store_record_bytes",
			"Bytes of the records and their keys by kind, without what the database needs beside them.", []string{"kind"}, nil),
		up:      prometheus.NewDesc("tokengate_store_up", "1 if the store can be written and read, 0 if not.", nil, nil),
		dropped: prometheus.NewDesc("tokengate_log_lines_dropped_total", "Log lines dropped because the log was not read fast enough.", nil, nil),
		build:   prometheus.NewDesc("tokengate_build_info", "1, with the version that runs.", []string{"version", "go"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.tokens, g.expired, g.ending, g.fresh, g.bytes, g.up, g.dropped, g.build, g.records, g.recordBytes} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	counts := g.server.tokens.Index().Counts(time.Now())
	for state, n := range counts.States {
		to <- prometheus.MustNewConstMetric(g.tokens, prometheus.GaugeValue, float64(n), state.String())
	}
	to <- prometheus.MustNewConstMetric(g.expired, prometheus.GaugeValue, float64(counts.Expired))
	to <- prometheus.MustNewConstMetric(g.ending, prometheus.GaugeValue, float64(counts.Ending))
	fresh := 0.0
	if g.server.tokens.Index().TokensFresh(time.Now()) {
		fresh = 1
	}
	to <- prometheus.MustNewConstMetric(g.fresh, prometheus.GaugeValue, fresh)
	to <- prometheus.MustNewConstMetric(g.bytes, prometheus.GaugeValue, float64(g.server.tokens.Size()))
	if sizes, ok := g.server.tokens.Sizes(); ok {
		for kind, size := range sizes {
			to <- prometheus.MustNewConstMetric(g.records, prometheus.GaugeValue, float64(size.Records), kind)
			to <- prometheus.MustNewConstMetric(g.recordBytes, prometheus.GaugeValue, float64(size.Bytes), kind)
		}
		to <- prometheus.MustNewConstMetric(g.records, prometheus.GaugeValue, float64(counts.States[store.Revoked]+counts.Expired), "ended_tokens")
	}
	up := 1.0
	if g.server.health.check() != nil {
		up = 0
	}
	to <- prometheus.MustNewConstMetric(g.up, prometheus.GaugeValue, up)
	to <- prometheus.MustNewConstMetric(g.dropped, prometheus.CounterValue, float64(g.server.sink.Lost()))
	to <- prometheus.MustNewConstMetric(g.build, prometheus.GaugeValue, 1, g.server.version, runtime.Version())
}

// storeHealth checks the store at most once every few seconds, because each check costs
// two synced writes and every client of the probes can ask for it. store is set before
// the first use.
type storeHealth struct {
	store store.Store

	mu    sync.Mutex
	asked time.Time
	err   error
}

func (h *storeHealth) check() error {
	const fresh, patience = 5 * time.Second, time.Second
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.asked.IsZero() && time.Since(h.asked) < fresh {
		return h.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h.err = h.store.Health(ctx)
	h.asked = time.Now()
	return h.err
}
