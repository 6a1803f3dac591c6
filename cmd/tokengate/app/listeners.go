package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/envoy"
)

// serveCheck answers Envoy. Its shutdown first reports NOT_SERVING, then answers
// running requests.
func (s *Server) serveCheck(address config.Address) error {
	answers := &envoy.Server{
		Policy:        &s.policy,
		Index:         s.tokens.Index(),
		Usage:         s.usage,
		ClientAddress: s.config.ClientAddress,
		Upstream:      s.config.Upstream,
		Log:           s.log,
		RequestLogs: envoy.RequestLogs{
			Allowed:         newLogCore(&s.sink.allowed, s.level),
			Denied:          newLogCore(&s.sink.denied, s.level),
			Unauthenticated: newLogCore(&s.sink.unauthenticated, s.level),
		},
		Metrics: s.metrics,
		Records: s.records,
		Now:     time.Now,
	}
	check, health, err := answers.GRPC()
	if err != nil {
		return err
	}
	s.atStop("log the last suppressed refusals", repeat(logSuppressedEvery, answers.LogSuppressed))
	health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	l, err := listen(address, groupSocket)
	if err != nil {
		return err
	}
	s.addresses["grpc"] = addressOf(l, address)
	l = s.bound("grpc", l, grpcConnections)
	s.ready.Store(true)
	go func() {
		if err := check.Serve(l); err != nil {
			s.failed <- fmt.Errorf("serve Check: %w", err)
		}
	}()
	s.atStop("answer the last Check", func(ctx context.Context) error {
		s.ready.Store(false)
		health.Shutdown()
		cut := context.AfterFunc(ctx, check.Stop)
		check.GracefulStop() // returns once Stop has
		if !cut() {
			return errors.New("some requests were cut off")
		}
		return nil
	})
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

// serveHTTP serves an HTTP listener.
func (s *Server) serveHTTP(name string, address config.Address, mode fs.FileMode, handler http.Handler) error {
	l, err := listen(address, mode)
	if err != nil {
		return err
	}
	s.addresses[name] = addressOf(l, address)
	connections := otherConnections
	if name == "http" {
		connections = httpConnections
	}
	l = s.bound(name, l, connections)
	server := &http.Server{
		Handler: handler,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return web.ConnContext(ctx, c.(*boundConn).Conn)
		},
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          zap.NewStdLog(s.log.Named(name)),
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
