package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/cmd/tokengate/app"
)

func newServeCommand() *cobra.Command {
	var file string
	var acceptLoss bool
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Answer Envoy, until SIGINT or SIGTERM",
		Long: "Answer Envoy, until SIGINT or SIGTERM. A changed configuration file, or SIGHUP,\n" +
			"reloads it without losing a request; a bad one is refused and the old one stays.\n" +
			"SIGHUP also refreshes the user directory.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{errors.New("serve needs --config FILE")}
			}
			// Data and sockets are private; the server opens those that Envoy shares.
			syscall.Umask(0o077)
			// A closed log must not end the server.
			signal.Ignore(syscall.SIGPIPE)
			return serve(cmd.Context(), file, acceptLoss, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `FILE`")
	cmd.Flags().BoolVar(&acceptLoss, "accept-loss", false,
		"start with what is left of a damaged or incomplete store; revoked tokens may be active again.\nAlso disconnects the users whose sealing key is lost (upstream.identity.pat)")
	return cmd
}

// serve runs the server until ctx ends, and then stops it in order.
func serve(ctx context.Context, file string, acceptLoss bool, log io.Writer) (err error) {
	s, err := app.New(ctx, file, app.Options{AcceptLoss: acceptLoss, Log: log, Version: version})
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // it was told to stop while it waited for the store
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := s.Start(); err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.Failed():
			return err
		case <-hup:
			s.Reload()
		}
	}
}
