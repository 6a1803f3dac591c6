package page

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
)

// deed is something that is done to a token once somebody has said that it is meant.
type deed struct {
	word           string
	done           string         // the word for what was done
	administrators bool           // nobody else may
	danger         bool           // it cannot be taken back
	open           []manage.State // of a token that it can be done to
	do             func(*manage.Manager, context.Context, manage.Caller, string) error
}

// deeds are all of them, the last the one that stands nowhere but among what waits:
// to refuse a token is to revoke it.
var deeds = []deed{
	{word: "approve", done: "approved", administrators: true, open: []manage.State{manage.StatePending}, do: (*manage.Manager).Approve},
	{word: "disable", done: "disabled", administrators: true, open: []manage.State{manage.StateActive, manage.StateSuspended}, do: (*manage.Manager).Disable},
	{word: "enable", done: "enabled", administrators: true, open: []manage.State{manage.StateDisabled}, do: (*manage.Manager).Enable},
	{
		word: "revoke", done: "revoked", danger: true, do: (*manage.Manager).Revoke,
		open: []manage.State{manage.StatePending, manage.StateActive, manage.StateSuspended, manage.StateDisabled, manage.StateExpired},
	},
	{word: "refuse", done: "refused", administrators: true, danger: true, open: []manage.State{manage.StatePending}, do: (*manage.Manager).Revoke},
}

// doing is a deed that is open for a token.
type doing struct {
	Word, Label, URL string
}

// doings are the deeds that somebody may do to a token; query goes behind each
// address.
func (s *Site) doings(t manage.Token, administrator bool, query string) (all []doing) {
	for _, d := range deeds[:len(deeds)-1] {
		if slices.Contains(d.open, t.State) && (administrator || !d.administrators) {
			all = append(all, doing{d.word, text("deed." + d.word), s.url("token/" + t.ID + "/" + d.word + query)})
		}
	}
	return all
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
	entered := s.form(r, d.below(r), url.Values{"from": {r.Query["from"]}, "list": {r.Query["list"]}}, seen(found)...)
	return s.deedForm(r, d, found, entered, d.closed(found))
}

// below is the deed's address.
func (d deed) below(r *Request) string { return "token/" + r.ID + "/" + d.word }

// closed is the refusal of a deed that makes no sense in the token's state: what
// somebody was asked about has happened meanwhile.
func (d deed) closed(t manage.Token) error {
	if slices.Contains(d.open, t.State) {
		return nil
	}
	return &Error{Status: http.StatusConflict, Text: text("deed.closed", strings.ToLower(text("state."+string(t.State))))}
}

func (s *Site) deedForm(r *Request, d deed, found manage.Token, entered *form, refusal error) (Answer, error) {
	f, err := s.frame(r, text("deed."+d.word), tabOf(found))
	if err != nil {
		return Answer{}, err
	}
	p := deedPage{
		Form: entered, Token: s.row(found, len(found.Networks)), Rate: rate(found.Rate), Danger: d.danger, Closed: !slices.Contains(d.open, found.State),
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
	if all := with(without(list, noticeParameters...), more...); all != "" {
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
	form, done, err := s.take(r, d.below(r), seen(found)...)
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
