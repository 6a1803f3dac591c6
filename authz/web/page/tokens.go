package page

import (
	"cmp"
	"slices"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web/query"
)

// tokensPage is the administrators' list of all tokens.
type tokensPage struct {
	Filters query.Values
	Hidden  query.Values // filters without a field
	Sort    string       // as requested, so that filtering keeps the order
	Order   string
	Rows    []listedToken
	Columns []column
	Total   int
	More    bool // filters are set that the page hides at first
	States  []choice
	Next    string // the address of the next page; empty: this is the last
	First   string // the address of the first page; empty: this is it
	CSV     string
	Action  string

	Owner     string // the tokens are those of this user; empty: of all
	New       string // the address of the form that creates one for the owner
	RevokeAll string
	Audit     string
}

// listedToken is a token of the list with its actions.
type listedToken struct {
	tokenView
	Actions []actionLink
}

// column is a column heading that sorts the list.
type column struct {
	Word, Name, URL string
	Order           string // ascending or descending; empty: the list is not sorted by it
	Number          bool
}

// listParameters are the parameters of the list's address.
var listParameters = slices.Concat(query.TokenFilters, []string{"sort", "order", "after"}, noticeParameters)

// shownFilters are the filters whose fields are always shown, and extraFilters those
// whose fields are shown on demand. The others have no field.
var (
	shownFilters = []string{"name", "userPart", "state", "scope"}
	extraFilters = []string{"type", "id", "expiringWithin", "unusedSince", "createdFrom", "createdUntil", "neverExpires", "neverUsed"}
)

// tokens lists all tokens.
func (s *Site) tokens(r *Request, l *layout) (Answer, error) {
	wanted, err := query.Tokens(r.Query, s.Now().UTC())
	if err != nil {
		return Answer{}, err
	}
	if r.Query["sort"] == "" && r.Query["order"] == "" {
		wanted.Descending = true // newest first
	}
	wanted.Limit = pageSize
	found, err := s.Manager.List(r.HTTP.Context(), r.Caller, wanted)
	if err != nil {
		return Answer{}, err
	}
	asked := without(r.Query, noticeParameters...)
	list := without(asked, "after")
	filters := without(list, "sort", "order")
	p := tokensPage{
		Filters: visibleValues(filters), Hidden: query.Values{}, Sort: r.Query["sort"], Order: r.Query["order"], Total: found.Total,
		Columns: s.columns(r.Query, filters), Action: s.url("tokens"), CSV: s.API + "/tokens?" + with(filters, "format", "csv"),
	}
	for name, value := range p.Filters {
		switch {
		case slices.Contains(extraFilters, name):
			p.More = true
		case !slices.Contains(shownFilters, name):
			p.Hidden[name] = value
		}
	}
	for _, state := range manage.States {
		p.States = append(p.States, choice{string(state), text("state." + string(state))})
	}
	from := "?" + encode("from", "tokens", "list", with(asked)) // actions lead back to the list
	for _, t := range found.Tokens {
		p.Rows = append(p.Rows, listedToken{s.tokenView(t, shownNetworks), s.actionLinks(t, true, from)})
	}
	if found.Next != "" {
		p.Next = s.url("tokens?" + with(list, "after", string(found.Next)))
	}
	if r.Query["after"] != "" {
		p.First = s.url("tokens?" + with(list))
	}
	if owner := r.Query["user"]; owner != "" {
		p.Owner = visible(owner)
		p.New, p.RevokeAll = s.url("new?"+encode("user", owner)), s.url("revoke-all?"+encode("user", owner))
		p.Audit = s.url("audit?" + encode("user", owner))
	}
	s.notice(l, r)
	return ok("tokens", l, p)
}

// columns returns the headings, each with the address that sorts by it, or reverses
// the order if the list is sorted by it.
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

// visibleValues returns filters as their fields show them.
func visibleValues(filters query.Values) query.Values {
	shown := make(query.Values, len(filters))
	for name, text := range filters {
		shown[name] = visible(text)
	}
	return shown
}

// pendingPage is the list of tokens that wait for approval.
type pendingPage struct {
	Rows  []pendingToken
	Total int
	Next  string
}

// pendingToken is a token of that list, with the addresses of its forms.
type pendingToken struct {
	tokenView
	Approve, Refuse string
}

// pending lists the tokens that wait for approval, oldest first.
func (s *Site) pending(r *Request, l *layout) (Answer, error) {
	wanted, err := query.Tokens(query.Values{"state": string(manage.StatePending), "after": r.Query["after"]}, s.Now().UTC())
	if err != nil {
		return Answer{}, err
	}
	wanted.Limit = pageSize
	found, err := s.Manager.List(r.HTTP.Context(), r.Caller, wanted)
	if err != nil {
		return Answer{}, err
	}
	p := pendingPage{Total: found.Total}
	for _, t := range found.Tokens {
		v := s.tokenView(t, len(t.Networks))
		p.Rows = append(p.Rows, pendingToken{v, v.URL + "/approve?from=pending", v.URL + "/refuse?from=pending"})
	}
	if found.Next != "" {
		p.Next = s.url("pending?" + encode("after", string(found.Next)))
	}
	s.notice(l, r)
	return ok("pending", l, p)
}
