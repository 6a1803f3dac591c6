package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
)

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Create, list, show, change, rotate, approve and revoke tokens",
		Long: "Work with tokens, in the running server over its admin socket. Whoever may open\n" +
			"the socket is an administrator.\n\n" +
			"An ID is the token's id, which is the 12 characters behind the first underscore\n" +
			"of its value, or its running number, which token show tells.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	addSocketFlag(cmd)
	cmd.AddCommand(newCreateCommand(), newListCommand(), newShowCommand(), newChangeCommand(), newRotateCommand(), newRevokeCommand(),
		newStateCommand("approve", "Approved", "Let pending tokens come into force"),
		newStateCommand("disable", "Disabled", "Switch tokens off until they are enabled"),
		newStateCommand("enable", "Enabled", "Switch disabled tokens on again"))
	return cmd
}

// newStateCommand makes a command for an endpoint of its name below a token.
func newStateCommand(name, done, short string) *cobra.Command {
	return &cobra.Command{
		Use:               name + " ID...",
		Short:             short,
		Long:              short + ". Each is tried; the exit code is 1 if one was refused.",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, ids []string) error {
			return eachToken(cmd, ids, done, http.MethodPost, "/"+name)
		},
	}
}

func newRevokeCommand() *cobra.Command {
	var user string
	var all bool
	cmd := &cobra.Command{
		Use:   "revoke ID... | revoke --all --user NAME",
		Short: "End tokens for ever",
		Long: "End tokens for ever. Nothing is asked. Each is tried; the exit code is 1 if one\n" +
			"was refused. With --all it is every token of a user, whatever its state.",
		Example:           "  tokengate token revoke 4fVq0c1sXbYk 17\n  tokengate token revoke --all --user fred",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, ids []string) error {
			switch {
			case all != (user != ""), all == (len(ids) > 0):
				return usagef("token revoke needs the ids of tokens, or both --all and --user")
			case all:
				return revokeAll(cmd, user)
			}
			return eachToken(cmd, ids, "Revoked", http.MethodDelete, "")
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every token of the user that --user names")
	cmd.Flags().StringVar(&user, "user", "", "user `NAME`, with --all")
	return cmd
}

// revokeAll revokes a user's tokens. The answer does not tell how many there
// were.
func revokeAll(cmd *cobra.Command, user string) error {
	c, err := newClient(cmd)
	if err != nil {
		return err
	}
	count := func(state string) (int, error) {
		query := url.Values{"user": {user}, "limit": {"1"}}
		if state != "" {
			query.Set("state", state)
		}
		var page struct{ Total int }
		err := c.call(cmd.Context(), http.MethodGet, "tokens", query, nil, &page)
		return page.Total, err
	}
	total, err := count("")
	if err != nil {
		return err
	}
	revoked, err := count(string(manage.StateRevoked))
	if err != nil {
		return err
	}
	if err := c.call(cmd.Context(), http.MethodDelete, "all", url.Values{"user": {user}}, nil, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.ErrOrStderr(), "Revoked all tokens of %s: %d.\n", cell(user), total-revoked)
	return err
}

// eachToken asks for the same with each of the tokens. It goes on after a
// refusal.
func eachToken(cmd *cobra.Command, ids []string, done, method, below string) error {
	for _, id := range ids {
		if err := checkID(id); err != nil {
			return err
		}
	}
	c, err := newClient(cmd)
	if err != nil {
		return err
	}
	failed := 0
	for _, id := range ids {
		err := c.call(cmd.Context(), method, id+below, nil, nil, nil)
		_, refused := errors.AsType[refusedError](err)
		switch {
		case err == nil:
			fmt.Fprintf(cmd.ErrOrStderr(), "%s token %s.\n", done, id)
		case len(ids) == 1:
			return err
		case refused:
			failed++
			complain(cmd.ErrOrStderr(), fmt.Errorf("token %s: %w", id, err))
		default: // the others would fare the same
			return fmt.Errorf("token %s, and those behind it: %w", id, err)
		}
	}
	if failed > 0 {
		return fmt.Errorf("refused for %d of %d tokens", failed, len(ids))
	}
	return nil
}

var errValue = errors.New("this is a token's value, not its id: the id is the 12 characters behind the first underscore. " +
	"The value may now stand in your shell's history: rotate the token")

// checkID refuses what is no id and no running number. A value where an id
// belongs is not repeated.
func checkID(id string) error {
	if n, err := strconv.ParseUint(id, 10, 64); err == nil && n > 0 && len(id) < len("000000000000") {
		return nil
	}
	return checkWholeID(id)
}

// checkWholeID refuses what is no id.
func checkWholeID(id string) error {
	switch {
	case token.IsCredential(id), token.Contains(id):
		return usageError{errValue}
	case !token.ValidID(id):
		return usagef("%s is no token's id; an id is 12 letters and digits", strconv.Quote(id))
	}
	return nil
}
