package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

// server is the running program: what lives as long as it does.
type server struct {
	file     string
	config   config.Config // as loaded at the start; a reload changes a part of it only
	level    zap.AtomicLevel
	log      *zap.Logger
	sink     *logSink // behind log
	registry *prometheus.Registry

	policy   atomic.Pointer[policy.Policy]
	settings atomic.Pointer[manage.Settings]

	acceptLoss bool // of the store
	db         *badger.Store
	tokens     *store.Cached
	usage      *store.UsageRecorder
	health     storeHealth

	manager *manage.Manager
	users   *userDirectory

	metrics *envoy.Metrics
	records *envoy.Recorder
	cut     *prometheus.CounterVec // connections closed to make room for others

	ready  atomic.Bool // Check can be answered, and a shutdown has not begun
	failed chan error  // a listener that stopped by itself
	steps  []step      // what stop does, last added first
}

func newServer(file string, settings config.Config, sink *logSink) *server {
	level := zap.NewAtomicLevelAt(logLevel(settings))
	s := &server{
		file:     file,
		config:   settings,
		level:    level,
		log:      zap.New(newLogCore(&sink.own, level)),
		registry: prometheus.NewRegistry(),
		sink:     sink,
		failed:   make(chan error, 4),
		cut: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokengate_connections_cut_total",
			Help: "Connections that were closed to make room for new ones, by listener.",
		}, []string{"listener"}),
	}
	s.atStop("write the last log lines", sink.Close)
	s.apply(settings)
	return s
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

// apply puts into force what a reload may change.
func (s *server) apply(c config.Config) {
	s.policy.Store(policy.New(c))
	rules := manage.NewSettings(c)
	s.settings.Store(&rules)
	if s.manager != nil {
		s.manager.UpdateOwnerStatus(s.users.directory.Snapshot)
	}
	s.level.SetLevel(logLevel(c))
}

// start brings everything up. The store comes first: where it is in use by
// another server, that one's sockets are left alone. The socket that Envoy asks
// on appears last, when Check can be answered.
func (s *server) start(ctx context.Context) error {
	listen := s.config.Listen
	if err := s.openStore(ctx); err != nil {
		return err
	}
	s.openRecords()
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), s.gauges(), s.cut)
	if err := s.serveHTTP("metrics", listen.Metrics, groupSocket, s.probes()); err != nil {
		return err
	}
	if err := s.openDirectory(); err != nil {
		return err
	}
	s.manager = &manage.Manager{
		Tokens: s.tokens, Usage: s.usage, Directory: s,
		Settings: func() manage.Settings { return *s.settings.Load() },
		Now:      time.Now, Random: rand.Reader,
	}
	s.followDirectory(ctx)
	if err := s.serveHTTP("admin", listen.Admin, ownerSocket, web.Admin(s.manager, s.view, s.log)); err != nil {
		return err
	}
	public := web.New(web.Options{
		Manager: s.manager, View: s.view, Identify: s.identify, Usage: s.usage,
		PublicURL: s.config.PublicURL, ContextPath: s.config.Upstream.ContextPath,
		TrustedHops: s.config.ClientAddress.TrustedHops, Log: s.log, Now: time.Now,
	})
	if err := s.serveHTTP("http", listen.HTTP, groupSocket, public); err != nil {
		return err
	}
	return s.serveCheck(listen.GRPC)
}

// view is what a decision made now consults.
func (s *server) view() authz.View {
	return authz.View{Policy: s.policy.Load(), Index: s.tokens.Index(), Now: time.Now()}
}

func (s *server) openStore(ctx context.Context) error {
	log := s.log.Named("badger")
	db, err := badger.Open(ctx, badger.Options{
		Dir:        s.config.Store.Badger.Dir,
		AcceptLoss: s.acceptLoss,
		Log:        func(level slog.Level, message string) { log.Log(zapLevel(level), message) },
	})
	if err != nil {
		return err
	}
	s.atStop("close the store", func(context.Context) error { return db.Close() })
	tokens, err := store.NewCached(ctx, db)
	if err != nil {
		return fmt.Errorf("load the tokens: %w", err)
	}
	if db.IsNew() {
		s.log.Warn("a new store was made: there was none in this directory", zap.String("dir", s.config.Store.Badger.Dir))
	}
	loaded := 0
	states, _ := tokens.Index().Counts(time.Now())
	for _, n := range states {
		loaded += n
	}
	s.log.Info("the tokens are loaded", zap.Int("tokens", loaded))
	s.db, s.tokens, s.usage = db, tokens, store.NewUsageRecorder(tokens)
	s.health.store = tokens
	s.atStop("write the last usage", s.usage.Flush)
	return nil
}

// zapLevel maps a level of the store's log: its own "info" is detail here.
func zapLevel(level slog.Level) zapcore.Level {
	switch {
	case level >= slog.LevelError:
		return zapcore.ErrorLevel
	case level >= slog.LevelWarn:
		return zapcore.WarnLevel
	}
	return zapcore.DebugLevel
}
