package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
)

func newEnvoyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "envoy",
		Short: "Work with Envoy's configuration",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBootstrapCommand(), newDrainCommand())
	return cmd
}

func newBootstrapCommand() *cobra.Command {
	var file, output, program string
	var options envoy.BootstrapOptions
	cmd := &cobra.Command{
		Use:   "bootstrap --config FILE",
		Short: "Print an Envoy configuration that fits a tokengate configuration",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{errors.New("envoy bootstrap needs --config FILE")}
			}
			if cmd.Flags().Changed("tls-listen") && options.Certificate == "" && options.Key == "" {
				return usagef("--tls-listen needs --tls-certificate and --tls-key")
			}
			settings, err := config.Load(file)
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := envoy.Bootstrap(&text, settings, options); err != nil {
				return err
			}
			secrets, err := envoy.Secrets(settings, options)
			if err != nil {
				return err
			}
			if len(secrets) > 0 && output == "" {
				return usagef("envoy bootstrap needs --output FILE with listen.replicas or --tls-certificate: other files are written beside it")
			}
			if program != "" {
				if err := copyProgram(program); err != nil {
					return err
				}
			}
			for name, content := range secrets {
				if err := writeFile(filepath.Join(filepath.Dir(output), name), 0o644, bytes.NewReader(content)); err != nil {
					return err
				}
			}
			if output != "" {
				return writeFile(output, 0o644, &text)
			}
			_, err = text.WriteTo(cmd.OutOrStdout())
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&file, "config", "", "tokengate's configuration `FILE`")
	flags.StringVar(&output, "output", "", "write to this `FILE`, which every user can read, and replace it at once (default: standard output)")
	flags.StringVar(&program, "program", "",
		"also copy this program to `FILE`, for a preStop hook of Envoy's container")
	flags.StringVar(&options.Listen, "listen", envoy.DefaultListen, "where Envoy listens, `ADDRESS:PORT`")
	flags.StringVar(&options.Certificate, "tls-certificate", "",
		"`FILE` at which Envoy finds its certificate: it speaks TLS, and --listen only redirects to publicURL")
	flags.StringVar(&options.Key, "tls-key", "", "`FILE` at which Envoy finds the certificate's key")
	flags.StringVar(&options.ListenTLS, "tls-listen", envoy.DefaultListenTLS, "where Envoy listens with TLS, `ADDRESS:PORT`")
	flags.StringVar(&options.AdminSocket, "envoy-admin", envoy.DefaultAdminSocket, "`PATH` of Envoy's own administration socket")
	flags.StringVar(&options.Metrics, "envoy-metrics", "", "where Prometheus finds Envoy's metrics, at /stats/prometheus: `ADDRESS:PORT` (default: nowhere)")
	flags.StringVar(&options.Host, "tokengate-host", "",
		"`HOST` at which Envoy reaches tokengate's listeners with TLS (default: that of their addresses)")
	flags.StringVar(&options.Secrets, "secrets", envoy.DefaultSecrets,
		"`DIRECTORY` in which Envoy finds tokengate-ca.yaml and tokengate-client.yaml, for listeners with TLS,\nand the files that are written beside --output")
	return cmd
}

func newDrainCommand() *cobra.Command {
	var socket string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Make Envoy end its connections, before it is stopped",
		Long: "Make Envoy fail its health check and end each connection after its next response, and\n" +
			"wait until none is open, at least 5 seconds, at most until the timeout. Envoy still\n" +
			"accepts new connections. Stop it then: no request fails.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout < envoy.DrainSettle {
				return usagef("--timeout %v: it must be at least %v", timeout, envoy.DrainSettle)
			}
			open, err := envoy.Drain(cmd.Context(), socket, envoy.DrainSettle, timeout)
			if err == nil && open > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "tokengate: %d connections are still open after %v\n", open, timeout)
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&socket, "envoy-admin", envoy.DefaultAdminSocket, "`PATH` of Envoy's own administration socket")
	flags.DurationVar(&timeout, "timeout", 30*time.Second, "the longest `TIME` to wait")
	return cmd
}

// copyProgram copies the running program.
func copyProgram(to string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	from, err := os.Open(self)
	if err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	defer from.Close()
	return writeFile(to, 0o755, from)
}

// writeFile writes a file beside its place and moves it there when it is complete.
func writeFile(path string, mode fs.FileMode, from io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = io.Copy(f, from)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
