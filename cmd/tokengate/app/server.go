// Package app is the tokengate server as a value. New reads the configuration, answers probes and opens
// the store, Start opens the other listeners and starts the background jobs, Reload applies
// a changed configuration, and Stop ends everything in order. Start reading at New below.
package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
)

// Options are what New takes besides the configuration file. All fields are required.
type Options struct {
	AcceptLoss bool      // open what is left of a damaged store, and disconnect users whose sealing key is lost
	Log        io.Writer // gets the log, one JSON object a line
	Version    string    // for the log and the metric tokengate_build_info
}

// Server is the whole program except the command line. New makes it, Start makes it ready, and Stop
// ends both.
type Server struct {
	file     string
	config   config.Config // as loaded at the start; a reload changes only a part of it
	version  string
	level    zap.AtomicLevel
	log      *zap.Logger
	sink     *logSink // behind log
	registry *prometheus.Registry

	policy   atomic.Pointer[policy.Policy]
	settings atomic.Pointer[manage.Settings]

	dataDir    string // the store's, for other files; empty: none
	tokens     *cached.Store
	usage      *cached.UsageRecorder
	usageEvery time.Duration // see flushUsage
	roles      *roles
	health     storeHealth

	manager  *manage.Manager
	users    *userDirectory
	upstream *upstream.Credentials // nil: requests carry a header
	reloads  *reloader
	gc       *gcTuner

	metrics *envoy.Metrics
	records *envoy.Recorder
	cut     *prometheus.CounterVec // connections closed to make room for others

	listenerFailures *prometheus.CounterVec // by listener
	certificateEnd   *prometheus.GaugeVec   // by listener

	differences prometheus.Counter // see compareTokens

	jobs      context.Context // ends the background jobs
	endJobs   context.CancelFunc
	addresses map[string]net.Addr // of the listeners, by name
	ready     atomic.Bool         // Check can be answered, and no shutdown has begun
	failed    chan error          // see Failed
	steps     []step              // what Stop does, last added first
}

// New reads the configuration file and opens the store. An error of the
// configuration is config.ErrInvalid.
func New(ctx context.Context, file string, o Options) (_ *Server, err error) {
	loaded := readContent(file)
	c, err := loaded.parse()
	if err != nil {
		return nil, err
	}
	s := newServer(file, c, o)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	s.gc = newGCTuner(s.jobs, s.log)
	s.reloads = newReloader(s, loaded.fingerprint())
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), s.cut, s.listenerFailures, s.certificateEnd, s.differences)
	if s.config.Listen.Metrics.Address.Network == "tcp" {
		// Kubernetes asks while the store is opened, which may take long. A unix socket may still be that of a running server.
		if err := s.open(s.probeListener()); err != nil {
			return nil, err
		}
	}
	if err := s.openStore(ctx, o.AcceptLoss); err != nil {
		return nil, err
	}
	s.openRecords()
	if err := s.openDirectory(); err != nil {
		return nil, err
	}
	s.manager = &manage.Manager{
		Tokens: s.tokens, Usage: s.usage, Directory: s,
		Settings: func() manage.Settings { return *s.settings.Load() },
		Now:      time.Now, Random: rand.Reader, UnknownOwner: s.unknownOwner,
	}
	if err := s.openUpstream(ctx, o.AcceptLoss); err != nil {
		return nil, err
	}
	s.manager.Upstream = s.upstream
	s.registry.MustRegister(s.gauges())
	s.apply(c)
	return s, nil
}

// newServer returns a server that can only log and stop.
func newServer(file string, c config.Config, o Options) *Server {
	sink := newLogSink(o.Log, logBuffer)
	level := zap.NewAtomicLevelAt(logLevel(c))
	s := &Server{
		file:      file,
		config:    c,
		version:   o.Version,
		level:     level,
		log:       zap.New(newLogCore(&sink.own, level)),
		registry:  prometheus.NewRegistry(),
		sink:      sink,
		addresses: make(map[string]net.Addr),
		failed:    make(chan error, 4),
		cut: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokengate_connections_cut_total",
			Help: "Connections that were closed to make room for new ones, by listener.",
		}, []string{"listener"}),
		listenerFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokengate_listener_failures_total",
			Help: "Failures of listeners, each of which was opened again or ended the process, by listener.",
		}, []string{"listener"}),
		certificateEnd: newCertificateEnd(),
		differences: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokengate_store_index_differences_total",
			Help: "Tokens that a comparison found to differ between the store and the memory, and corrected.",
		}),
	}
	s.jobs, s.endJobs = context.WithCancel(context.Background())
	s.atStop("write the last log lines", sink.Close)
	return s
}

// Start opens the other listeners and starts the background jobs. The socket that Envoy
// connects to appears last, when Check can be answered. After an error, call Stop.
func (s *Server) Start() error {
	listeners, err := s.listeners()
	if err != nil {
		return err
	}
	s.followDirectory(s.jobs)
	if s.Addr("metrics") == nil {
		listeners = append([]listener{s.probeListener()}, listeners...)
	}
	for _, l := range listeners {
		if err := s.open(l); err != nil {
			return err
		}
	}
	s.gc.fit()
	s.ready.Store(true)
	s.log.Info("tokengate is ready", zap.String("version", s.version), zap.Stringer("grpc", s.config.Listen.GRPC.Address))
	go every(s.jobs, s.usageEvery, s.flushUsage)
	go every(s.jobs, recordEvery, s.flushRecords)
	go every(s.jobs, watchEvery, func(context.Context) {
		s.reloads.check()
		s.gc.fit()
	})
	go s.keepPruned(s.jobs)
	go s.tokens.KeepCompared(s.jobs, s.reportComparison)
	s.followUpstream()
	return nil
}

// Failed receives the error of a listener that failed too often to be opened again.
func (s *Server) Failed() <-chan error { return s.failed }

// Addr returns the address of a listener that Start has opened: grpc, http, admin or
// metrics. It is nil for others.
func (s *Server) Addr(listener string) net.Addr { return s.addresses[listener] }

// Reload puts the configuration file into force, or logs why it is refused, and
// refreshes the directory either way.
func (s *Server) Reload() {
	if !s.reloads.reloadNow() {
		s.refreshDirectory()
	}
}

// newLogCore returns a core that writes JSON lines.
func newLogCore(to zapcore.WriteSyncer, level zapcore.LevelEnabler) zapcore.Core {
	encoder := zap.NewProductionEncoderConfig()
	encoder.TimeKey, encoder.EncodeTime = "time", encodeLogTime
	return zapcore.NewCore(zapcore.NewJSONEncoder(encoder), to, level)
}

// logLevel returns the level of a checked configuration.
func logLevel(c config.Config) zapcore.Level {
	level, err := zapcore.ParseLevel(c.Log.Level)
	if err != nil {
		return zapcore.InfoLevel
	}
	return level
}

// apply sets what a reload may change.
func (s *Server) apply(c config.Config) {
	s.policy.Store(policy.New(c))
	settings := manage.NewSettings(c)
	s.settings.Store(&settings)
	s.manager.UpdateOwnerStatus(s.users.directory.Snapshot)
	s.level.SetLevel(logLevel(c))
}

// view is the input of a decision made now.
func (s *Server) view() authz.View {
	return authz.View{Policy: s.policy.Load(), Index: s.tokens.Index(), Now: time.Now()}
}

func (s *Server) openStore(ctx context.Context, acceptLoss bool) error {
	log := s.log.Named(s.config.Store.Kind)
	db, err := s.config.Store.Settings.Open(ctx, store.OpenOptions{
		AcceptLoss: acceptLoss,
		Log:        func(level slog.Level, message string) { log.Log(zapLevel(level), message) },
	})
	if err != nil {
		return err
	}
	s.atStop("close the store", func(context.Context) error { return db.Close() })
	// The usage is read in the background until the server stops.
	loading, cancel := context.WithCancel(s.jobs)
	defer context.AfterFunc(ctx, cancel)()
	tokens, err := cached.New(loading, db.Store)
	if err != nil {
		return fmt.Errorf("load the tokens: %w", err)
	}
	if db.New {
		s.log.Warn("a new store was made: there was none", zap.String("kind", s.config.Store.Kind), zap.String("dir", db.Dir))
	}
	loaded := 0
	for _, n := range tokens.Index().Counts(time.Now()).States {
		loaded += n
	}
	s.log.Info("the tokens are loaded", zap.Int("tokens", loaded))
	s.dataDir, s.tokens, s.usage = db.Dir, tokens, cached.NewUsageRecorder(tokens)
	s.usageEvery = cmp.Or(db.UsageEvery, flushEvery)
	s.health.store, s.roles = tokens, newRoles(tokens, s.registry)
	s.atStop("write the last usage", s.usage.Flush)
	return nil
}

// reportComparison logs and counts the tokens that differed between the store and the memory.
func (s *Server) reportComparison(differing []string, err error) {
	if err != nil {
		s.log.Warn("the tokens in memory were not compared with the store; it is tried again", zap.Error(err))
	}
	if len(differing) > 0 {
		const most = 20
		s.log.Error("tokens in memory differed from the store and were corrected; please report this",
			zap.Int("tokens", len(differing)), zap.Strings("some", differing[:min(len(differing), most)]))
		s.differences.Add(float64(len(differing)))
	}
}

// zapLevel maps a level of the store's log; its info lines are debug lines here.
func zapLevel(level slog.Level) zapcore.Level {
	switch {
	case level >= slog.LevelError:
		return zapcore.ErrorLevel
	case level >= slog.LevelWarn:
		return zapcore.WarnLevel
	}
	return zapcore.DebugLevel
}
