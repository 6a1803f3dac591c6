package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/store"
)

func newListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tokens",
		Long: "List the tokens that match all filters. A TIME is a day of UTC such as\n" +
			"2030-01-31, an instant such as 2030-01-31T12:00:00Z, or, where it says so, a length\n" +
			"of time such as 90d.",
		Example: "  tokengate token list --user fred --state active\n" +
			"  tokengate token list --expiring-within 14d --sort expires\n" +
			"  tokengate token list --unused-since 90d --output csv > unused.csv",
	}
	header := []string{"ID", "USER", "NAME", "STATE", "EXPIRES", "LAST USED", "USES"}
	f := newListing(cmd, "tokens", header, func(t web.Token) []string {
		return []string{cell(t.ID), cell(t.User), cell(t.Label), cell(t.State), instant(t.ExpiresAt, "never"),
			instant(t.LastAccessed, "never"), strconv.FormatUint(t.UsageCount, 10)}
	})
	var states []string
	for _, state := range manage.States {
		states = append(states, string(state))
	}
	f.text("user", "user", "only tokens of the user `NAME`", nil)
	f.text("user-part", "userPart", "only tokens of users with this `TEXT` in their names", nil)
	f.text("name", "name", "only tokens with this `TEXT` in their names", nil)
	f.text("id", "id", "only the token with this `ID`", checkWholeID)
	f.word("state", "state", "only tokens in this `STATE`", states...)
	f.word("type", "type", "only tokens of this `TYPE`", store.Ordinary.String(), store.Management.String())
	f.word("scope", "scope", "only tokens of this `SCOPE`", "read", "write")
	for _, span := range []struct{ name, what string }{
		{"created", "created"}, {"used", "last used"}, {"expires", "that expire"},
	} {
		f.text(span.name+"-from", span.name+"From", "only tokens "+span.what+" at this `TIME` or later", checkTime)
		f.text(span.name+"-until", span.name+"Until", "only tokens "+span.what+" before this `TIME`, or on this day", checkTime)
	}
	f.text("expiring-within", "expiringWithin", "only tokens that expire within this `TIME` such as 14d", checkPeriod)
	f.text("unused-since", "unusedSince", "only tokens not used for this `TIME` such as 90d, or since a day", checkPeriodOrTime)
	f.on("never-used", "neverUsed", "true", "only tokens that were never used")
	f.on("never-expires", "neverExpires", "true", "only tokens that never expire")
	f.word("sort", "sort", "`COLUMN` to sort by (default created)", "created", "user", "name", "expires", "used", "uses")
	f.on("desc", "order", "desc", "sort in reverse")
	return cmd
}

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
