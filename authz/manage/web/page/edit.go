package page

import (
	"errors"
	"net/url"
	"reflect"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
)

// editPage is the form that changes a token.
type editPage struct {
	Form  *form
	Token tokenView
	ending
	Address string
}

// edit shows the form.
func (s *Site) edit(r *Request) (Answer, error) {
	found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, r.ID)
	if err != nil {
		return Answer{}, err
	}
	return s.editForm(r, found, nil, nil)
}

func (s *Site) editForm(r *Request, found manage.Token, entered *form, refusal error) (Answer, error) {
	f, err := s.layout(r, text("edit.title", found.Name), tabOf(found))
	if err != nil {
		return Answer{}, err
	}
	p := editPage{Form: entered, Token: s.tokenView(found, shownNetworks), Address: address(f.Me)}
	if p.Form == nil {
		values := url.Values{"name": {found.Name}, "purpose": {found.Purpose}, "networks": {joined(found.Networks)}}
		if found.ReadOnly {
			values.Set("readOnly", "true")
		}
		p.Form = s.form(r, "token/"+r.ID+"/edit", values, seen(found)...)
	}
	p.Form.Fixed = found.State == manage.StatePending && !f.Me.Administrator
	p.ending = p.Form.ending(latestOf(f.Me, found), s.Now().UTC(), true)
	if refusal == nil {
		return ok("edit", f, p)
	}
	return refusedForm("edit", f, p.Form, p, refusal)
}

// change changes a token in what the form has otherwise than the token.
func (s *Site) change(r *Request) (Answer, error) {
	found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, r.ID)
	if err != nil {
		return Answer{}, err
	}
	form, answer, err := s.take(r, "token/"+r.ID+"/edit", seen(found)...)
	switch {
	case answer != nil:
		return *answer, nil
	case errors.Is(err, errChanged):
		// What was entered is about another token than there is now.
		return s.editForm(r, found, nil, err)
	case err != nil:
		return s.editForm(r, found, form, err)
	}
	changed, err := s.changeFrom(r, found, form)
	if err != nil {
		return s.editForm(r, found, form, err)
	}
	done := "unchanged"
	if changed {
		done = "changed"
	}
	return s.seeOther("token/"+r.ID+"?"+encode(s.noticed(r, done, found.ID)...), found.ID), nil
}

// changeFrom reports whether there was anything to change.
func (s *Site) changeFrom(r *Request, found manage.Token, f *form) (changed bool, err error) {
	ctx := r.HTTP.Context()
	me, err := s.Manager.Me(ctx, r.Caller)
	if err != nil {
		return false, err
	}
	var wanted manage.Change
	if wanted.Expires, err = f.expiry(latestOf(&me, found), s.Now().UTC()); err != nil {
		return false, err
	}
	if name := f.Get("name"); name != found.Name {
		wanted.Name = &name
	}
	if purpose := f.Get("purpose"); purpose != found.Purpose {
		wanted.Purpose = &purpose
	}
	if readOnly := f.Has("readOnly"); readOnly != found.ReadOnly {
		wanted.ReadOnly = &readOnly
	}
	if f.Get("networks") != joined(found.Networks) || f.Has("here") {
		networks := f.networks(address(&me))
		wanted.Networks = &networks
	}
	if reflect.DeepEqual(wanted, manage.Change{}) {
		return false, nil
	}
	_, err = s.Manager.Change(ctx, r.Caller, r.ID, wanted)
	return true, err
}

// latestOf is when a token may end at the latest by a change, which gives it no new
// lifetime: as it does, or as a new one of the caller's could, had it been created
// with the token. Zero is never.
func latestOf(me *manage.Me, t manage.Token) time.Time {
	most := maxLifetimeFor(me, t)
	end := t.Created.Add(most.Duration)
	switch {
	case most.Unlimited, t.Expires.IsZero():
		return time.Time{}
	case end.Before(t.Expires): // it was rotated
		return t.Expires
	}
	return end
}
