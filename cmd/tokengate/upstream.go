package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/store"
)

func newUpstreamCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "upstream",
		Short: "Show, connect, check and disconnect users with upstream.identity.pat",
		Long: "With upstream.identity.pat, the server keeps a personal access token of each connected\n" +
			"user, sealed, and forwards requests of the user's tokens with it. No command shows one.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newUpstreamListCommand(), newUpstreamSetCommand(), newUpstreamCheckCommand(), newDisconnectCommand(), newPurgeCommand())
	return cmd
}

func newUpstreamListCommand() *cobra.Command {
	return newReport(&cobra.Command{
		Use:   "list",
		Short: "List the users who are connected",
		Long: "List the users who are connected. The tokens of a user whose state is broken are\n" +
			"refused: Jira does not accept the user's personal access token, or it cannot be read.\n" +
			"Those that are minting or deleting are not in use: Jira is asked for them, or to delete them.",
	}, "upstream", []string{"user", "userKey", "state", "name", "created", "expires", "renewAt", "checked", "setBy"},
		func(answer web.UpstreamConnections) (rows [][]string) {
			for _, c := range answer.Connections {
				rows = append(rows, []string{
					c.User, c.UserKey, c.State, c.Name,
					instant(c.CreatedAt, ""), instant(c.ExpiresAt, ""), instant(c.RenewAt, ""), instant(c.CheckedAt, ""), c.SetBy,
				})
			}
			return rows
		})
}

func newUpstreamSetCommand() *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:   "set --user NAME < FILE",
		Short: "Connect a user with a personal access token from standard input",
		Long: "Connect a user with a personal access token, which replaces the previous one. It is read\n" +
			"from standard input, so that no list of processes shows it, and not from a terminal.\n" +
			"Jira must confirm that it belongs to the user.",
		Example: "  tokengate upstream set --user robot < pat.txt",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if user == "" {
				return usagef("upstream set needs --user")
			}
			if isTerminal(cmd.InOrStdin()) {
				return usagef("upstream set reads the personal access token from a file or a pipe, because a terminal would show it")
			}
			pat, err := readSecret(cmd.InOrStdin(), "upstream set", "the personal access token")
			if err != nil {
				return err
			}
			answer, err := ask[web.UpstreamUser](cmd, http.MethodPut, "upstream", web.SetUpstreamRequest{User: user, Token: strings.TrimSpace(pat)})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "Connected %s.%s\n", cell(answer.User), endOf(answer))
			return err
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "user `NAME` to whom the personal access token must belong")
	addSocketFlag(cmd)
	return cmd
}

// checkedUser is the result of a check.
type checkedUser struct {
	User  string `json:"user"`
	State string `json:"state"` // as in web.UpstreamConnection; empty: unknown
	Error string `json:"error,omitempty"`
}

// endOf says when a personal access token ends.
func endOf(set web.UpstreamUser) string {
	if set.ExpiresAt == nil {
		return " The personal access token never ends, or its end is not known because the user has several in Jira."
	}
	return " The personal access token ends at " + instant(set.ExpiresAt, "") + ", and is not renewed."
}

func newUpstreamCheckCommand() *cobra.Command {
	var user, format string
	var all bool
	cmd := &cobra.Command{
		Use:   "check --user NAME | check --all",
		Short: "Ask Jira whether it still accepts personal access tokens",
		Long: "Ask Jira whether it still accepts the personal access token of a user, or of all who are\n" +
			"connected. The server does it regularly by itself (upstream.identity.pat.probe). The exit\n" +
			"code is 1 unless Jira accepts all of them.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all == (user != "") {
				return usagef("upstream check needs --user or --all")
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			users := []web.UpstreamConnection{{User: user}}
			if all {
				var answer web.UpstreamConnections
				if err := c.call(cmd.Context(), http.MethodGet, "upstream", nil, nil, &answer); err != nil {
					return err
				}
				users = slices.DeleteFunc(answer.Connections, func(c web.UpstreamConnection) bool {
					return c.State != store.UpstreamActive.String() && c.State != store.UpstreamBroken.String()
				})
			}
			results, err := c.checkUsers(cmd.Context(), users)
			if err != nil {
				return err
			}
			rows := table{{"USER", "STATE", "ERROR"}}
			broken, unknown := 0, 0
			for _, r := range results {
				rows = append(rows, []string{cell(r.User), cell(r.State), cell(r.Error)})
				switch r.State {
				case store.UpstreamActive.String():
				case "":
					unknown++
				default:
					broken++
				}
			}
			if err := printAnswer(cmd, format, results, rows); err != nil {
				return err
			}
			var faults []string
			if broken > 0 {
				faults = append(faults, fmt.Sprintf("broken: %d of %d users; they have to connect again on the page, and the users of programs with upstream set", broken, len(users)))
			}
			if unknown > 0 {
				faults = append(faults, fmt.Sprintf("without an answer: %d of %d users; check them again later", unknown, len(users)))
			}
			if faults != nil {
				return errors.New(strings.Join(faults, ". "))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "user `NAME`, as upstream list shows it")
	cmd.Flags().BoolVar(&all, "all", false, "every connected user")
	outputFlag(cmd, &format, "json")
	addSocketFlag(cmd)
	return cmd
}

// checkUsers checks users one by one, by key if it is known, and continues after a refusal unless
// there is only one.
func (c *client) checkUsers(ctx context.Context, users []web.UpstreamConnection) (results []checkedUser, err error) {
	results = []checkedUser{}
	for _, u := range users {
		who := url.Values{"user": {u.User}}
		if u.UserKey != "" {
			who = url.Values{"userKey": {u.UserKey}}
		}
		result, answer := checkedUser{User: cmp.Or(u.User, u.UserKey)}, web.UpstreamState{}
		err := c.call(ctx, http.MethodPost, "upstream/check", who, nil, &answer)
		if _, refused := errors.AsType[refusedError](err); err != nil && !(refused && len(users) > 1) {
			return nil, err
		} else if err != nil {
			result.Error = err.Error()
		}
		result.State = answer.State
		results = append(results, result)
	}
	return results, nil
}

func newDisconnectCommand() *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:   "disconnect --user NAME",
		Short: "Remove a user's personal access token from the server",
		Long: "Remove a user's personal access token from the server, without a confirmation. The user's\n" +
			"tokens are refused until the user connects again. If tokengate created it, it is deleted in\n" +
			"Jira too, now or as soon as Jira answers. One that somebody gave stays: revoke it there.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if user == "" {
				return usagef("upstream disconnect needs --user")
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			if err := c.call(cmd.Context(), http.MethodDelete, "upstream", url.Values{"user": {user}}, nil, nil); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "Disconnected %s.\n", cell(user))
			return err
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "user `NAME`, as upstream list shows it")
	addSocketFlag(cmd)
	return cmd
}

func newPurgeCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "purge --yes",
		Short: "Disconnect all users, and delete in Jira what tokengate created there",
		Long: "Disconnect all users, such as before you remove tokengate or return to\n" +
			"upstream.identity.header. All tokens are refused until their users connect again. The server\n" +
			"then deletes in Jira the personal access tokens that it created; keep it running until upstream\n" +
			"list is empty. Those that somebody gave stay valid in Jira.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes {
				return usagef("upstream purge needs --yes, because the tokens of all users are refused afterwards")
			}
			done, err := ask[web.Purged](cmd, http.MethodPost, "upstream/purge", nil)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "Disconnected: %d. Keep the server running until upstream list is empty.\n", done.Disconnected)
			return err
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "really do it")
	addSocketFlag(cmd)
	return cmd
}

func newSealCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Change the key that seals personal access tokens",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSealRotateCommand())
	return cmd
}

func newSealRotateCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Seal all personal access tokens with the first sealing key",
		Long: "Seal all personal access tokens with the first key of upstream.identity.pat.sealKeys.\n" +
			"Before, add the file of a new key there as the first, and restart the server. Afterwards,\n" +
			"remove the other files there. Only backups from before need their keys.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			done, err := ask[web.Resealed](cmd, http.MethodPost, "seal/rotate", nil)
			if err != nil {
				return err
			}
			status, err := ask[web.Status](cmd, http.MethodGet, "status", nil)
			if err != nil {
				return err
			}
			if status.Refused != "" {
				if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "The server does not use the present configuration file: %s\n", printable(status.Refused)); err != nil {
					return err
				}
			}
			if format == "json" {
				return printJSON(cmd.OutOrStdout(), done)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), resealed(done))
			return err
		},
	}
	outputFlag(cmd, &format, "json")
	addSocketFlag(cmd)
	return cmd
}

// resealed says what seal rotate has done, and what to do next.
func resealed(done web.Resealed) string {
	const list = "upstream.identity.pat.sealKeys"
	key := fmt.Sprintf("the key in %s (%s)", printable(done.File), printable(done.Key))
	if done.Sealed == 0 {
		return fmt.Sprintf("Nothing to do: all are sealed with %s already. To change the key, name the file of a new one first in %s and restart the server.", key, list)
	}
	return fmt.Sprintf("Sealed again: %d. All are sealed with %s now. You can remove %s from %s.", done.Sealed, key, printable(strings.Join(done.Others, " and ")), list)
}
