package main

import (
	"errors"

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
	cmd.AddCommand(newBootstrapCommand())
	return cmd
}

func newBootstrapCommand() *cobra.Command {
	var file string
	var options envoy.BootstrapOptions
	cmd := &cobra.Command{
		Use:   "bootstrap --config FILE",
		Short: "Print an Envoy configuration that fits a tokengate configuration",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{errors.New("envoy bootstrap needs --config FILE")}
			}
			settings, err := config.Load(file)
			if err != nil {
				return err
			}
			return envoy.Bootstrap(cmd.OutOrStdout(), settings, options)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&file, "config", "", "tokengate's configuration `FILE`")
	flags.StringVar(&options.Listen, "listen", envoy.DefaultListen, "where Envoy listens, `ADDRESS:PORT`")
	flags.StringVar(&options.AdminSocket, "envoy-admin", envoy.DefaultAdminSocket, "`PATH` of Envoy's own administration socket")
	flags.StringVar(&options.Host, "tokengate-host", "",
		"`HOST` at which Envoy reaches tokengate's listeners with TLS (default: that of their addresses)")
	flags.StringVar(&options.Secrets, "secrets", envoy.DefaultSecrets,
		"`DIRECTORY` in which Envoy finds tokengate-ca.yaml and tokengate-client.yaml, for listeners with TLS")
	return cmd
}
