package page

import (
	"net/url"

	"github.com/tokengate/tokengate/authz/manage"
)

// rotatePage is the form that gives a token a new secret.
type rotatePage struct {
	Form     *form
	Token    tokenView
	Overlaps []lifetime // none: it may have none in its state
	ending
}

// rotation shows the form.
func (s *Site) rotation(r *Request) (Answer, error) { return s.rotateForm(r, nil, nil) }

func (s *Site) rotateForm(r *Request, entered *form, refusal error) (Answer, error) {
	found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, r.ID)
	if err != nil {
		return Answer{}, err
	}
	f, err := s.layout(r, text("rotate.title", found.Name), tabOf(found))
	if err != nil {
		return Answer{}, err
	}
	now := s.Now().UTC()
	over := found.State == manage.StateExpired
	p := rotatePage{Form: entered, Token: s.tokenView(found, shownNetworks)}
	if p.Form == nil {
		p.Form = s.form(r, "token/"+r.ID+"/rotate", url.Values{}, seenSecret(found)...)
	}
	p.ending = p.Form.ending(latest(maxLifetimeFor(f.Me, found), now), now, !over)
	if found.State == manage.StateActive || found.State == manage.StateSuspended {
		p.Overlaps = overlaps(f.Me.MaxOverlap)
	}
	if _, given := p.Form.Values["overlap"]; !given {
		p.Form.Values.Set("overlap", usualOverlap(p.Overlaps))
	}
	if refusal == nil {
		return ok("rotate", f, p)
	}
	return refusedForm("rotate", f, p.Form, p, refusal)
}

// rotate gives a token a new secret and shows its value.
func (s *Site) rotate(r *Request) (Answer, error) {
	found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, r.ID)
	if err != nil {
		return Answer{}, err
	}
	form, done, err := s.take(r, "token/"+r.ID+"/rotate", seenSecret(found)...)
	if done != nil {
		return *done, nil
	}
	var issued manage.Issued
	if err == nil {
		issued, err = s.rotateFrom(r, form, found)
	}
	if err != nil {
		return s.rotateForm(r, form, err)
	}
	s.nonces.record(form.Get("nonce"), issued.Token.ID)
	return s.issued(r, issued, true)
}

// seenSecret is what somebody has seen of a token who rotates it: that there is an old
// value, too, which a rotation ends.
func seenSecret(t manage.Token) []string {
	return append(seen(t), t.PreviousUntil.String())
}

func (s *Site) rotateFrom(r *Request, f *form, found manage.Token) (issued manage.Issued, err error) {
	me, err := s.Manager.Me(r.HTTP.Context(), r.Caller)
	if err != nil {
		return issued, err
	}
	var wanted manage.Rotation
	if wanted.Overlap, err = f.overlap(); err != nil {
		return issued, err
	}
	now := s.Now().UTC()
	if wanted.Expires, err = f.expiry(latest(maxLifetimeFor(&me, found), now), now); err != nil {
		return issued, err
	}
	return s.Manager.Rotate(r.HTTP.Context(), r.Caller, r.ID, wanted)
}
