package page

import (
	"net/url"
	"slices"
	"strconv"

	"github.com/tokengate/tokengate/authz/manage"
)

// pageSize is how many tokens or records stand on a page.
const pageSize = 50

// ownPage is what somebody sees of their own tokens.
type ownPage struct {
	Rows          []row
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

// own shows the caller's own tokens: those in force first, the newest first.
func (s *Site) own(r *Request) (Answer, error) {
	f, err := s.frame(r, text("own.title"), "")
	if err != nil {
		return Answer{}, err
	}
	all, err := s.Manager.Own(r.HTTP.Context(), r.Caller)
	if err != nil {
		return Answer{}, err
	}
	p := ownPage{
		InForce: f.Me.InForce, Most: f.Me.MaxPerUser, All: r.Query["show"] == "all",
		New: s.url("new"), RevokeAll: s.url("revoke-all"), Toggle: s.url("") + "?show=all",
	}
	p.Why, p.Ask = whyNot(f.Me)
	slices.Reverse(all)
	var live, ended []manage.Token
	for _, t := range all {
		if t.State == manage.StateRevoked || t.State == manage.StateExpired {
			ended = append(ended, t)
		} else {
			live = append(live, t)
		}
	}
	p.Ended = len(ended)
	if p.All {
		live, p.Toggle = append(live, ended...), s.url("")
	}
	number, _ := strconv.Atoi(r.Query["page"])
	from := min(max(number-1, 0)*pageSize, len(live))
	to := min(from+pageSize, len(live))
	if to < len(live) {
		next := url.Values{"page": {strconv.Itoa(from/pageSize + 2)}}
		if p.All {
			next.Set("show", "all")
		}
		p.Next = s.url("") + "?" + next.Encode()
	}
	p.Rows = s.rows(live[from:to])
	f.notice(r)
	return ok("own", f, p)
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
		return text("why.limit", me.MaxPerUser), ""
	}
	return "", ""
}

// encode returns parameters, given by name and value in turn, for an address.
func encode(pairs ...string) string {
	return with(nil, pairs...)
}
