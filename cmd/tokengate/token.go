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
		Long: "Work with the tokens of the running server, over its admin socket. Every user who can\n" +
			"open the socket is an administrator.\n\n" +
			"An ID is the token's id, the 12 characters after the first underscore of its value,\n" +
			"or its number, which token show prints.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	addSocketFlag(cmd)
	cmd.AddCommand(newCreateCommand(), newListCommand(), newShowCommand(), newChangeCommand(), newRotateCommand(), newRevokeCommand(),
		newStateCommand("approve", "Approved", "Approve pending tokens"),
		newStateCommand("disable", "Disabled", "Disable tokens until they are enabled"),
		newStateCommand("enable", "Enabled", "Enable disabled tokens"))
	return cmd
}

// newStateCommand returns a command for the endpoint with its name below a token.
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
		Short: "Revoke tokens permanently",
		Long: "Revoke tokens permanently, without a confirmation. All are tried; the exit code is 1 if one\n" +
			"was refused. With --all, every token of a user is revoked, in any state.",
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

// revokeAll revokes a user's tokens. It counts them itself, because the response has
// no count.
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

// eachToken sends the same request for each token. It continues after a refusal.
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
		default: // the others would fail too
			return fmt.Errorf("token %s and those after it: %w", id, err)
		}
	}
	if failed > 0 {
		return fmt.Errorf("refused for %d of %d tokens", failed, len(ids))
	}
	return nil
}

var errValue = errors.New("this is a token's value, not its id: the id is the 12 characters after the first underscore. " +
	"The value may now be in your shell's history: rotate the token")

// checkID accepts an id or a number. Its error never repeats a token's value.
func checkID(id string) error {
	if n, err := strconv.ParseUint(id, 10, 64); err == nil && n > 0 && len(id) < len("000000000000") {
		return nil
	}
	return checkWholeID(id)
}

// checkWholeID accepts an id.
func checkWholeID(id string) error {
	switch {
	case token.IsCredential(id), token.Contains(id):
		return usageError{errValue}
	case !token.ValidID(id):
		return usagef("%s is no token's id; an id is 12 letters and digits", strconv.Quote(id))
	}
	return nil
}
