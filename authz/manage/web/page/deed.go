package page

import (
	"context"
	"net/url"
	"strings"

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
	Rate           string
	Closed         bool // it is too late for it
	Question, Text string
	Button         string
	Danger         bool
	Back           string
}

// confirm asks.
func (s *Site) confirm(r *Request, d deed) (Answer, error) {
	found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, r.ID)
	if err != nil {
		return Answer{}, err
	}
	entered := s.form(r, d.below(r), url.Values{"from": {r.Query["from"]}, "list": {r.Query["list"]}}, seen(found))
	return s.deedForm(r, d, found, entered, d.closed(found))
}

// below is the deed's address.
func (d deed) below(r *Request) string { return "token/" + r.ID + "/" + d.word }

// closed is the refusal of a deed that makes no sense in the token's state: what
// somebody was asked about has happened meanwhile.
func (d deed) closed(t manage.Token) error {
	if d.open(t.State) {
		return nil
	}
	return &manage.Error{Code: manage.BadState, Message: text("deed.closed", strings.ToLower(text("state."+string(t.State))))}
}

func (s *Site) deedForm(r *Request, d deed, found manage.Token, entered *form, refusal error) (Answer, error) {
	f, err := s.frame(r, text("deed."+d.word), s.tabOf(r, found))
	if err != nil {
		return Answer{}, err
	}
	p := deedPage{
		Form: entered, Token: s.row(found, len(found.Networks)), Rate: rate(found.Rate), Danger: d.danger, Closed: !d.open(found.State),
		Question: text("deed."+d.word+".question", visible(found.Name)), Text: text("deed." + d.word + ".text"), Button: text("deed." + d.word + ".button"),
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
	for _, name := range noticeParameters {
		delete(list, name)
	}
	if all := with(list, more...); all != "" {
		return below + "?" + all
	}
	return below
}

// do does it.
func (s *Site) do(r *Request, d deed) (Answer, error) {
	found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, r.ID)
	if err != nil {
		return Answer{}, err
	}
	form, done, err := s.take(r, d.below(r), seen(found))
	if done != nil {
		return *done, nil
	}
	if closed := d.closed(found); closed != nil {
		err = closed
	}
	if err == nil {
		err = d.do(s.Manager, r.HTTP.Context(), r.Caller, r.ID)
	}
	if err != nil {
		return s.deedForm(r, d, found, form, err)
	}
	return s.seeOther(s.back(form, r.ID, s.noticed(r, d.done, found.ID)...), found.ID), nil
}
