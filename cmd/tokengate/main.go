// Command tokengate provides API tokens for Jira Data Center, enforced by Envoy.
//
// tokengate serve answers Envoy; the other commands talk to the running server
// over its admin socket, or work on files.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/token"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // refused or failed
	exitUsage  = 2 // wrong usage
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	if slices.ContainsFunc(args, func(arg string) bool { return !utf8.ValidString(arg) }) {
		// JSON would replace such bytes by U+FFFD, and so change the meaning.
		complain(stderr, errors.New("an argument is not UTF-8; check the terminal's locale"))
		return exitUsage
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	complain(stderr, err)
	var usage usageError
	// cobra has no error type for unknown commands.
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command ") {
		return exitUsage
	}
	return exitFailed
}

// complain prints why a command failed, without the secrets of tokens. It waits at most
// one second for a standard error that is not read.
func complain(stderr io.Writer, err error) {
	done := make(chan struct{})
	go func() {
		fmt.Fprintln(stderr, "tokengate:", token.Redact(err.Error()))
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "tokengate",
		Short:         "API tokens for Jira Data Center, enforced by Envoy",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newServeCommand(), newTokenCommand(), newExplainCommand(), newDoctorCommand(), newUpstreamCommand(), newSealCommand(), newStoreCommand(),
		newAuditCommand(), newPasswordsCommand(), newTotalsCommand(), newSettingsCommand(), newWhoamiCommand(),
		newConfigCommand(), newEnvoyCommand(), newCompletionCommand(), newVersionCommand())
	requireExactArguments(root)
	return root
}

// requireExactArguments makes a wrong number of arguments a usage error in all
// commands.
func requireExactArguments(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		requireExactArguments(sub)
	}
}

// version is set at build time.
var version = "development"

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "tokengate %s (%s, %s/%s, commit %s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, commit())
			return err
		},
	}
}

// commit returns the revision that the program was built from, if Go recorded it.
func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
