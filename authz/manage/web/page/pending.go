package page

import (
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
)

// pendingPage are the tokens that wait for approval.
type pendingPage struct {
	Rows  []pendingToken
	Total int
	Next  string
}

// pendingToken is one of them.
type pendingToken struct {
	tokenView
	Approve, Refuse string // the addresses of the forms
}

// pending shows the tokens that wait for approval, the oldest first.
func (s *Site) pending(r *Request) (Answer, error) {
	f, err := s.layout(r, text("pending.title"), "pending")
	if err != nil {
		return Answer{}, err
	}
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
		w := pendingToken{tokenView: s.tokenView(t, len(t.Networks))}
		w.Approve, w.Refuse = w.URL+"/approve?from=pending", w.URL+"/refuse?from=pending"
		p.Rows = append(p.Rows, w)
	}
	if found.Next != "" {
		p.Next = s.url("pending?" + encode("after", string(found.Next)))
	}
	s.notice(f, r)
	return ok("pending", f, p)
}
