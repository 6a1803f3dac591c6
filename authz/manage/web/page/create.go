package page

import (
	"net/url"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
)

// createPage is the form that creates a token.
type createPage struct {
	Form *form
	ending
	Max      string        // how long the caller's tokens may live; "" for any time
	Terms    *policy.Terms // that bind the caller's own tokens; nil: none
	Rate     string        // of those; "" for none
	Address  string        // where the caller is; "" if that is not known
	Others   bool          // the token may be for somebody else
	Forced   bool          // the scope is not the caller's to choose
	Pending  bool          // it waits for approval
	Why, Ask string        // why there is no form, and what to ask for
	Back     string
}

// newToken shows the form.
func (s *Site) newToken(r *Request) (Answer, error) {
	return s.createForm(r, s.form(r, "new", url.Values{"user": {visible(r.Query["user"])}}), nil)
}

// createForm shows the form that creates a token: filled with what was entered,
// where that was refused.
func (s *Site) createForm(r *Request, entered *form, refusal error) (Answer, error) {
	f, err := s.layout(r, text("create.title"), "")
	if err != nil {
		return Answer{}, err
	}
	now, most := s.Now().UTC(), maxLifetimeOf(f.Me)
	p := createPage{Form: entered, Terms: f.Me.Terms, Address: address(f.Me), Others: f.Me.ForOthers, Back: s.url("")}
	p.ending = p.Form.ending(latest(most, now), now, false)
	if !most.Unlimited {
		p.Max = lifetimeLabel(most)
	}
	if p.Terms != nil {
		p.Forced, p.Pending = p.Terms.ReadOnly, p.Terms.Approval
		if p.Terms.Rate.Requests > 0 {
			p.Rate = p.Terms.Rate.String()
		}
	}
	if !p.Others {
		p.Why, p.Ask = whyNot(f.Me)
	}
	if user := p.Form.Get("user"); user != "" && f.Me.Administrator {
		p.Back = s.url("tokens?" + encode("user", visible(token.Redact(user))))
	}
	if refusal == nil {
		return ok("create", f, p)
	}
	return refusedForm("create", f, p.Form, p, refusal)
}

// create creates a token and shows its value.
func (s *Site) create(r *Request) (Answer, error) {
	form, done, err := s.take(r, "new")
	if done != nil {
		return *done, nil
	}
	var issued manage.Issued
	if err == nil {
		issued, err = s.createFrom(r, form)
	}
	if err != nil {
		return s.createForm(r, form, err)
	}
	s.nonces.record(form.Get("nonce"), issued.Token.ID)
	return s.issued(r, issued, false)
}

func (s *Site) createFrom(r *Request, f *form) (manage.Issued, error) {
	ctx := r.HTTP.Context()
	me, err := s.Manager.Me(ctx, r.Caller)
	if err != nil {
		return manage.Issued{}, err
	}
	expires, err := f.expiry(latest(maxLifetimeOf(&me), s.Now().UTC()), s.Now().UTC())
	if err != nil {
		return manage.Issued{}, err
	}
	return s.Manager.Create(ctx, r.Caller, manage.NewToken{
		Owner:    f.Get("user"),
		Name:     f.Get("name"),
		Purpose:  f.Get("purpose"),
		Expires:  expires,
		ReadOnly: f.Has("readOnly"),
		Networks: f.networks(address(&me)),
	})
}
