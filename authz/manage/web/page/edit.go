package page

import (
	"net/url"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
)

// editPage is the form that changes a token.
type editPage struct {
	Form      *form
	Token     row
	Lifetimes []lifetime
	Today     string
	LastDay   string // any: which is the last counts from the token's creation
	Address   string
}

// edit shows the form.
func (s *Site) edit(r *Request) (Answer, error) { return s.editForm(r, nil, nil) }

func (s *Site) editForm(r *Request, entered *form, refusal error) (Answer, error) {
	found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, r.ID)
	if err != nil {
		return Answer{}, err
	}
	f, err := s.frame(r, text("edit.title", visible(found.Name)), "")
	if err != nil {
		return Answer{}, err
	}
	p := editPage{Form: entered, Token: s.row(found, shownNetworks), Today: s.Now().UTC().Format("2006-01-02"), Address: address(f.Me)}
	if p.Form == nil {
		values := url.Values{"name": {found.Name}, "purpose": {found.Purpose}, "networks": {joined(found.Networks)}}
		if found.ReadOnly {
			values.Set("readOnly", "true")
		}
		p.Form = s.form(r, "token/"+r.ID+"/edit", values)
	}
	var chosen string
	p.Lifetimes, chosen = lifetimes(mostOf(f.Me), true)
	if !p.Form.Has("lifetime") {
		p.Form.Values.Set("lifetime", chosen)
	}
	if refusal == nil {
		return ok("edit", f, p)
	}
	return refusedForm("edit", f, p.Form, p, refusal)
}

// change changes a token in what the form has otherwise than the token.
func (s *Site) change(r *Request) (Answer, error) {
	form, done, err := s.take(r, "token/"+r.ID+"/edit")
	if done != nil {
		return *done, nil
	}
	if err == nil {
		err = s.changeFrom(r, form)
	}
	if err != nil {
		return s.editForm(r, form, err)
	}
	return s.seeOther("token/"+r.ID+"?done=changed", r.ID), nil
}

func (s *Site) changeFrom(r *Request, f *form) error {
	ctx := r.HTTP.Context()
	me, err := s.Manager.Me(ctx, r.Caller)
	if err != nil {
		return err
	}
	found, err := s.Manager.Get(ctx, r.Caller, r.ID)
	if err != nil {
		return err
	}
	var wanted manage.Change
	// A change of a lifetime counts from the token's creation, so the rule's last
	// day is the manager's to say.
	if wanted.Expires, err = f.expiry(config.Lifetime{Unlimited: true}, s.Now().UTC()); err != nil {
		return err
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
	_, err = s.Manager.Change(ctx, r.Caller, r.ID, wanted)
	return err
}
