package page

import (
	"cmp"
	"slices"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
)

// tokensPage is an administrator's list of all tokens.
type tokensPage struct {
	Filters query.Values
	Hidden  query.Values // filters that have no field
	Sort    string       // as it is asked for, so that a filter keeps it
	Order   string
	Rows    []listedRow
	Columns []column
	Total   int
	More    bool // filters beyond the usual ones are set
	States  []choice
	Next    string // the address of the next page; empty: this is the last
	First   string // the address of the first page; empty: this is it
	CSV     string
	Action  string

	Owner     string // whose tokens these are; empty: everybody's
	New       string // the form that creates one for the owner
	RevokeAll string
	Audit     string
}

// listedRow is a token of the list, with what is done most.
type listedRow struct {
	tokenView
	Actions []actionLink
}

// listed returns the rows of a list, from which a deed leads back to the list as it
// is.
func (s *Site) listed(tokens []manage.Token, list string) []listedRow {
	rows := make([]listedRow, len(tokens))
	for i, t := range tokens {
		rows[i].tokenView = s.tokenView(t, shownNetworks)
		rows[i].Actions = s.actionLinks(t, true, "?"+encode("from", "tokens", "list", list))
	}
	return rows
}

// column is a heading of the list by which it can be sorted.
type column struct {
	Word, Name, URL string
	Order           string // ascending or descending, if it is sorted by it
	Number          bool
}

// choice is one of some words in a form.
type choice struct {
	Value, Label string
}

// stateChoices are the states of tokens.
var stateChoices = func() (all []choice) {
	for _, s := range manage.States {
		all = append(all, choice{string(s), text("state." + string(s))})
	}
	return all
}()

// listParameters are those of the list's address.
var listParameters = slices.Concat(query.TokenFilters, []string{"sort", "order", "after"}, noticeParameters)

// usual are the filters whose fields are always shown, and more those of the others
// that have one.
var (
	usual = []string{"name", "userPart", "state", "scope"}
	more  = []string{"type", "id", "expiringWithin", "unusedSince", "createdFrom", "createdUntil", "neverExpires", "neverUsed"}
)

// tokens shows a page of all tokens.
func (s *Site) tokens(r *Request) (Answer, error) {
	title := text("tokens.title")
	owner := r.Query["user"]
	if owner != "" {
		title = text("tokens.title.of", owner)
	}
	f, err := s.layout(r, title, "tokens")
	if err != nil {
		return Answer{}, err
	}
	wanted, err := query.Tokens(r.Query, s.Now().UTC())
	if err != nil {
		return Answer{}, err
	}
	if r.Query["sort"] == "" && r.Query["order"] == "" {
		wanted.Descending = true // the newest first
	}
	wanted.Limit = pageSize
	found, err := s.Manager.List(r.HTTP.Context(), r.Caller, wanted)
	if err != nil {
		return Answer{}, err
	}
	filters := without(r.Query, append([]string{"sort", "order", "after"}, noticeParameters...)...)
	p := tokensPage{
		Filters: shownFilters(filters), Sort: r.Query["sort"], Order: r.Query["order"], Total: found.Total, States: stateChoices,
		Columns: s.columns(r.Query, filters), Action: s.url("tokens"),
		CSV: s.API + "/tokens?" + with(filters, "format", "csv"), Owner: owner,
	}
	p.Hidden, p.More = fieldless(filters)
	p.Rows = s.listed(found.Tokens, with(without(r.Query, noticeParameters...)))
	list := without(r.Query, append([]string{"after"}, noticeParameters...)...)
	if found.Next != "" {
		p.Next = s.url("tokens?" + with(list, "after", string(found.Next)))
	}
	if r.Query["after"] != "" {
		p.First = s.url("tokens?" + with(list))
	}
	if owner != "" {
		p.New, p.RevokeAll = s.url("new?"+encode("user", owner)), s.url("revoke-all?"+encode("user", owner))
		p.Audit = s.url("audit?" + encode("user", owner))
	}
	s.notice(f, r)
	return ok("tokens", f, p)
}

// fieldless returns the filters that have no field, as the form sends them nevertheless,
// and reports whether the fields that are not always shown hold any.
func fieldless(filters query.Values) (hidden query.Values, uncommon bool) {
	hidden = make(query.Values)
	for name, text := range filters {
		switch {
		case slices.Contains(more, name):
			uncommon = true
		case !slices.Contains(usual, name):
			hidden[name] = visible(text)
		}
	}
	return hidden, uncommon
}

// columns are the headings, each with the address that sorts by it, or the other
// way round where the list is sorted by it.
func (s *Site) columns(q, filters query.Values) (all []column) {
	for _, word := range []string{"name", "user", "created", "expires", "used", "uses"} {
		c := column{Word: word, Name: text("column." + word), Number: word == "uses"}
		order := "asc"
		if by := cmp.Or(q["sort"], "created"); by == word {
			c.Order = "ascending"
			if order = "desc"; q["order"] == "desc" || q["order"] == "" && q["sort"] == "" {
				c.Order, order = "descending", "asc"
			}
		}
		c.URL = s.url("tokens?" + with(filters, "sort", word, "order", order))
		all = append(all, c)
	}
	return all
}

// spanChoices are the lengths of time to choose from in a filter, and the one that
// the address asks for.
func spanChoices(asked string) (all []choice) {
	known := []string{"7d", "14d", "30d", "90d", "365d"}
	for _, word := range known {
		all = append(all, choice{word, text("filter.within." + word)})
	}
	if asked != "" && !slices.Contains(known, asked) {
		all = append(all, choice{asked, asked})
	}
	return all
}

// shownFilters are filters as their fields show them.
func shownFilters(filters query.Values) query.Values {
	shown := make(query.Values, len(filters))
	for name, text := range filters {
		shown[name] = visible(text)
	}
	return shown
}
