package page

import (
	"net/http"
	"net/url"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store/listing"
)

// minePage is the list of the caller's own tokens.
type minePage struct {
	Rows          []tokenView
	InForce, Most int
	Ended         int    // expired and revoked tokens, shown or not
	All           bool   // those are shown
	Why           string // as in createPage
	Connection    connectionView
	New           string // the address of the form
	Toggle        string // the address that shows or hides ended tokens
	RevokeAll     string
	Next          string // the address of the next page; empty: this is the last
}

// mine lists the caller's own tokens, newest first: those in force, or all.
func (s *Site) mine(r *Request, l *layout) (Answer, error) {
	all := r.Query["show"] == "all"
	wanted := manage.Query{InForce: !all, Query: listing.Query{Descending: true, Limit: pageSize, After: listing.Cursor(r.Query["after"])}}
	found, err := s.Manager.ListOwn(r.HTTP.Context(), r.Caller, wanted)
	if err != nil {
		return Answer{}, err
	}
	// The other list is read for its total.
	others, err := s.Manager.ListOwn(r.HTTP.Context(), r.Caller, manage.Query{InForce: all, Query: listing.Query{Limit: 1}})
	if err != nil {
		return Answer{}, err
	}
	p := minePage{
		InForce: l.Me.InForce, Most: l.Me.MaxPerUser, All: all, Why: whyNot(l.Me), Ended: max(others.Total, found.Total) - min(others.Total, found.Total),
		New: s.url("new"), RevokeAll: s.url("revoke-all"), Toggle: s.url("?show=all"), Connection: s.connectionView(l.Connection.Connection),
	}
	for _, t := range found.Tokens {
		p.Rows = append(p.Rows, s.tokenView(t, shownNetworks))
	}
	next := []string{"after", string(found.Next)}
	if all {
		p.Toggle, next = s.url(""), append(next, "show", "all")
	}
	if found.Next != "" {
		p.Next = s.url("?" + encode(next...))
	}
	s.notice(l, r)
	return ok("mine", l, p)
}

// confirmAllPage asks for the confirmation to revoke all tokens of a user.
type confirmAllPage struct {
	Form  *form
	Owner string
	Mine  bool
	Count int // of tokens to revoke
	Back  string
}

// confirmAll asks before all tokens of the caller, or of another user, are revoked.
func (s *Site) confirmAll(r *Request, l *layout) (Answer, error) {
	return s.revokeAllForm(r, l, r.Query["user"], nil)
}

func (s *Site) revokeAllForm(r *Request, l *layout, user string, refusal error) (Answer, error) {
	shown := visible(token.Redact(user))
	if user != "" && !l.Me.Administrator && refusal == nil {
		return s.problem(r, http.StatusForbidden, "all.forbidden"), nil
	}
	p := confirmAllPage{Form: s.form(r, "revoke-all", url.Values{"user": {shown}}), Owner: shown, Mine: user == "", Back: s.url("")}
	list := s.Manager.List
	if p.Mine {
		list = s.Manager.ListOwn
	}
	if p.Mine || l.Me.Administrator {
		found, err := list(r.HTTP.Context(), r.Caller, manage.Query{InForce: true, Query: listing.Query{Owner: user, Limit: 1}})
		if err != nil {
			return Answer{}, err
		}
		p.Count = found.Total
	}
	if !p.Mine {
		p.Back = s.url("tokens?" + encode("user", shown))
	}
	return showForm("all", l, p.Form, p, refusal)
}

// revokeAll revokes them.
func (s *Site) revokeAll(r *Request, l *layout) (Answer, error) {
	return s.submit(r, l, "revoke-all", nil, func(f *form) (Answer, error) {
		user := f.Get("user")
		if err := s.Manager.RevokeAll(r.HTTP.Context(), r.Caller, user); err != nil || user == "" {
			return s.seeOther("?"+encode(s.noticed(r, "all", "")...), ""), err
		}
		return s.seeOther("tokens?"+encode(append(s.noticed(r, "all", ""), "user", user)...), ""), nil
	}, func(f *form, refusal error) (Answer, error) { return s.revokeAllForm(r, l, f.Get("user"), refusal) })
}
