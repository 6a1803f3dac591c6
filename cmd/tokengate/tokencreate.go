package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/store"
)

func newCreateCommand() *cobra.Command {
	var asked web.CreateRequest
	var management bool
	var format string
	cmd := &cobra.Command{
		Use:   "create {--user NAME | --management} --name LABEL",
		Short: "Create a token and print its value",
		Long: "Create a token. Only its value goes to standard output; the rest goes to standard\n" +
			"error. The value is shown once: the server keeps only a salted hash.\n\n" +
			"A management token (tgadm_...) opens the management API as an administrator, and\n" +
			"never Jira. It has no user, and needs an expiry and networks.",
		Example: "  tokengate token create --user fred --name 'build server' --expires 90d --ip 10.1.0.0/16 > token.txt\n" +
			"  tokengate token create --management --name terraform --expires 30d --ip 10.1.2.3 > token.txt",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case !management && (asked.User == "" || asked.Label == ""):
				return usagef("token create needs --user and --name")
			case management && asked.User != "":
				return usagef("a management token has no user: omit --user")
			case management && (asked.Label == "" || asked.Expiry == web.Expiry{} || asked.ExpiresIn == "unlimited" || asked.Networks == nil):
				return usagef("token create --management needs --name, a limited --expires, and --ip")
			case management:
				asked.Type = "management"
			}
			return issue(cmd, format, "", asked, func(t web.Token) string {
				whose := "for " + cell(t.User)
				if management {
					whose = "for management"
				}
				return fmt.Sprintf("Created token %s %s; it %s.", cell(t.ID), whose, lifetime(t))
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&asked.User, "user", "", "user `NAME` that the token acts as, as Jira spells it")
	flags.BoolVar(&management, "management", false, "make it a management token")
	flags.StringVar(&asked.Label, "name", "", "`LABEL` of the token, unique among the user's tokens")
	flags.StringVar(&asked.Purpose, "purpose", "", "free `TEXT`")
	flags.BoolVar(&asked.ReadOnly, "read-only", false, "allow reading requests only")
	textFlag(cmd, "ip", "`NETWORK` or address it is good from, such as 10.1.0.0/16; may be repeated (default any)", nil, addNetwork(&asked.Networks))
	expiryFlag(cmd, "`LIFETIME` such as 90d, 1d12h or unlimited, or time such as 2030-01-31T12:00:00Z (default 365d)", &asked.Expiry)
	textFlag(cmd, "rate", "`RATE` of requests, such as 600/1m, or 600/1m/100 for at most 100 of them at once (default none)", nil, func(text string) (err error) {
		asked.Rate, err = parseRate(text)
		return err
	})
	outputFlag(cmd, &format, "json")
	return cmd
}

func newRotateCommand() *cobra.Command {
	var asked web.RotateRequest
	var format string
	cmd := &cobra.Command{
		Use:   "rotate ID",
		Short: "Give a token a new secret and print its value",
		Long: "Give a token a new secret. Only the new value goes to standard output; the rest goes\n" +
			"to standard error. The old value ends immediately, or after the overlap; the value of\n" +
			"an earlier rotation ends immediately. An expired token needs --expires.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkID(args[0]); err != nil {
				return err
			}
			return issue(cmd, format, args[0]+"/rotate", asked, func(t web.Token) string {
				old := "its old value is no longer good"
				if t.PreviousUntil != nil {
					old = "its old value is good until " + instant(t.PreviousUntil, "")
				}
				return fmt.Sprintf("Rotated token %s of %s; %s, and it %s.", cell(t.ID), cell(t.User), old, lifetime(t))
			})
		},
	}
	textFlag(cmd, "overlap", "`TIME` for which the old value stays good, such as 1h, at most tokens.maxOverlap (default none)", nil, func(text string) error {
		asked.Overlap = text
		return checkPeriod(text)
	})
	expiryFlag(cmd, "new `LIFETIME` from now, such as 90d or unlimited, or a time (default unchanged)", &asked.Expiry)
	outputFlag(cmd, &format, "json")
	return cmd
}

// issue requests a value and prints it, and why the token is suspended if it is.
func issue(cmd *cobra.Command, format, path string, asked any, told func(web.Token) string) error {
	c, err := newClient(cmd)
	if err != nil {
		return err
	}
	var issued web.IssuedToken
	if err := c.call(cmd.Context(), http.MethodPost, path, nil, asked, &issued); err != nil {
		return err
	}
	if format == "json" {
		return printJSON(cmd.OutOrStdout(), issued)
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), issued.PasswordValue); err != nil {
		return fmt.Errorf("print the value of token %s, which is lost now; revoke it: %w", cell(issued.ID), err)
	}
	lines := told(issued.Token)
	if why := c.suspension(cmd.Context(), issued.Token); why != "" {
		lines += "\nIt is suspended: " + printable(why)
	}
	_, err = fmt.Fprintln(cmd.ErrOrStderr(), lines)
	return err
}

// suspension returns why requests with a suspended token are refused, and what to do, or "".
func (c *client) suspension(ctx context.Context, t web.Token) string {
	if t.State != string(manage.StateSuspended) || t.Type != store.Ordinary.String() {
		return ""
	}
	var found web.Explanation
	asked := web.ExplainRequest{TokenID: t.ID, Path: "/", IP: "127.0.0.1"} // the owner is checked before both
	if err := c.call(ctx, http.MethodPost, "explain", nil, asked, &found); err != nil {
		return "the reason is not known: " + err.Error()
	}
	return found.Text
}

func lifetime(t web.Token) string {
	if t.ExpiresAt == nil {
		return "does not expire"
	}
	return "expires at " + instant(t.ExpiresAt, "")
}
