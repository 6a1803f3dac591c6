package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/web"
)

func newAuditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show the audit log",
		Long: "Show the audit log, newest first: every change of a token, and every attempt that\n" +
			"was refused. The last column has the old and new values.",
		Example: "  tokengate audit --limit 20\n" +
			"  tokengate audit --user fred --action token.revoke --from 2030-01-01 --output csv > audit.csv",
	}
	header := []string{"TIME", "ACTOR", "FROM", "ACTION", "TOKEN", "USER", "OUTCOME", "REASON", "CHANGES"}
	f := newListing(cmd, "audit", header, func(r web.AuditRecord) []string {
		at := r.Time
		return []string{instant(&at, ""), cell(r.Actor), cell(r.From), cell(r.Action), cell(r.TokenID), cell(r.User),
			cell(r.Outcome), cell(r.Reason), cell(changesText(r.Changes))}
	})
	f.text("actor", "actor", "only by actors with this `TEXT` in their names", nil)
	f.text("action", "action", "only this `ACTION`, such as token.create", nil)
	f.text("id", "tokenId", "only of the token with this `ID`", checkWholeID)
	f.text("user", "user", "only of tokens of the user `NAME`", nil)
	f.word("outcome", "outcome", "only with this `OUTCOME`", "done", "refused")
	f.text("from", "from", "only at this `TIME` such as 2030-01-31, or later", checkTime)
	f.text("until", "until", "only before this `TIME`, or on this day", checkTime)
	addSocketFlag(cmd)
	return cmd
}

// changesText returns changes as one line, sorted by field.
func changesText(changes map[string]web.Change) string {
	var texts []string
	for _, field := range slices.Sorted(maps.Keys(changes)) {
		c := changes[field]
		texts = append(texts, field+": "+strconv.Quote(c.Before)+" -> "+strconv.Quote(c.After))
	}
	return strings.Join(texts, ", ")
}
