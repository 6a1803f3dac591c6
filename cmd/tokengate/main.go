// Command tokengate is API tokens for Jira Data Center, enforced by Envoy.
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
	exitFailed = 1 // refused, or it did not work
	exitUsage  = 2 // the command was written wrongly
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
		// JSON would put U+FFFD in the place of such bytes, and so name something else.
		complain(stderr, errors.New("an argument is not UTF-8; look at the terminal's locale"))
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
	// cobra has no error of its own for a command it does not know.
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command ") {
		return exitUsage
	}
	return exitFailed
}

// complain prints why a command failed. A token in the wrong place must not
// come back into the log of a build, and a standard error that nobody reads must
// not keep the process: it gets a second.
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
		Short:         "API tokens for Jira Data Center, enforced at the door by Envoy",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newServeCommand(), newTokenCommand(), newExplainCommand(),
		newAuditCommand(), newPasswordsCommand(), newTotalsCommand(), newSettingsCommand(), newWhoamiCommand(),
		newConfigCommand(), newEnvoyCommand(), newCompletionCommand(), newVersionCommand())
	requireExactArguments(root)
	return root
}

// requireExactArguments makes a wrong number of arguments a usage error in
// every command.
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
