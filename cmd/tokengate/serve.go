package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

const (
	// flushEvery bounds the use of tokens that a crash can lose.
	flushEvery = 5 * time.Second
	// drainTime is how long running requests may take to end at a shutdown,
	// for each listener in turn.
	drainTime = 5 * time.Second
	// closeTime bounds the last writes to the store.
	closeTime = 5 * time.Second
)

func newServeCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Answer Envoy, until SIGINT or SIGTERM",
		Long: "Answer Envoy, until SIGINT or SIGTERM. A changed configuration file, or SIGHUP,\n" +
			"reloads it without losing a request; a bad one is refused and the old one stays.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{errors.New("serve needs --config FILE")}
			}
			// Data and sockets are the server's own; listen opens those that
			// Envoy shares.
			syscall.Umask(0o077)
			return serve(cmd.Context(), file, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `FILE`")
	return cmd
}

// server is the running program: what lives as long as it does.
type server struct {
	file     string
	settings config.Config // as loaded at the start; a reload changes a part of it only
	level    zap.AtomicLevel
	log      *zap.Logger
	sink     *logSink // behind log
	registry *prometheus.Registry

	policy atomic.Pointer[policy.Policy]
	limits atomic.Pointer[config.Tokens]

	db     *badger.Store
	tokens *store.Indexed
	usage  *store.UsageRecorder

	check  *grpc.Server
	health *health.Server
	ready  atomic.Bool // Check can be answered, and a shutdown has not begun

	failed   chan error // a listener that stopped by itself
	cleanups []cleanup  // what Stop does, last added first
}

// cleanup is one named step of a shutdown.
type cleanup struct {
	name string
	do   func(context.Context) error
}

// serve runs the server until ctx ends, and then stops it in order.
func serve(ctx context.Context, file string, logTo io.Writer) (err error) {
	loaded := fingerprintOf(file)
	settings, err := config.Load(file)
	if err != nil {
		return err
	}
	sink := newLogSink(logTo, logBuffer)
	s := newServer(file, settings, sink)
	defer func() {
		err = errors.Join(err, s.stop())
		last, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		err = errors.Join(err, sink.Close(last))
	}()
	if err := s.start(ctx); err != nil {
		return err
	}
	s.log.Info("tokengate is ready", zap.String("version", version), zap.Stringer("grpc", settings.Listen.GRPC))
	reloads := newReloader(s, loaded)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	watch, flush := time.NewTicker(watchEvery), time.NewTicker(flushEvery)
	defer watch.Stop()
	defer flush.Stop()
	for {
		select {
		case <-ctx.Done():
			s.log.Info("shutting down")
			return nil
		case err := <-s.failed:
			return err
		case <-hup:
			reloads.reload()
		case <-watch.C:
			reloads.look()
		case <-flush.C:
			s.flushUsage(ctx)
		}
	}
}

func newServer(file string, settings config.Config, sink *logSink) *server {
	level := zap.NewAtomicLevelAt(logLevel(settings))
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.ISO8601TimeEncoder
	encoder.TimeKey = "time"
	s := &server{
		file:     file,
		settings: settings,
		level:    level,
		log:      zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(encoder), zapcore.AddSync(sink), level)),
		registry: prometheus.NewRegistry(),
		sink:     sink,
		failed:   make(chan error, 4),
	}
	s.apply(settings)
	return s
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
	s.limits.Store(&c.Tokens)
	s.level.SetLevel(logLevel(c))
}

// start brings everything up. The socket that Envoy asks on appears last, when
// Check can be answered.
func (s *server) start(ctx context.Context) error {
	listen := s.settings.Listen
	if err := s.serveHTTP("metrics", listen.Metrics, groupSocket, s.probes()); err != nil {
		return err
	}
	if err := s.openStore(ctx); err != nil {
		return err
	}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), s.gauges())
	manager := &manage.Manager{
		Store: s.tokens, Usage: s.usage, Random: token.Random, Now: time.Now,
		MaxPerUser: func() int { return s.limits.Load().MaxPerUser },
	}
	if err := s.serveHTTP("admin", listen.Admin, ownerSocket, web.Admin(manager, s.view, s.log)); err != nil {
		return err
	}
	if err := s.serveHTTP("http", listen.HTTP, groupSocket, web.Unavailable()); err != nil {
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
		Dir: s.settings.Store.Badger.Dir,
		Log: func(level slog.Level, message string) { log.Log(zapLevel(level), message) },
	})
	if err != nil {
		return err
	}
	s.atStop("close the store", func(context.Context) error { return db.Close() })
	tokens, err := store.NewIndexed(ctx, db)
	if err != nil {
		return fmt.Errorf("load the tokens: %w", err)
	}
	s.db, s.tokens, s.usage = db, tokens, store.NewUsageRecorder(tokens)
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

// serveCheck answers Envoy. Its shutdown says first that it goes, then answers
// what is still asked.
func (s *server) serveCheck(address config.Address) error {
	answers := &envoy.Server{
		Policy:        &s.policy,
		Index:         s.tokens.Index(),
		Usage:         s.usage,
		ClientAddress: s.settings.ClientAddress,
		Identity:      strings.ToLower(s.settings.Upstream.Identity.Header),
		Log:           s.log,
		Metrics:       envoy.NewMetrics(s.registry),
		Now:           time.Now,
	}
	s.check, s.health = answers.GRPC()
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	s.ready.Store(true)
	l, err := listen(address, groupSocket)
	if err != nil {
		return err
	}
	go func() {
		if err := s.check.Serve(l); err != nil {
			s.failed <- fmt.Errorf("serve Check: %w", err)
		}
	}()
	s.atStop("answer the last Check", func(ctx context.Context) error {
		s.ready.Store(false)
		s.health.Shutdown()
		done := make(chan struct{})
		go func() {
			s.check.GracefulStop()
			close(done)
		}()
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			s.check.Stop()
			return errors.New("some requests were cut off")
		}
	})
	return nil
}

// serveHTTP serves one of the HTTP listeners.
func (s *server) serveHTTP(name string, address config.Address, mode fs.FileMode, handler http.Handler) error {
	l, err := listen(address, mode)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ConnContext:       web.ConnContext,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          zap.NewStdLog(s.log.Named(name)),
		BaseContext:       func(net.Listener) context.Context { return context.Background() },
	}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serve %s: %w", name, err)
		}
	}()
	s.atStop("end the "+name+" requests", func(ctx context.Context) error {
		if err := server.Shutdown(ctx); err != nil {
			return errors.Join(err, server.Close())
		}
		return nil
	})
	return nil
}

func (s *server) flushUsage(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	if err := s.usage.Flush(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("cannot write the use of tokens; it is kept in memory and tried again", zap.Error(err))
	}
}

func (s *server) atStop(name string, do func(context.Context) error) {
	s.cleanups = append(s.cleanups, cleanup{name, do})
}

// stop undoes start, last step first, each within its time. It goes on past a
// step that fails.
func (s *server) stop() error {
	var all error
	for ; len(s.cleanups) > 0; s.cleanups = s.cleanups[:len(s.cleanups)-1] {
		step := s.cleanups[len(s.cleanups)-1]
		ctx, cancel := context.WithTimeout(context.Background(), drainTime)
		if err := step.do(ctx); err != nil {
			s.log.Error("shutdown: "+step.name, zap.Error(err))
			all = errors.Join(all, fmt.Errorf("%s: %w", step.name, err))
		}
		cancel()
	}
	s.log.Info("tokengate has stopped")
	return all
}
