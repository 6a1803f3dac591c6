package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/envoy"
)

// listener is one of the server's listeners, with the server behind it.
type listener struct {
	name        string // in the log, and for Addr; the key below listen
	config      config.Listener
	socket      fs.FileMode // of a unix socket
	connections int         // open at a time
	protocol    string      // on TLS (RFC 7301)
	server      server
}

// server serves a listener until it is shut down or closed. It is an http.Server or a
// checkServer.
type server interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Close() error
}

// probeListener returns the listener for Kubernetes and Prometheus.
func (s *Server) probeListener() listener {
	return listener{"metrics", s.config.Listen.Metrics, GroupSocket, otherConnections, "http/1.1", s.httpServer("metrics", s.probes())}
}

// listeners returns the other listeners in the order in which they open. Envoy's socket
// appears last, when Check can be answered.
func (s *Server) listeners() ([]listener, error) {
	check, err := s.newCheckServer()
	if err != nil {
		return nil, err
	}
	public := web.New(web.Options{
		Manager: s.manager, View: s.view, Identify: s.identify, Usage: s.usage,
		PublicURL: s.config.PublicURL, ContextPath: s.config.Upstream.ContextPath,
		TrustedHops: s.config.ClientAddress.TrustedHops, Log: s.log, Now: time.Now,
	})
	started := time.Now().UnixMilli()
	admin := web.Admin(s.manager, s.view, func() web.Status { return s.status(started, check.envoy.Configuration()) }, s.log)
	c := s.config.Listen
	management := s.httpServer("http", public)
	all := []listener{
		{"admin", config.Listener{Address: c.Admin}, OwnerSocket, otherConnections, "http/1.1", s.httpServer("admin", admin)},
		{"http", c.HTTP, GroupSocket, httpConnections, "http/1.1", management},
	}
	if c.Replicas != (config.Replicas{}) {
		grpc, http := c.Replicas.Listeners()
		all = append(all,
			listener{"replicas.http", http, 0, replicaEnvoys * httpConnections, "http/1.1", management},
			listener{"replicas.grpc", grpc, 0, replicaEnvoys * grpcConnections, "h2", check})
	}
	return append(all, listener{"grpc", c.GRPC, GroupSocket, grpcConnections, "h2", check}), nil
}

// open opens a listener and serves it until the server stops.
func (s *Server) open(l listener) error {
	var secure *tls.Config
	var certificates *certificates
	if l.config.TLS != (config.TLS{}) {
		log := s.log.With(zap.String("listener", l.name))
		var err error
		if certificates, err = newCertificates(l.config.TLS, l.protocol, log, s.certificateEnd.WithLabelValues(l.name)); err != nil {
			return fmt.Errorf("listen.%s.tls: %w", l.name, err)
		}
		secure = certificates.config()
	}
	inner, err := s.reopening(l)
	if err != nil {
		return err
	}
	bound := s.bound(l.name, inner, l.connections, secure)
	if certificates != nil {
		certificates.replaced = bound.closeAll
		s.reloads.watch(certificates)
	}
	go func() {
		err := l.server.Serve(bound)
		if err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serve listen.%s: %w", l.name, err)
		}
	}()
	s.atStop("end the "+l.name+" requests", func(ctx context.Context) error {
		if err := l.server.Shutdown(ctx); err != nil {
			return errors.Join(err, l.server.Close())
		}
		return nil
	})
	return nil
}

// httpServer returns the server of an HTTP listener.
func (s *Server) httpServer(name string, handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if plain, ok := c.(*boundConn); ok {
				c = plain.Conn
			}
			return web.ConnContext(ctx, c)
		},
		ReadHeaderTimeout: 5 * time.Second, // includes the TLS handshake
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          zap.NewStdLog(s.log.Named(name)),
	}
}

// checkServer answers Envoy.
type checkServer struct {
	*grpc.Server
	envoy  *envoy.Server
	health *health.Server
	ready  *atomic.Bool
}

// newCheckServer returns the server of the listener grpc.
func (s *Server) newCheckServer() (*checkServer, error) {
	fingerprint, err := envoy.Fingerprint(s.config)
	if err != nil {
		return nil, err
	}
	public, err := url.Parse(s.config.PublicURL)
	if err != nil {
		return nil, errors.New("publicURL is not a URL")
	}
	check := &envoy.Server{
		Policy:        &s.policy,
		Index:         s.tokens.Index(),
		Usage:         s.usage,
		ClientAddress: s.config.ClientAddress,
		Upstream:      s.config.Upstream,
		HTTPS:         public.Scheme == "https",
		Log:           s.log,
		RequestLogs: envoy.RequestLogs{
			Allowed:         newLogCore(&s.sink.allowed, s.level),
			Denied:          newLogCore(&s.sink.denied, s.level),
			Unauthenticated: newLogCore(&s.sink.unauthenticated, s.level),
		},
		Metrics:     s.metrics,
		Fingerprint: fingerprint,
		Records:     s.records,
		Now:         time.Now,
	}
	if s.upstream != nil {
		check.Anonymous = &envoy.AnonymousAnswers{Report: s.suspect, Until: s.jobs}
	}
	server, state, err := check.GRPC()
	if err != nil {
		return nil, err
	}
	state.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	s.atStop("log the last suppressed refusals", repeat(logSuppressedEvery, check.LogSuppressed))
	return &checkServer{server, check, state, &s.ready}, nil
}

// Shutdown reports NOT_SERVING, and then answers running requests until ctx ends.
func (c *checkServer) Shutdown(ctx context.Context) error {
	c.ready.Store(false)
	c.health.Shutdown()
	cut := context.AfterFunc(ctx, c.Stop)
	c.GracefulStop() // returns once Stop has
	if !cut() {
		return errors.New("some requests were cut off")
	}
	return nil
}

// Close ends running requests.
func (c *checkServer) Close() error {
	c.Stop()
	return nil
}

// logSuppressedEvery is the interval of the log lines that count suppressed
// refusals.
const logSuppressedEvery = 10 * time.Second

// repeat calls do at each interval until the returned step runs, which calls it a last
// time.
func repeat(every time.Duration, do func()) func(context.Context) error {
	stop, stopped := make(chan struct{}), make(chan struct{})
	ticker := time.NewTicker(every)
	go func() {
		defer close(stopped)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				do()
			case <-stop:
				return
			}
		}
	}()
	return func(context.Context) error {
		close(stop)
		<-stopped
		do()
		return nil
	}
}

// every calls do at each interval until ctx ends.
func every(ctx context.Context, interval time.Duration, do func(context.Context)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do(ctx)
		}
	}
}
