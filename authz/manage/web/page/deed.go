package page

import (
	"context"
	"net/url"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
)

// deed is something that is done to a token once somebody has said that it is meant.
type deed struct {
	word           string
	administrators bool
	danger         bool // it cannot be taken back
	open           func(manage.State) bool
	do             func(*manage.Manager, context.Context, manage.Caller, string) error
	done           string // the word for what was done
}

// deeds are all of them. To refuse a token that waits is to revoke it.
var deeds = []deed{
	{"approve", true, false, isOne(manage.StatePending), (*manage.Manager).Approve, "approved"},
	{"refuse", true, true, isOne(manage.StatePending), (*manage.Manager).Revoke, "refused"},
	{"disable", true, false, isOne(manage.StateActive, manage.StateSuspended), (*manage.Manager).Disable, "disabled"},
	{"enable", true, false, isOne(manage.StateDisabled), (*manage.Manager).Enable, "enabled"},
	{"revoke", false, true, isOne(manage.StatePending, manage.StateActive, manage.StateSuspended, manage.StateDisabled, manage.StateExpired), (*manage.Manager).Revoke, "revoked"},
}

func isOne(states ...manage.State) func(manage.State) bool {
	return func(s manage.State) bool {
		for _, one := range states {
			if s == one {
				return true
			}
		}
		return false
	}
}

// deedPage asks whether a deed is meant.
type deedPage struct {
	Form           *form
	Token          row
	Question, Text string
	Button         string
	Danger         bool
	Back           string
}

// confirm asks.
func (s *Site) confirm(r *Request, d deed) (Answer, error) {
	return s.deedForm(r, d, s.form(r, "token/"+r.ID+"/"+d.word, url.Values{"from": {r.Query["from"]}, "list": {r.Query["list"]}}), nil)
}

func (s *Site) deedForm(r *Request, d deed, entered *form, refusal error) (Answer, error) {
	found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, r.ID)
	if err != nil {
		return Answer{}, err
	}
	f, err := s.frame(r, text("deed."+d.word), "")
	if err != nil {
		return Answer{}, err
	}
	p := deedPage{
		Form: entered, Token: s.row(found, shownNetworks), Danger: d.danger,
		Question: text("deed." + d.word + ".question"), Text: text("deed." + d.word + ".text"), Button: text("deed." + d.word),
		Back: s.url(s.back(entered, r.ID)),
	}
	if refusal == nil {
		return ok("deed", f, p)
	}
	return refusedForm("deed", f, p.Form, p, refusal)
}

// back is the page that a form was opened from: a list as it was, or else the token.
// What the form says of the list is read as if it came in an address.
func (s *Site) back(f *form, id string, more ...string) string {
	below, list := "token/"+id, query.Values{}
	switch f.Get("from") {
	case "own":
		below = ""
	case "waiting":
		below = "waiting"
	case "tokens":
		below = "tokens"
		if asked, err := query.ReadForm(f.Get("list"), listParameters); err == nil {
			list = asked
		}
	}
	delete(list, "done")
	delete(list, "token")
	if all := with(list, more...); all != "" {
		return below + "?" + all
	}
	return below
}

// do does it.
func (s *Site) do(r *Request, d deed) (Answer, error) {
	form, done, err := s.take(r, "token/"+r.ID+"/"+d.word)
	if done != nil {
		return *done, nil
	}
	if err == nil {
		err = d.do(s.Manager, r.HTTP.Context(), r.Caller, r.ID)
	}
	if err != nil {
		return s.deedForm(r, d, form, err)
	}
	return s.seeOther(s.back(form, r.ID, "done", d.done, "token", r.ID), r.ID), nil
}
