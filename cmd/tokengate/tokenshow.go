package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/web"
)

func newShowCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:               "show ID",
		Short:             "Show all details of a token",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkID(args[0]); err != nil {
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
			rows := describe(t)
			if why := c.suspension(cmd.Context(), t); why != "" {
				rows = append(rows, []string{"suspended:", printable(why)})
			}
			return printAnswer(cmd, format, t, rows)
		},
	}
	outputFlag(cmd, &format, "json")
	return cmd
}

// anyNetwork is the value of --ip for any network.
const anyNetwork = "any"

func describe(t web.Token) table {
	networks := strings.Join(t.Networks, " ")
	if networks == "" {
		networks = anyNetwork
	}
	var rate config.Rate
	if t.Rate != nil {
		rate = config.Rate{Requests: t.Rate.Requests, Per: time.Duration(t.Rate.PerSeconds) * time.Second, Burst: t.Rate.Burst}
	}
	address := ""
	if t.LastAddress != nil {
		address = *t.LastAddress
	}
	created := t.CreatedAt
	return table{
		{"id:", cell(t.ID)},
		{"number:", strconv.FormatUint(t.Number, 10)},
		{"type:", cell(t.Type)},
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
		{"rate:", rate.String()},
		{"uses:", strconv.FormatUint(t.UsageCount, 10)},
		{"writing uses:", strconv.FormatUint(t.WriteCount, 10)},
		{"last used:", instant(t.LastAccessed, "never")},
		{"last used from:", cell(address)},
	}
}

func newChangeCommand() *cobra.Command {
	var asked web.ChangeRequest
	var name, purpose, format string
	var readOnly, anywhere bool
	var networks []string
	cmd := &cobra.Command{
		Use:               "change ID",
		Short:             "Change a token's name, purpose, expiry or limits",
		Long:              "Change a token. Properties without a flag stay unchanged, and so does the value.",
		Example:           "  tokengate token change 4fVq0c1sXbYk --ip 10.1.0.0/16 --ip 10.2.0.0/16 --rate none",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkID(args[0]); err != nil {
				return err
			}
			if anywhere && networks != nil {
				return usagef("--ip is %s, or networks, but not both", anyNetwork)
			}
			if anywhere {
				networks = []string{} // JSON would encode nil as null
			}
			for flag, set := range map[string]func(){
				"name":      func() { asked.Label = &name },
				"purpose":   func() { asked.Purpose = &purpose },
				"read-only": func() { asked.ReadOnly = &readOnly },
				"ip":        func() { asked.Networks = &networks },
			} {
				if cmd.Flags().Changed(flag) {
					set()
				}
			}
			if (asked == web.ChangeRequest{}) {
				return usagef("nothing to change; see %s --help", cmd.CommandPath())
			}
			return change(cmd, format, args[0], asked)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "new `LABEL`")
	flags.StringVar(&purpose, "purpose", "", "new free `TEXT`; '' for none")
	flags.BoolVar(&readOnly, "read-only", false, "allow reading requests only; --read-only=false for all")
	textFlag(cmd, "ip", "`NETWORK` or address to allow, instead of the present ones; may be repeated; "+anyNetwork+" for any", nil, func(text string) error {
		if text == anyNetwork {
			anywhere = true
			return nil
		}
		return addNetwork(&networks)(text)
	})
	expiryFlag(cmd, "new `LIFETIME` from now on, such as 90d or unlimited, or time such as 2030-01-31T12:00:00Z", &asked.Expiry)
	textFlag(cmd, "rate", "new `RATE` of requests, such as 600/1m, or 600/1m/100 for at most 100 of them at once; none for none", nil, func(text string) (err error) {
		asked.Rate = web.RateChange{Given: true}
		if text == "none" {
			return nil
		}
		if asked.Rate.Rate, err = parseRate(text); err != nil {
			return errors.New(err.Error() + ", or none")
		}
		return nil
	})
	outputFlag(cmd, &format, "json")
	return cmd
}

func change(cmd *cobra.Command, format, id string, asked web.ChangeRequest) error {
	t, err := ask[web.Token](cmd, http.MethodPatch, id, asked)
	if err != nil {
		return err
	}
	if format == "json" {
		return printJSON(cmd.OutOrStdout(), t)
	}
	_, err = fmt.Fprintf(cmd.ErrOrStderr(), "Changed token %s.\n", cell(t.ID))
	return err
}
