package main

import (
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/web"
)

func newWhoamiCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Show your user name and rights on the server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var me web.Me
			if err := c.call(cmd.Context(), http.MethodGet, "me", nil, nil, &me); err != nil {
				return err
			}
			if format == "json" {
				return printJSON(cmd.OutOrStdout(), me)
			}
			return table{
				{"name:", cell(me.Name)},
				{"from:", cell(me.From)},
				{"administrator:", strconv.FormatBool(me.Administrator)},
				{"creates for others:", strconv.FormatBool(me.CreatesForOthers)},
				{"tokens per user:", strconv.Itoa(me.MaxPerUser)},
				{"longest overlap:", cell(me.MaxOverlap)},
			}.print(cmd.OutOrStdout())
		},
	}
	outputFlag(cmd, &format, "json")
	addSocketFlag(cmd)
	return cmd
}
