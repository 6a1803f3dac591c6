package page

import (
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

// minePage is what somebody sees of their own tokens.
type minePage struct {
	Rows          []tokenView
	InForce, Most int
	Ended         int    // tokens that ended, shown or not
	All           bool   // those are shown
	Why           string // nothing can be created; empty: it can
	Ask           string // what to ask an administrator for
	New           string // the address of the form
	Toggle        string // the address that shows those that ended, or hides them
	RevokeAll     string
	Next          string // the address of the next page; empty: this was the last
}

// mine shows the caller's own tokens, the newest first: those in force, or all.
func (s *Site) mine(r *Request) (Answer, error) {
	f, err := s.layout(r, text("mine.title"), "")
	if err != nil {
		return Answer{}, err
	}
	wanted := manage.Query{InForce: r.Query["show"] != "all", Query: store.Query{Descending: true, Limit: pageSize, After: store.Cursor(r.Query["after"])}}
	found, err := s.Manager.ListOwn(r.HTTP.Context(), r.Caller, wanted)
	if err != nil {
		return Answer{}, err
	}
	// How many there are beyond those that are shown.
	wanted.InForce, wanted.Limit, wanted.After = !wanted.InForce, 1, ""
	others, err := s.Manager.ListOwn(r.HTTP.Context(), r.Caller, wanted)
	if err != nil {
		return Answer{}, err
	}
	p := minePage{
		Rows: s.tokenViews(found.Tokens), InForce: f.Me.InForce, Most: f.Me.MaxPerUser,
		New: s.url("new"), RevokeAll: s.url("revoke-all"), Toggle: s.url("?show=all"),
	}
	p.Why, p.Ask = whyNot(f.Me)
	p.Ended = max(others.Total, found.Total) - min(others.Total, found.Total)
	next := []string{"after", string(found.Next)}
	if p.All = r.Query["show"] == "all"; p.All {
		p.Toggle, next = s.url(""), append(next, "show", "all")
	}
	if found.Next != "" {
		p.Next = s.url("?" + encode(next...))
	}
	s.notice(f, r)
	return ok("mine", f, p)
}

// whyNot says why somebody may not create tokens for themselves, and what to ask an
// administrator for.
func whyNot(me *manage.Me) (why, ask string) {
	switch {
	case !me.MayUse:
		return text("why.use"), text("ask.use", me.Name)
	case !me.MayCreate:
		return text("why.create"), text("ask.create", me.Name)
	case me.InForce >= me.MaxPerUser:
		return text("why.limit", number(me.MaxPerUser)), ""
	}
	return "", ""
}
