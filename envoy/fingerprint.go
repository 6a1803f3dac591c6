package envoy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

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

// ConfigurationState says whether Envoy's configuration was generated from the server's
// settings, by its version.
type ConfigurationState string

// The states. If several Envoys check the health, one is enough for outdated.
const (
	ConfigurationUnknown  ConfigurationState = "unknown" // no Envoy with a fingerprint checked the health in the last minute
	ConfigurationCurrent  ConfigurationState = "current"
	ConfigurationOutdated ConfigurationState = "outdated"
)

// configurations are the times of the last health checks by what their fingerprint said.
type configurations struct {
	mu                        sync.Mutex
	current, outdated, warned time.Time
}

const (
	warnEvery  = 10 * time.Minute // how often an outdated Envoy is logged
	checkedFor = time.Minute      // how long a health check counts
)

// Configuration returns the state of Envoy's configuration.
func (s *Server) Configuration() ConfigurationState {
	s.configurations.mu.Lock()
	defer s.configurations.mu.Unlock()
	return s.configurations.state(s.Now())
}

func (c *configurations) state(now time.Time) ConfigurationState {
	switch {
	case now.Sub(c.outdated) < checkedFor:
		return ConfigurationOutdated
	case now.Sub(c.current) < checkedFor:
		return ConfigurationCurrent
	}
	return ConfigurationUnknown
}

// compare notes the fingerprint of a health check, and reports one of other settings.
func (s *Server) compare(fingerprint string) {
	c := &s.configurations
	c.mu.Lock()
	defer c.mu.Unlock()
	now := s.Now()
	if fingerprint == s.Fingerprint {
		c.current = now
		if c.state(now) == ConfigurationCurrent {
			s.Metrics.outdated.Set(0)
		}
		return
	}
	c.outdated = now
	s.Metrics.outdated.Set(1)
	if now.Sub(c.warned) >= warnEvery {
		c.warned = now
		s.Log.Warn("Envoy's configuration is out of date: it was generated from other settings or by another version. " +
			"Until it is generated again with tokengate envoy bootstrap, Envoy may forward requests that tokengate would deny, or refuse others")
	}
}

// healthServer answers Envoy's health checks.
type healthServer struct {
	*health.Server
	check *Server
}

// Check implements healthv1.HealthServer.
func (h *healthServer) Check(ctx context.Context, in *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	if values := metadata.ValueFromIncomingContext(ctx, fingerprintHeader); len(values) == 1 {
		h.check.compare(values[0])
	}
	return h.Server.Check(ctx, in)
}
