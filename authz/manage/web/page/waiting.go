package page

import (
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
)

// waitingPage are the tokens that wait for approval.
type waitingPage struct {
	Rows  []waitingRow
	Total int
	Next  string
}

// waitingRow is one of them.
type waitingRow struct {
	row
	Approve, Refuse string // the addresses of the forms
}

// waiting shows the tokens that wait for approval, the oldest first.
func (s *Site) waiting(r *Request) (Answer, error) {
	f, err := s.frame(r, text("waiting.title"), "waiting")
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
	p := waitingPage{Total: found.Total}
	for _, t := range found.Tokens {
		w := waitingRow{row: s.row(t, len(t.Networks))}
		w.Approve, w.Refuse = w.URL+"/approve?from=waiting", w.URL+"/refuse?from=waiting"
		p.Rows = append(p.Rows, w)
	}
	if found.Next != "" {
		p.Next = s.url("waiting?" + encode("after", string(found.Next)))
	}
	s.notice(f, r)
	return ok("waiting", f, p)
}
