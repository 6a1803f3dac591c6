package page

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web/query"
	"github.com/tokengate/tokengate/store"
)

// tokenView is a token as pages show it.
type tokenView struct {
	manage.Token
	URL        string // of its page
	OwnerURL   string // of the owner's tokens
	Word       string // the state
	Why        string // what the state means
	Created    timestamp
	Expires    *timestamp // nil: never
	Soon       bool       // it expires within soon
	Used       *timestamp // nil: never
	Revoked    *timestamp
	Previous   *timestamp // when the old secret ends; nil: there is none
	Address    string     // of the last use
	Networks   []string
	More       int // further networks
	Management bool
	InForce    bool
}

const (
	soon          = 14 * day // before its expiry a token is marked
	shownNetworks = 2        // of a token in a listing
)

// tokenView returns a token with at most the given number of networks.
func (s *Site) tokenView(t manage.Token, networks int) tokenView {
	now := s.Now().UTC()
	v := tokenView{
		Token: t, URL: s.url("token/" + t.ID), OwnerURL: s.url("tokens?" + encode("user", t.Owner)),
		Word: text("state." + string(t.State)), Why: text("state." + string(t.State) + ".why"),
		Created: when(t.Created, now), Management: t.Kind == store.Management,
		InForce: t.State != manage.StateRevoked && t.State != manage.StateExpired,
	}
	v.Name, v.Owner, v.Purpose, v.CreatedBy = visible(t.Name), visible(t.Owner), visible(t.Purpose), visible(t.CreatedBy)
	v.Expires, v.Used = optionalTime(t.Expires, now), optionalTime(t.Usage.LastUsed, now)
	v.Revoked, v.Previous = optionalTime(t.Revoked, now), optionalTime(t.PreviousUntil, now)
	v.Soon = v.InForce && v.Expires != nil && t.Expires.Sub(now) <= soon
	if a := t.Usage.LastAddress; a.IsValid() {
		v.Address = a.String()
	}
	shown := t.Networks[:min(networks, len(t.Networks))]
	for _, n := range shown {
		v.Networks = append(v.Networks, networkText(n))
	}
	v.More = len(t.Networks) - len(shown)
	return v
}

// seen returns the properties of a token that its page shows, except those that change
// without a change to the token.
func seen(t manage.Token) []string {
	name, purpose := t.Name, t.Purpose
	t.Name, t.Purpose, t.Usage, t.PreviousUntil = "", "", store.Usage{}, time.Time{}
	if t.State == manage.StateSuspended {
		t.State = manage.StateActive // only the owner's status differs
	}
	return []string{name, purpose, fmt.Sprintf("%+v", t)}
}

// tabOf returns the tab that lists a token.
func tabOf(t manage.Token) string {
	if t.Mine {
		return ""
	}
	return "tokens"
}

// tokenPage is a token and the actions on it.
type tokenPage struct {
	Token          tokenView
	Rate           string
	Administrator  bool
	Actions        []actionLink
	Rotate, Edit   string // the addresses of the forms; empty: the state forbids it
	Explain, Audit string
	Back           string
}

// token shows one token.
func (s *Site) token(r *Request, l *layout, found manage.Token) (Answer, error) {
	below := "token/" + found.ID
	p := tokenPage{
		Token: s.tokenView(found, len(found.Networks)), Rate: rate(found.Rate), Administrator: l.Me.Administrator,
		Actions: s.actionLinks(found, l.Me.Administrator, ""), Back: s.url(tabOf(found)), Explain: s.url("explain?" + encode("id", found.ID)),
	}
	if l.Me.Administrator {
		p.Audit = s.url("audit?" + encode("tokenId", found.ID))
	}
	if found.State != manage.StateRevoked && found.State != manage.StatePending {
		p.Rotate = s.url(below + "/rotate")
	}
	if p.Token.InForce {
		p.Edit = s.url(below + "/edit")
	}
	s.notice(l, r)
	a, err := ok("token", l, p)
	a.Token = found.ID
	return a, err
}

// rate returns a rate in words, or "" for none.
func rate(r config.Rate) string {
	if r == (config.Rate{}) {
		return ""
	}
	return r.String()
}

// action is a change to a token that the caller confirms first.
type action struct {
	word           string         // in addresses and names of texts
	done           string         // its participle
	administrators bool           // only they may do it
	danger         bool           // it revokes, which cannot be undone
	open           []manage.State // in which it is possible
	do             func(*manage.Manager, context.Context, manage.Caller, string) error
}

// actions are all actions. The last, refuse, is a revocation that is offered only for
// pending tokens.
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

// actionLink leads to an action on a token.
type actionLink struct {
	Word, Label, URL string
}

// actionLinks returns the actions that are possible on a token. query is appended to
// each address.
func (s *Site) actionLinks(t manage.Token, administrator bool, query string) (all []actionLink) {
	for _, a := range actions[:len(actions)-1] {
		if slices.Contains(a.open, t.State) && (administrator || !a.administrators) {
			all = append(all, actionLink{a.word, text("confirm." + a.word), s.url("token/" + t.ID + "/" + a.word + query)})
		}
	}
	return all
}

// actionPage asks for the confirmation of an action.
type actionPage struct {
	Form                  *form
	Token                 tokenView
	Rate                  string
	Closed                bool // the token's state no longer allows it
	Question, Text, Label string
	Danger                bool
	Back                  string
}

// on serves a page about the action.
func (a action) on(serve func(*Request, *layout, manage.Token, action) (Answer, error)) tokenPageFunc {
	return func(r *Request, l *layout, found manage.Token) (Answer, error) { return serve(r, l, found, a) }
}

// confirm asks for the confirmation of an action.
func (s *Site) confirm(r *Request, l *layout, found manage.Token, a action) (Answer, error) {
	f := s.form(r, "token/"+r.ID+"/"+a.word, url.Values{"from": {r.Query["from"]}, "list": {r.Query["list"]}}, seen(found)...)
	return s.actionForm(r, l, a, found, f, a.closed(found))
}

// closed returns an error if the token's state does not allow the action.
func (a action) closed(t manage.Token) error {
	if slices.Contains(a.open, t.State) {
		return nil
	}
	return &Error{Status: http.StatusConflict, Text: text("confirm.closed", strings.ToLower(text("state."+string(t.State))))}
}

func (s *Site) actionForm(r *Request, l *layout, a action, found manage.Token, f *form, refusal error) (Answer, error) {
	name := "confirm." + a.word
	p := actionPage{
		Form: f, Token: s.tokenView(found, len(found.Networks)), Rate: rate(found.Rate), Danger: a.danger, Closed: a.closed(found) != nil,
		Question: text(name+".question", visible(found.Name)), Text: text(name + ".text"), Label: text(name),
		Back: s.url(s.back(f, r.ID)),
	}
	return showForm("action", l, f, p, refusal)
}

// doAction does an action that was confirmed.
func (s *Site) doAction(r *Request, l *layout, found manage.Token, a action) (Answer, error) {
	return s.submit(r, l, "token/"+r.ID+"/"+a.word, seen(found), func(f *form) (Answer, error) {
		if err := a.closed(found); err != nil {
			return Answer{}, err
		}
		err := a.do(s.Manager, r.HTTP.Context(), r.Caller, r.ID)
		return s.seeOther(s.back(f, r.ID, s.noticed(r, a.done, found.ID)...), found.ID), err
	}, func(f *form, refusal error) (Answer, error) {
		if closed := a.closed(found); closed != nil {
			refusal = closed
		}
		return s.actionForm(r, l, a, found, f, refusal)
	})
}

// back returns the page a form was opened from, with more parameters: a list with its
// filters, which are checked like those of an address, or the token's page.
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
