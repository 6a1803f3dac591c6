package app

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
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
	mu      sync.Mutex // serialises the watch and Server.Reload
	server  *Server
	settled fingerprint // the file that is in force, or was refused
	seen    fingerprint // the file at the last look

	result *prometheus.CounterVec
	good   prometheus.Gauge
}

// fingerprint tells two contents of the file apart. A file that cannot be read
// has the zero one.
type fingerprint [sha256.Size]byte

// content is what one look at the file found. What is compared and what is put
// into force is the same read.
type content struct {
	file string
	data []byte
	err  error
}

func readContent(file string) content {
	f, err := os.Open(file)
	if err != nil {
		return content{file: file, err: fmt.Errorf("read configuration: %w", err)}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, config.MaxSize+1)) // Parse refuses what is larger
	if err != nil {
		err = fmt.Errorf("read configuration: %w", err)
	}
	return content{file, data, err}
}

func (c content) fingerprint() fingerprint {
	if c.err != nil {
		return fingerprint{}
	}
	return sha256.Sum256(c.data)
}

func (c content) parse() (config.Config, error) {
	if c.err != nil {
		return config.Config{}, c.err
	}
	return config.Parse(c.file, c.data)
}

// newReloader returns a reloader for a server that runs what the file held when
// it had the given fingerprint.
func newReloader(s *Server, loaded fingerprint) *reloader {
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

// check reloads the file if it has changed, once it stands still from one look
// to the next: a file half written could be a good one with its end missing.
func (r *reloader) check() {
	found := readContent(r.server.file)
	now := found.fingerprint()
	r.mu.Lock()
	defer r.mu.Unlock()
	if now != r.settled && now == r.seen {
		r.reload(found)
	}
	r.seen = now
}

// reloadNow reloads the file even if it has not changed. It reports whether the file
// was applied.
func (r *reloader) reloadNow() (applied bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reload(readContent(r.server.file))
}

// reload applies a content of the file and refreshes the directory, or refuses all of
// it and logs why. mu is held.
func (r *reloader) reload(found content) (applied bool) {
	r.settled = found.fingerprint()
	err := r.try(found)
	if err != nil {
		r.result.WithLabelValues("refused").Inc()
		r.good.Set(0)
		r.server.log.Error("the configuration file was refused; the one before stays in force", zap.Error(err))
		return false
	}
	r.result.WithLabelValues("applied").Inc()
	r.good.Set(1)
	r.server.log.Info("the configuration file was reloaded")
	return true
}

func (r *reloader) try(found content) error {
	settings, err := found.parse()
	if err != nil {
		return err
	}
	if fixed := config.FixedKeysChanged(r.server.config, settings); len(fixed) > 0 {
		return fmt.Errorf("%s: a change of %s needs a restart", r.server.file, strings.Join(fixed, ", "))
	}
	r.server.apply(settings)
	r.server.refreshDirectory() // which may have to follow other groups now
	return nil
}
