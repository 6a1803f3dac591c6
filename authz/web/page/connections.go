package page

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/authz/web/query"
	"github.com/tokengate/tokengate/store"
)

// connectionsPage is the administrators' list of the users who are connected.
type connectionsPage struct {
	Filters query.Values
	States  []choice
	Ends    []choice
	Rows    []connectionRow
	Total   int
	Check   *form // the form of each row that asks the application
	Action  string
	New     string
	Next    string // the address of the next page; empty: this is the last
	First   string // the address of the first page; empty: this is it
}

// connectionRow is a connected user.
type connectionRow struct {
	connectionView
	User, URL  string // the name, or the key if the record cannot be read
	Key        string
	Disconnect string
}

// connectionFilters are the parameters that filter the list, and connectionParameters all.
var (
	connectionFilters    = []string{"user", "state", "endsWithin"}
	connectionParameters = slices.Concat(connectionFilters, []string{"after"}, noticeParameters)
)

// connections lists the users who are connected.
func (s *Site) connections(r *Request, l *layout) (Answer, error) {
	s.notice(l, r)
	list := with(without(r.Query, noticeParameters...))
	return s.connectionsForm(r, l, s.form(r, "connections/check", url.Values{"list": {list}}), nil)
}

// connectionsForm shows the list with the filters that the form has.
func (s *Site) connectionsForm(r *Request, l *layout, f *form, refusal error) (Answer, error) {
	all, err := s.inUse(r)
	if err != nil {
		return Answer{}, err
	}
	asked := listOf(f)
	found, err := filtered(all, asked, s.Now())
	if err != nil {
		return Answer{}, err
	}
	filters := without(asked, "after")
	p := connectionsPage{
		Filters: visibleValues(filters), Check: f, Total: len(found), Action: s.url("connections"), New: s.url("connections/new"),
		States: []choice{{"active", text("connection.active")}, {"broken", text("connection.broken")}},
	}
	for _, mark := range upstream.Marks {
		l := config.Lifetime{Duration: mark}
		p.Ends = append(p.Ends, choice{l.String(), lifetimeLabel(l)})
	}
	first := 0
	if asked["after"] != "" {
		if first, err = strconv.Atoi(asked["after"]); err != nil || first < 0 {
			return Answer{}, wrong(manage.FieldAfter, "connections.filter")
		}
	}
	first = min(first, len(found))
	last := min(first+pageSize, len(found))
	for _, c := range found[first:last] {
		p.Rows = append(p.Rows, s.connectionRow(c, f.Get("list")))
	}
	if last < len(found) {
		p.Next = s.url("connections?" + with(filters, "after", strconv.Itoa(last)))
	}
	if first > 0 {
		p.First = s.url("connections?" + with(filters))
	}
	return showForm("connections", l, f, p, refusal)
}

// listOf returns the filters and page of the list that a form was opened from.
func listOf(f *form) query.Values {
	list, err := query.ReadForm(f.Get("list"), slices.Concat(connectionFilters, []string{"after"}))
	if err != nil {
		return query.Values{}
	}
	return list
}

// connectionRow returns a row of the list. list has the filters to come back to.
func (s *Site) connectionRow(c upstream.Connection, list string) connectionRow {
	row := connectionRow{
		connectionView: s.connectionView(c),
		User:           visible(c.Owner), Key: c.User, Disconnect: s.url("connections/disconnect?" + encode("key", c.User, "list", list)),
	}
	if c.Owner == "" {
		row.User = visible(c.User)
	} else {
		row.URL = s.url("tokens?" + encode("user", c.Owner))
	}
	return row
}

// inUse returns the connections of all users that requests depend on.
func (s *Site) inUse(r *Request) ([]upstream.Connection, error) {
	all, err := s.Manager.ListUpstream(r.HTTP.Context(), r.Caller)
	return slices.DeleteFunc(all, func(c upstream.Connection) bool { return !c.State.InUse() }), err
}

// filtered returns the connections that pass the filters.
func filtered(all []upstream.Connection, filters query.Values, now time.Time) (found []upstream.Connection, err error) {
	user, state, asked := store.FoldOwner(filters["user"]), filters["state"], filters["endsWithin"]
	if state != "" && state != store.UpstreamActive.String() && state != store.UpstreamBroken.String() {
		return nil, wrong("state", "connections.filter")
	}
	within, err := config.ParseLifetime(asked)
	if asked != "" && (err != nil || !slices.Contains(upstream.Marks[:], within.Duration)) {
		return nil, wrong("endsWithin", "connections.filter")
	}
	for _, c := range all {
		ends := !c.Expires.IsZero() && c.Expires.Sub(now) <= within.Duration
		if strings.Contains(store.FoldOwner(c.Owner), user) && (state == "" || state == c.State.String()) && (asked == "" || ends) {
			found = append(found, c)
		}
	}
	return found, nil
}

// check asks the application whether it accepts a user's personal access token.
func (s *Site) check(r *Request, l *layout) (Answer, error) {
	return s.submit(r, l, "connections/check", nil, func(f *form) (Answer, error) {
		state, err := s.Manager.CheckUpstream(r.HTTP.Context(), r.Caller, store.Owner{Key: f.Get("key")})
		done := "accepted"
		if state == store.UpstreamBroken {
			done = "broken"
		}
		return s.toConnections(r, f, done), err
	}, func(f *form, refusal error) (Answer, error) { return s.connectionsForm(r, l, f, refusal) })
}

// toConnections redirects to the list that a form was opened from.
func (s *Site) toConnections(r *Request, f *form, done string) Answer {
	return s.seeOther("connections?"+with(listOf(f), s.noticed(r, done, "")...), "")
}

// confirmDisconnectUser asks before a user is disconnected.
func (s *Site) confirmDisconnectUser(r *Request, l *layout) (Answer, error) {
	f := s.form(r, "connections/disconnect", url.Values{"key": {r.Query["key"]}, "list": {r.Query["list"]}})
	f.Values.Set("list", with(listOf(f)))
	return s.disconnectUserForm(r, l, f, nil)
}

func (s *Site) disconnectUserForm(r *Request, l *layout, f *form, refusal error) (Answer, error) {
	all, err := s.inUse(r)
	if err != nil {
		return Answer{}, err
	}
	i := slices.IndexFunc(all, func(c upstream.Connection) bool { return c.User == f.Get("key") })
	if i < 0 {
		return s.problem(r, http.StatusNotFound, "connections.gone"), nil
	}
	user := s.connectionRow(all[i], "")
	p := confirmPage{
		Form: f, Question: text("disconnect.user.question", user.User), Text: s.whatEnds(user.connectionView) + " " + text("disconnect.user.text"),
		Label: text("disconnect.label"), Back: s.url("connections?" + with(listOf(f))),
	}
	return showForm("confirm", l, f, p, refusal)
}

// disconnectUser disconnects a user.
func (s *Site) disconnectUser(r *Request, l *layout) (Answer, error) {
	return s.submit(r, l, "connections/disconnect", nil, func(f *form) (Answer, error) {
		err := s.Manager.DisconnectUpstream(r.HTTP.Context(), r.Caller, store.Owner{Key: f.Get("key")})
		return s.toConnections(r, f, "removed"), err
	}, func(f *form, refusal error) (Answer, error) { return s.disconnectUserForm(r, l, f, refusal) })
}

// pastePage is the form that connects a user with a personal access token.
type pastePage struct {
	Form *form
	Back string
}

// paste shows the form.
func (s *Site) paste(r *Request, l *layout) (Answer, error) {
	if _, err := s.inUse(r); err != nil { // only administrators see it
		return Answer{}, err
	}
	return s.pasteForm(l, s.form(r, "connections/new", url.Values{}), nil)
}

// pasteForm shows the form. The personal access token is a password field that is never filled.
func (s *Site) pasteForm(l *layout, f *form, refusal error) (Answer, error) {
	f.Values.Del("token")
	return showForm("paste", l, f, pastePage{Form: f, Back: s.url("connections")}, refusal)
}

// connectUser connects a user with the personal access token of the form.
func (s *Site) connectUser(r *Request, l *layout) (Answer, error) {
	return s.submit(r, l, "connections/new", nil, func(f *form) (Answer, error) {
		value := product.NewSecret(strings.TrimSpace(f.Get("token")))
		f.Values.Del("token")
		set, err := s.Manager.SetUpstream(r.HTTP.Context(), r.Caller, f.Get("user"), value)
		return s.seeOther("connections?"+encode(append(s.noticed(r, "set", ""), "user", set.Owner)...), ""), err
	}, func(f *form, refusal error) (Answer, error) { return s.pasteForm(l, f, refusal) })
}

// connectionFigures counts the connections for the insights.
func (s *Site) connectionFigures(r *Request) (figures []figure, err error) {
	all, err := s.inUse(r)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct{ word, list string }{
		{"connected", "state=active"},
		{"broken", "state=broken"},
		{"ends30", "state=active&endsWithin=30d"},
		{"ends14", "state=active&endsWithin=14d"},
		{"ends3", "state=active&endsWithin=3d"},
	} {
		q, err := query.ReadForm(f.list, connectionParameters)
		if err != nil {
			return nil, err
		}
		found, err := filtered(all, q, s.Now())
		if err != nil {
			return nil, err
		}
		figures = append(figures, figure{len(found), text("insights." + f.word), text("insights." + f.word + ".why"), s.url("connections?" + f.list)})
	}
	return figures, nil
}
