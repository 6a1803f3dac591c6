package query

import (
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/listing"
)

// TokenFilters are the parameters that filter tokens, and TokenPages those that choose
// the order and the page.
var (
	TokenFilters = []string{"user", "userPart", "name", "id", "state", "type", "scope",
		"createdFrom", "createdUntil", "usedFrom", "usedUntil", "expiresFrom", "expiresUntil",
		"neverExpires", "neverUsed", "unusedSince", "expiringWithin"}
	TokenPages = []string{"sort", "order", "after", "limit"}
)

// Types maps the names of kinds to kinds.
var Types = map[string]store.Kind{store.Ordinary.String(): store.Ordinary, store.Management.String(): store.Management}

// States maps the names of states to states.
var States = func() map[string]manage.State {
	named := make(map[string]manage.State)
	for _, s := range manage.States {
		named[string(s)] = s
	}
	return named
}()

// columns are the columns to sort by.
var columns = map[string]listing.Column{
	"created": listing.ByNumber,
	"user":    listing.ByOwner,
	"name":    listing.ByName,
	"expires": listing.ByExpires,
	"used":    listing.ByLastUsed,
	"uses":    listing.ByUses,
}

// Tokens parses the filters, order and page of a list of tokens; relative times are
// from now. It fails with an Error.
func Tokens(q Values, now time.Time) (wanted manage.Query, err error) {
	p := parser{Values: q}
	wanted.Owner, wanted.OwnerPart = q["user"], q["userPart"]
	wanted.Name, wanted.ID = q["name"], q["id"]
	wanted.After = listing.Cursor(q["after"])
	wanted.State = choice(&p, "state", States)
	if kind := choice(&p, "type", Types); q["type"] != "" {
		wanted.Kind = &kind
	}
	if readOnly := choice(&p, "scope", map[string]bool{"read": true, "write": false}); q["scope"] != "" {
		wanted.ReadOnly = &readOnly
	}
	wanted.Sort = choice(&p, "sort", columns)
	wanted.Descending = choice(&p, "order", map[string]bool{"asc": false, "desc": true})
	wanted.Limit = p.number("limit")
	wanted.NeverExpires, wanted.NeverUsed = p.flag("neverExpires"), p.flag("neverUsed")
	wanted.CreatedFrom, wanted.CreatedUntil = p.span("createdFrom", "createdUntil")
	wanted.UsedFrom, wanted.UsedUntil = p.span("usedFrom", "usedUntil")
	wanted.ExpiresFrom, wanted.ExpiresUntil = p.span("expiresFrom", "expiresUntil")
	if text := q["unusedSince"]; text != "" {
		ago, err := config.ParseLifetime(text)
		at, ok := parseTime(text, false)
		switch {
		case ok:
			wanted.UnusedSince = at
		case err == nil && !ago.Unlimited:
			wanted.UnusedSince = now.Add(-ago.Duration)
		default:
			p.fail("unusedSince", "The parameter \"unusedSince\" must be a time such as 90d, or a date such as 2030-01-31.")
		}
	}
	if text := q["expiringWithin"]; text != "" {
		within, err := config.ParseLifetime(text)
		switch {
		case err != nil || within.Unlimited:
			p.fail("expiringWithin", "The parameter \"expiringWithin\" must be a time such as 90d or 12h.")
		case q["expiresFrom"] != "" || q["expiresUntil"] != "":
			p.fail("expiringWithin", "Give expiringWithin, or expiresFrom and expiresUntil, but not both.")
		}
		wanted.ExpiresFrom, wanted.ExpiresUntil = now, now.Add(within.Duration)
	}
	return wanted, p.err
}
