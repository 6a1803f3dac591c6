package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/web"
)

func newPasswordsCommand() *cobra.Command {
	return newReport(&cobra.Command{
		Use:   "passwords",
		Short: "Show who still sends passwords to REST",
		Long: "Show the users who still send passwords to REST, most recent first; passwords.mode\n" +
			"block would refuse them. Only users in the directory are shown; tokengate totals\n" +
			"counts the others.",
	}, "passwords", []string{"user", "address", "firstSeen", "lastSeen", "passed", "wouldBlock", "blocked", "client"},
		func(answer web.PasswordUsers) (rows [][]string) {
			for _, u := range answer.Users {
				for _, use := range u.Uses {
					address := ""
					if use.Address != nil {
						address = *use.Address
					}
					rows = append(rows, []string{u.User, address, instant(&use.FirstSeen, ""), instant(&use.LastSeen, ""),
						count(use.Passed), count(use.WouldBlock), count(use.Blocked), use.Client})
				}
			}
			return rows
		})
}

func newTotalsCommand() *cobra.Command {
	return newReport(&cobra.Command{
		Use:   "totals",
		Short: "Show how many requests were allowed and denied each day",
		Long: "Show the number of requests on each of the last 30 days in UTC. Days without requests\n" +
			"are omitted. Columns: allowed with a token, forwarded with a password, with a\n" +
			"password but missing from tokengate passwords, refused, and refused by reason.",
	}, "totals", []string{"date", "allowed", "passwords", "unknownPasswords", "refused", "reasons"},
		func(answer web.Totals) (rows [][]string) {
			for _, day := range answer.Days {
				var sum uint64
				var reasons []string
				for _, reason := range slices.Sorted(maps.Keys(day.Refused)) {
					sum += day.Refused[reason]
					reasons = append(reasons, reason+" "+count(day.Refused[reason]))
				}
				rows = append(rows, []string{day.Date, count(day.Allowed), count(day.Passwords), count(day.Unknown), count(sum), strings.Join(reasons, ", ")})
			}
			return rows
		})
}

func newSettingsCommand() *cobra.Command {
	return newReport(&cobra.Command{
		Use:   "settings",
		Short: "Show the settings in force",
		Long:  "Show the settings in force, each with its key in the configuration.",
	}, "settings", []string{"key", "value"},
		func(answer web.Settings) (rows [][]string) {
			for _, setting := range answer.Settings {
				text, isText := setting.Value.(string)
				if !isText {
					data, _ := json.Marshal(setting.Value) // it came as JSON
					text = string(data)
				}
				rows = append(rows, []string{setting.Key, text})
			}
			return rows
		})
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }

func newWhoamiCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Show your user name and rights on the server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			me, err := ask[web.Me](cmd, http.MethodGet, "me", nil)
			if err != nil {
				return err
			}
			return printAnswer(cmd, format, me, table{
				{"name:", cell(me.Name)},
				{"from:", cell(me.From)},
				{"administrator:", strconv.FormatBool(me.Administrator)},
				{"creates for others:", strconv.FormatBool(me.ForOthers)},
				{"tokens per user:", strconv.Itoa(me.MaxPerUser)},
				{"longest overlap:", cell(me.MaxOverlap)},
			})
		},
	}
	outputFlag(cmd, &format, "json")
	addSocketFlag(cmd)
	return cmd
}
