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

// action is something that is done to a token once somebody has said that it is meant.
type action struct {
	word           string
	done           string         // the word for what was done
	administrators bool           // nobody else may
	danger         bool           // it cannot be taken back
	open           []manage.State // of a token that it can be done to
	do             func(*manage.Manager, context.Context, manage.Caller, string) error
}

// actions are all of them, the last the one that stands nowhere but among what waits:
// to refuse a token is to revoke it.
var actions = []action{
	{word: "approve", done: "approved", administrators: true, open: []manage.State{manage.StatePending}, do: (*manage.Manager).Approve},
	{word: "disable", done: "disabled", administrators: true, open: []manage.State{manage.StateActive, manage.StateSuspended}, do: (*manage.Manager).Disable},
	{word: "enable", done: "enabled", administrators: true, open: []manage.State{manage.StateDisabled}, do: (*manage.Manager).Enable},
	{
		word: "revoke", done: "revoked", danger: true, do: (*manage.Manager).Revoke,
		open: []manage.State{manage.StatePending, manage.StateActive, manage.StateSuspended, manage.StateDisabled, manage.StateExpired},
	},
	{word: "refuse", done: "refused", administrators: true, danger: true, open: []manage.State{manage.StatePending}, do: (*manage.Manager).Revoke},
}

// actionLink is a deed that is open for a token.
type actionLink struct {
	Word, Label, URL string
}

// actionLinks are the deeds that somebody may do to a token; query goes behind each
// address.
func (s *Site) actionLinks(t manage.Token, administrator bool, query string) (all []actionLink) {
	for _, d := range actions[:len(actions)-1] {
		if slices.Contains(d.open, t.State) && (administrator || !d.administrators) {
			all = append(all, actionLink{d.word, text("confirm." + d.word), s.url("token/" + t.ID + "/" + d.word + query)})
		}
	}
	return all
}

// actionPage asks whether a deed is meant.
type actionPage struct {
	Form           *form
	Token          tokenView
	Rate           string
	Closed         bool // it is too late for it
	Question, Text string
	Button         string
	Danger         bool
	Back           string
}

// confirm asks.
func (s *Site) confirm(r *Request, d action) (Answer, error) {
	found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, r.ID)
	if err != nil {
		return Answer{}, err
	}
	entered := s.form(r, d.below(r), url.Values{"from": {r.Query["from"]}, "list": {r.Query["list"]}}, seen(found)...)
	return s.actionForm(r, d, found, entered, d.closed(found))
}

// below is the deed's address.
func (d action) below(r *Request) string { return "token/" + r.ID + "/" + d.word }

// closed is the refusal of a deed that makes no sense in the token's state: what
// somebody was asked about has happened meanwhile.
func (d action) closed(t manage.Token) error {
	if slices.Contains(d.open, t.State) {
		return nil
	}
	return &Error{Status: http.StatusConflict, Text: text("confirm.closed", strings.ToLower(text("state."+string(t.State))))}
}

func (s *Site) actionForm(r *Request, d action, found manage.Token, entered *form, refusal error) (Answer, error) {
	f, err := s.layout(r, text("confirm."+d.word), tabOf(found))
	if err != nil {
		return Answer{}, err
	}
	p := actionPage{
		Form: entered, Token: s.tokenView(found, len(found.Networks)), Rate: rate(found.Rate), Danger: d.danger, Closed: !slices.Contains(d.open, found.State),
		Question: text("confirm."+d.word+".question", visible(found.Name)), Text: text("confirm." + d.word + ".text"), Button: text("confirm." + d.word + ".button"),
		Back: s.url(s.back(entered, r.ID)),
	}
	if refusal == nil {
		return ok("action", f, p)
	}
	return refusedForm("action", f, p.Form, p, refusal)
}

// back is the page that a form was opened from: a list as it was, or else the token.
// What the form says of the list is read as if it came in an address.
func (s *Site) back(f *form, id string, more ...string) string {
	below, list := "token/"+id, query.Values{}
	switch f.Get("from") {
	case "own":
		below = ""
	case "pending":
		below = "pending"
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

// doAction does it.
func (s *Site) doAction(r *Request, d action) (Answer, error) {
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
		return s.actionForm(r, d, found, form, err)
	}
	return s.seeOther(s.back(form, r.ID, s.noticed(r, d.done, found.ID)...), found.ID), nil
}
