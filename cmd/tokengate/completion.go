package main

import (
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// completions write the completion script of each shell.
var completions = map[string]func(root *cobra.Command, out io.Writer) error{
	"bash": func(root *cobra.Command, out io.Writer) error { return root.GenBashCompletionV2(out, true) },
	"zsh":  (*cobra.Command).GenZshCompletion,
	"fish": func(root *cobra.Command, out io.Writer) error { return root.GenFishCompletion(out, true) },
}

func newCompletionCommand() *cobra.Command {
	shells := slices.Sorted(maps.Keys(completions))
	return &cobra.Command{
		Use:   "completion " + strings.Join(shells, "|"),
		Short: "Print a script by which a shell completes commands and flags",
		Long: "Print a script by which a shell completes commands, flags and their fixed words.\n\n" +
			"For the running shell:\n" +
			"  bash:  source <(tokengate completion bash)   # needs the package bash-completion\n" +
			"  zsh:   source <(tokengate completion zsh)    # after autoload -U compinit; compinit\n" +
			"  fish:  tokengate completion fish | source\n\n" +
			"For all future shells, as root:\n" +
			"  bash:  tokengate completion bash > /etc/bash_completion.d/tokengate\n" +
			"  zsh:   tokengate completion zsh > /usr/local/share/zsh/site-functions/_tokengate\n" +
			"  fish:  tokengate completion fish > /etc/fish/completions/tokengate.fish",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			return completions[args[0]](cmd.Root(), cmd.OutOrStdout())
		},
	}
}
