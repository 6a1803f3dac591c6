package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz/config"
)

// watchEvery is how often the configuration file is looked at. It is looked at
// rather than watched, because Kubernetes changes a file by renaming a
// directory above it.
const watchEvery = 2 * time.Second

// reloader puts a changed configuration file into force.
type reloader struct {
	server  *server
	settled fingerprint // the file that is in force, or was refused
	seen    fingerprint // the file at the last look

	result *prometheus.CounterVec
	good   prometheus.Gauge
}

// fingerprint tells two contents of the file apart. A file that cannot be read
// has the zero one.
type fingerprint [sha256.Size]byte

func fingerprintOf(file string) fingerprint {
	data, err := os.ReadFile(file)
	if err != nil {
		return fingerprint{}
	}
	return sha256.Sum256(data)
}

// newReloader returns a reloader for a server that has loaded the file since it
// had the given fingerprint.
func newReloader(s *server, loaded fingerprint) *reloader {
	r := &reloader{
		server:  s,
		settled: loaded,
		seen:    loaded,
		result: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokengate_config_reloads_total",
			Help: "Reloads of the configuration file by result.",
		}, []string{"result"}),
		good: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokengate_config_last_reload_successful",
			Help: "1 if the configuration file as it stands is in force, 0 if it was refused.",
		}),
	}
	r.result.WithLabelValues("applied")
	r.result.WithLabelValues("refused")
	r.good.Set(1)
	s.registry.MustRegister(r.result, r.good)
	return r
}

// look reloads the file if it has changed, once it stands still from one look
// to the next: a file half written could be a good one with its end missing.
func (r *reloader) look() {
	now := fingerprintOf(r.server.file)
	if now != r.settled && now == r.seen {
		r.reload()
	}
	r.seen = now
}

// reload puts the file into force, or refuses it whole and says why.
func (r *reloader) reload() {
	r.settled = fingerprintOf(r.server.file)
	err := r.try()
	if err != nil {
		r.result.WithLabelValues("refused").Inc()
		r.good.Set(0)
		r.server.log.Error("the configuration file was refused; the one before stays in force", zap.Error(err))
		return
	}
	r.result.WithLabelValues("applied").Inc()
	r.good.Set(1)
	r.server.log.Info("the configuration file was reloaded")
}

func (r *reloader) try() error {
	settings, err := config.Load(r.server.file)
	if err != nil {
		return err
	}
	if fixed := config.FixedKeysChanged(r.server.settings, settings); len(fixed) > 0 {
		return fmt.Errorf("%s: a change of %s needs a restart", r.server.file, strings.Join(fixed, ", "))
	}
	r.server.apply(settings)
	return nil
}
