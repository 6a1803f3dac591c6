package query

import (
	"time"

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
	wanted.Owner, wanted.OwnerPart = q["user"], q["userPart"]
	wanted.Name, wanted.ID = q["name"], q["id"]
	wanted.After = listing.Cursor(q["after"])
	if wanted.State, err = Choice(q, "state", States); err != nil {
		return wanted, err
	}
	if kind, err := Choice(q, "type", Types); err != nil {
		return wanted, err
	} else if q["type"] != "" {
		wanted.Kind = &kind
	}
	if readOnly, err := Choice(q, "scope", map[string]bool{"read": true, "write": false}); err != nil {
		return wanted, err
	} else if q["scope"] != "" {
		wanted.ReadOnly = &readOnly
	}
	if wanted.Sort, err = Choice(q, "sort", columns); err != nil {
		return wanted, err
	}
	if wanted.Descending, err = Choice(q, "order", map[string]bool{"asc": false, "desc": true}); err != nil {
		return wanted, err
	}
	if wanted.Limit, err = q.number("limit"); err != nil {
		return wanted, err
	}
	if wanted.NeverExpires, err = q.flag("neverExpires"); err != nil {
		return wanted, err
	}
	if wanted.NeverUsed, err = q.flag("neverUsed"); err != nil {
		return wanted, err
	}
	return wanted, times(q, now, &wanted)
}

// times parses the filters by time.
func times(q Values, now time.Time, wanted *manage.Query) (err error) {
	for _, span := range []struct {
		name  string
		whole bool
		to    *time.Time
	}{
		{"createdFrom", false, &wanted.CreatedFrom}, {"createdUntil", true, &wanted.CreatedUntil},
		{"usedFrom", false, &wanted.UsedFrom}, {"usedUntil", true, &wanted.UsedUntil},
		{"expiresFrom", false, &wanted.ExpiresFrom}, {"expiresUntil", true, &wanted.ExpiresUntil},
	} {
		if *span.to, err = q.time(span.name, span.whole); err != nil {
			return err
		}
	}
	if ago, err := q.lifetime("unusedSince"); err == nil && ago > 0 {
		wanted.UnusedSince = now.Add(-ago)
	} else if wanted.UnusedSince, err = q.time("unusedSince", false); err != nil {
		return bad("unusedSince", "The parameter \"unusedSince\" must be a time such as 90d, or a date such as 2030-01-31.")
	}
	within, err := q.lifetime("expiringWithin")
	if err != nil {
		return err
	}
	if within > 0 {
		if q["expiresFrom"] != "" || q["expiresUntil"] != "" {
			return bad("expiringWithin", "Give expiringWithin, or expiresFrom and expiresUntil, but not both.")
		}
		wanted.ExpiresFrom, wanted.ExpiresUntil = now, now.Add(within)
	}
	return nil
}
