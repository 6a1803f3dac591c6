package app

import (
	"crypto/sha256"
	"encoding/hex"
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

// watchEvery is how often the configuration file is read. It is polled, not watched,
// because Kubernetes changes a file by renaming a directory above it.
const watchEvery = 2 * time.Second

// reloader applies a changed configuration file.
type reloader struct {
	mu     sync.Mutex // serialises the watch and Server.Reload
	server *Server
	settling
	certificates []*certificates // of the listeners
	refused      error           // why the file is not in force; nil: it is

	result *prometheus.CounterVec
	good   prometheus.Gauge
}

// fingerprint identifies a content of the file; it is zero for a file that cannot be
// read.
type fingerprint [sha256.Size]byte

// settling finds changes that are the same in two checks: a half-written file could be
// valid without its end.
type settling struct {
	settled fingerprint // what was applied or refused last
	seen    fingerprint // at the last check
}

// changed reports whether what is there now was there at the last check, and is new.
func (s *settling) changed(now fingerprint) bool {
	changed := now != s.settled && now == s.seen
	s.seen = now
	if changed {
		s.settled = now
	}
	return changed
}

// settle marks a content as applied or refused.
func (s *settling) settle(now fingerprint) { s.settled, s.seen = now, now }

// content is the result of one read of the file, which is both compared and applied.
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
	data, err := io.ReadAll(io.LimitReader(f, config.MaxSize+1)) // Parse refuses a longer file
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

// newReloader returns a reloader for a server whose configuration has the given
// fingerprint.
func newReloader(s *Server, loaded fingerprint) *reloader {
	r := &reloader{
		server:   s,
		settling: settling{loaded, loaded},
		result: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokengate_config_reloads_total",
			Help: "Reloads of the configuration file by result.",
		}, []string{"result"}),
		good: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokengate_config_last_reload_successful",
			Help: "1 if the current configuration file is in force, 0 if it was refused.",
		}),
	}
	r.result.WithLabelValues("applied")
	r.result.WithLabelValues("refused")
	r.good.Set(1)
	s.registry.MustRegister(r.result, r.good)
	return r
}

// check reloads a changed file, and certificates, once they are the same in two checks.
func (r *reloader) check() {
	r.mu.Lock() // before the read: a reload in between would be undone
	defer r.mu.Unlock()
	if found := readContent(r.server.file); r.changed(found.fingerprint()) {
		r.reload(found)
	}
	for _, c := range r.certificates {
		c.check()
	}
}

// reloadNow reloads the file and the certificates even if they have not changed. It
// reports whether the file was applied.
func (r *reloader) reloadNow() (applied bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.certificates {
		c.reloadNow()
	}
	found := readContent(r.server.file)
	r.settle(found.fingerprint())
	return r.reload(found)
}

// refusal returns why the file is not in force, or "".
func (r *reloader) refusal() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused == nil {
		return ""
	}
	return r.refused.Error()
}

// file returns the SHA-256 of the file when it was last applied or refused.
func (r *reloader) file() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return hex.EncodeToString(r.settled[:])
}

// watch includes the certificates of a listener.
func (r *reloader) watch(c *certificates) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.certificates = append(r.certificates, c)
}

// reload applies a content of the file and refreshes the directory, or refuses all of
// it and logs why. mu is held.
func (r *reloader) reload(found content) (applied bool) {
	err := r.try(found)
	r.refused = err
	if err != nil {
		r.result.WithLabelValues("refused").Inc()
		r.good.Set(0)
		r.server.log.Error("the configuration file was refused; the previous one stays in force", zap.Error(err))
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
	r.server.refreshDirectory() // the groups to fetch may have changed
	return nil
}
