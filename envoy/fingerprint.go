package envoy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/tokengate/tokengate/authz/config"
)

// fingerprintHeader is the metadata of Envoy's health checks with the fingerprint of its
// configuration (envoy.config.core.v3.HealthCheck.GrpcHealthCheck.initial_metadata).
const fingerprintHeader = "x-tokengate-configuration"

// Fingerprint identifies which requests the Envoy configuration that Bootstrap writes for
// cfg forwards, asks about and changes. It does not depend on addresses and files. cfg
// must be valid.
func Fingerprint(cfg config.Config) (string, error) {
	p := config.Products[cfg.Upstream.Product]
	if p == nil {
		return "", fmt.Errorf("upstream.product %q is unknown", cfg.Upstream.Product)
	}
	rules, err := newBootstrapRules(cfg, p)
	if err != nil {
		return "", fmt.Errorf("identify Envoy's configuration: %w", err)
	}
	return rules.fingerprint(), nil
}

// fingerprint includes the template, so that it changes with tokengate's version if the
// configuration does.
func (d *bootstrapRules) fingerprint() string {
	rules, err := json.Marshal(d)
	if err != nil {
		panic("envoy: " + err.Error()) // it has strings and numbers only
	}
	sum := sha256.Sum256(append(rules, bootstrapText...))
	return hex.EncodeToString(sum[:8])
}

// healthServer answers Envoy's health checks, and reports an Envoy whose configuration
// was generated from other settings.
type healthServer struct {
	*health.Server
	fingerprint string
	log         *zap.Logger
	now         func() time.Time
	outdated    prometheus.Gauge

	mu     sync.Mutex
	seen   time.Time // when an outdated Envoy last checked the health
	warned time.Time
}

const (
	warnEvery   = 10 * time.Minute // how often an outdated Envoy is logged
	outdatedFor = time.Minute      // how long one shows in the metric, beside others that are not
)

// Check implements healthv1.HealthServer.
func (h *healthServer) Check(ctx context.Context, in *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	if values := metadata.ValueFromIncomingContext(ctx, fingerprintHeader); len(values) == 1 {
		h.compare(values[0])
	}
	return h.Server.Check(ctx, in)
}

func (h *healthServer) compare(fingerprint string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if fingerprint == h.fingerprint {
		if now.Sub(h.seen) >= outdatedFor {
			h.outdated.Set(0)
		}
		return
	}
	h.seen = now
	h.outdated.Set(1)
	if now.Sub(h.warned) >= warnEvery {
		h.warned = now
		h.log.Warn("Envoy's configuration is out of date: it was generated from other settings or by another version. " +
			"Until it is generated again with tokengate envoy bootstrap, Envoy may forward requests that tokengate would deny, or refuse others")
	}
}
