package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

// flushEvery is how often the use of tokens is written, and flushOver how long
// the writing of very many takes. Together they bound what a crash can lose.
const (
	flushEvery = 2500 * time.Millisecond
	flushOver  = 2 * time.Second
)

func newServeCommand() *cobra.Command {
	var file string
	var acceptLoss bool
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Answer Envoy, until SIGINT or SIGTERM",
		Long: "Answer Envoy, until SIGINT or SIGTERM. A changed configuration file, or SIGHUP,\n" +
			"reloads it without losing a request; a bad one is refused and the old one stays.\n" +
			"SIGHUP also asks the directory of users at once.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{errors.New("serve needs --config FILE")}
			}
			// Data and sockets are the server's own; listen opens those that
			// Envoy shares.
			syscall.Umask(0o077)
			// A log whose reader has gone must not end the server.
			signal.Ignore(syscall.SIGPIPE)
			return serve(cmd.Context(), file, acceptLoss, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `FILE`")
	cmd.Flags().BoolVar(&acceptLoss, "accept-loss", false,
		"start with what is left of a store that is damaged or incomplete; revoked tokens may be active again")
	return cmd
}

// serve runs the server until ctx ends, and then stops it in order.
func serve(ctx context.Context, file string, acceptLoss bool, logTo io.Writer) (err error) {
	loaded := readContent(file)
	settings, err := loaded.parse()
	if err != nil {
		return err
	}
	s := newServer(file, settings, newLogSink(logTo, logBuffer))
	s.acceptLoss = acceptLoss
	// What runs beside the server ends before the server does.
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		err = errors.Join(err, s.stop())
	}()
	garbage := newCollector(ctx, s.log)
	if err := s.start(ctx); err != nil {
		return err
	}
	s.log.Info("tokengate is ready", zap.String("version", version), zap.Stringer("grpc", settings.Listen.GRPC))
	garbage.fit()
	go every(ctx, flushEvery, s.flushUsage)
	go every(ctx, recordEvery, s.flushRecords)
	go s.keepPruned(ctx)
	reloads := newReloader(s, loaded.fingerprint())
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			s.log.Info("shutting down")
			return nil
		case err := <-s.failed:
			return err
		case <-hup:
			if !reloads.reload(readContent(file)) {
				s.refreshDirectory()
			}
		case <-watch.C:
			reloads.look()
			garbage.fit()
		}
	}
}

// flushUsage writes the use of tokens. A disk that hangs holds up nothing but
// this.
func (s *server) flushUsage(ctx context.Context) {
	if err := s.usage.FlushOver(ctx, flushOver); err != nil && ctx.Err() == nil {
		s.log.Error("cannot write the use of tokens; it is kept in memory and tried again", zap.Error(err))
	}
}
