package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web"
	"github.com/tokengate/tokengate/authz/token"
)

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Create, list, show, rotate and revoke tokens",
		Long: "Create, list, show, rotate and revoke tokens, in the running server over its\n" +
			"admin socket. Whoever may open the socket is an administrator.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	addSocketFlag(cmd)
	cmd.AddCommand(newCreateCommand(), newListCommand(), newShowCommand(), newRotateCommand(), newRevokeCommand())
	return cmd
}

func newCreateCommand() *cobra.Command {
	var asked web.CreateRequest
	var expires, format string
	cmd := &cobra.Command{
		Use:   "create --user NAME --name LABEL",
		Short: "Create a token and print its value",
		Long: "Create a token. Its value alone goes to standard output, all else to standard\n" +
			"error. The value is shown this once: only a salted hash of it is kept.",
		Example: "  tokengate token create --user fred --name 'build server' --expires 90d --ip 10.1.0.0/16 > token.txt",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asked.User == "" || asked.Label == "" {
				return usagef("token create needs --user and --name")
			}
			for _, network := range asked.Networks {
				if _, err := config.ParsePrefix(network); err != nil {
					return usagef("--ip: %w", err)
				}
			}
			var err error
			if asked.Expiry, err = expiryFlag(expires); err != nil {
				return err
			}
			return issue(cmd, format, "", asked, func(t web.Token) string {
				return fmt.Sprintf("Created token %s for %s; it %s.", cell(t.ID), cell(t.User), lifetime(t))
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&asked.User, "user", "", "user `NAME` that the token acts as, as Jira spells it")
	flags.StringVar(&asked.Label, "name", "", "`LABEL` of the token, unlike those of the user's other tokens")
	flags.StringVar(&asked.Purpose, "purpose", "", "free `TEXT`")
	flags.BoolVar(&asked.ReadOnly, "read-only", false, "make it good for reading requests only")
	flags.StringArrayVar(&asked.Networks, "ip", nil, "`NETWORK` or address it is good from, such as 10.1.0.0/16; may be repeated (default any)")
	flags.StringVar(&expires, "expires", "", "`LIFETIME` such as 90d, 1d12h or unlimited (default 365d)")
	addOutputFlag(cmd, &format)
	return cmd
}

func newRotateCommand() *cobra.Command {
	var asked web.RotateRequest
	var expires, format string
	cmd := &cobra.Command{
		Use:   "rotate ID",
		Short: "Give a token a new secret and print its value",
		Long: "Give a token a new secret. Its new value alone goes to standard output, all else\n" +
			"to standard error. The old value ends at once, or after the overlap; one that an\n" +
			"earlier rotation left good ends at once. An expired token needs --expires.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkID(args[0]); err != nil {
				return err
			}
			if asked.Overlap != "" {
				if overlap, err := config.ParseLifetime(asked.Overlap); err != nil {
					return usagef("--overlap: %w", err)
				} else if overlap.Unlimited {
					return usagef("--overlap: an overlap has an end; write a time such as 1h")
				}
			}
			var err error
			if asked.Expiry, err = expiryFlag(expires); err != nil {
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
	flags := cmd.Flags()
	flags.StringVar(&asked.Overlap, "overlap", "", "`TIME` for which the old value stays good, such as 1h, at most 7d (default none)")
	flags.StringVar(&expires, "expires", "", "new `LIFETIME` from now on, such as 90d or unlimited (default as it was)")
	addOutputFlag(cmd, &format)
	return cmd
}

// issue asks for a value and prints it.
func issue(cmd *cobra.Command, format string, path string, asked any, told func(web.Token) string) error {
	asJSON, err := isJSON(format)
	if err != nil {
		return err
	}
	c, err := newClient(cmd)
	if err != nil {
		return err
	}
	var issued web.IssuedToken
	if err := c.call(cmd.Context(), http.MethodPost, path, nil, asked, &issued); err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), issued)
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), issued.PasswordValue); err != nil {
		return fmt.Errorf("print the value of token %s, which is lost now; revoke it: %w", cell(issued.ID), err)
	}
	_, err = fmt.Fprintln(cmd.ErrOrStderr(), told(issued.Token))
	return err
}

func lifetime(t web.Token) string {
	if t.ExpiresAt == nil {
		return "does not expire"
	}
	return "expires at " + instant(t.ExpiresAt, "")
}

func newListCommand() *cobra.Command {
	var user, name, state, format string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tokens",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := isJSON(format)
			if err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			query := url.Values{"limit": {strconv.Itoa(manage.MaxPage)}}
			for parameter, value := range map[string]string{"user": user, "name": name, "state": state} {
				if value != "" {
					query.Set(parameter, value)
				}
			}
			list := printTable
			if asJSON {
				list = printArray
			}
			return list(cmd.OutOrStdout(), func() ([]web.Token, bool, error) {
				var page web.TokenPage
				if err := c.call(cmd.Context(), http.MethodGet, "tokens", query, nil, &page); err != nil {
					return nil, false, err
				}
				if page.Next != nil {
					query.Set("after", *page.Next)
				}
				return page.Values, page.Next != nil, nil
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&user, "user", "", "only tokens of the user `NAME`")
	flags.StringVar(&name, "name", "", "only tokens with this `TEXT` in their names")
	flags.StringVar(&state, "state", "", "only tokens in this `STATE`: pending, active, disabled, expired or revoked")
	addOutputFlag(cmd, &format)
	return cmd
}

// printTable prints the pages that next returns until it says there are no more.
func printTable(out io.Writer, next func() (page []web.Token, more bool, err error)) error {
	t := table{{"ID", "USER", "NAME", "STATE", "EXPIRES", "LAST USED", "USES"}}
	for more := true; more; {
		page, another, err := next()
		if err != nil {
			return err
		}
		for _, k := range page {
			t = append(t, []string{cell(k.ID), cell(k.User), cell(k.Label), cell(k.State), instant(k.ExpiresAt, "never"),
				instant(k.LastAccessed, "never"), strconv.FormatUint(k.UsageCount, 10)})
		}
		if err := t.print(out); err != nil {
			return err
		}
		t, more = nil, another
	}
	return nil
}

// printArray prints the pages as one JSON array, one token on a line.
func printArray(out io.Writer, next func() (page []web.Token, more bool, err error)) error {
	separator := "[\n"
	for more := true; more; {
		page, another, err := next()
		if err != nil {
			return err
		}
		var b strings.Builder
		for _, t := range page {
			line, err := json.Marshal(t)
			if err != nil {
				return fmt.Errorf("print: %w", err)
			}
			b.WriteString(separator)
			b.Write(line)
			separator = ",\n"
		}
		if more = another; !more {
			b.WriteString(map[bool]string{true: "[]\n", false: "\n]\n"}[separator == "[\n"])
		}
		if _, err := io.WriteString(out, b.String()); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

func newShowCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show all that is known of a token",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkID(args[0]); err != nil {
				return err
			}
			asJSON, err := isJSON(format)
			if err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var t web.Token
			if err := c.call(cmd.Context(), http.MethodGet, args[0], nil, nil, &t); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), t)
			}
			return describe(t).print(cmd.OutOrStdout())
		},
	}
	addOutputFlag(cmd, &format)
	return cmd
}

func describe(t web.Token) table {
	networks := strings.Join(t.Networks, " ")
	if networks == "" {
		networks = "any"
	}
	address := ""
	if t.LastAddress != nil {
		address = *t.LastAddress
	}
	created := t.CreatedAt
	return table{
		{"id:", cell(t.ID)},
		{"number:", strconv.FormatUint(t.Number, 10)},
		{"user:", cell(t.User)},
		{"name:", cell(t.Label)},
		{"purpose:", cell(t.Purpose)},
		{"state:", cell(t.State)},
		{"created:", instant(&created, "")},
		{"created by:", cell(t.CreatedBy)},
		{"expires:", instant(t.ExpiresAt, "never")},
		{"revoked:", instant(t.RevokedAt, "-")},
		{"old value good until:", instant(t.PreviousUntil, "-")},
		{"read-only:", strconv.FormatBool(t.ReadOnly)},
		{"networks:", printable(networks)},
		{"uses:", strconv.FormatUint(t.UsageCount, 10)},
		{"writing uses:", strconv.FormatUint(t.WriteCount, 10)},
		{"last used:", instant(t.LastAccessed, "never")},
		{"last used from:", cell(address)},
	}
}

func newRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "End a token for ever",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkID(args[0]); err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			if err := c.call(cmd.Context(), http.MethodDelete, args[0], nil, nil, nil); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "Revoked token %s.\n", cell(args[0]))
			return err
		},
	}
}

// checkID refuses what is no id. A value where an id belongs is not repeated.
func checkID(id string) error {
	switch {
	case token.IsCredential(id), token.Contains(id):
		return usagef("this is a token's value, not its id: the id is the 12 characters behind the first underscore. " +
			"The value may now stand in your shell's history: rotate the token")
	case !token.ValidID(id):
		return usagef("%s is no token's id; an id is 12 letters and digits", strconv.Quote(id))
	}
	return nil
}

// expiryFlag reads --expires.
func expiryFlag(text string) (web.Expiry, error) {
	if text != "" {
		if _, err := config.ParseLifetime(text); err != nil {
			return web.Expiry{}, usagef("--expires: %w", err)
		}
	}
	return web.Expiry{ExpiresIn: text}, nil
}

func addOutputFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "output", "text", "`FORMAT` of the output: text for people, json for machines")
}

func isJSON(format string) (bool, error) {
	if format != "text" && format != "json" {
		return false, usagef("--output is text or json")
	}
	return format == "json", nil
}

func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
