package page

import (
	"errors"
	"net/url"
	"reflect"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// createPage is the form that creates a token.
type createPage struct {
	Form *form
	expiryFields
	Max     string        // the maximum lifetime of the caller's tokens; "": none
	Terms   *policy.Terms // of the caller's own tokens; nil: none
	Rate    string        // "": none
	Address string        // the caller's; "": unknown
	Others  bool          // the caller may create tokens for other users
	Forced  bool          // the token must be read-only
	Pending bool          // the token needs approval
	Consent string        // to be connected, "required" or, if the token may be another user's, "optional"; "": not asked for
	Why     string        // the word for why there is no form; "": there is one
	Back    string
}

// newToken shows the form.
func (s *Site) newToken(r *Request, l *layout) (Answer, error) {
	return s.createForm(r, l, s.form(r, "new", url.Values{"user": {visible(r.Query["user"])}}), nil)
}

func (s *Site) createForm(r *Request, l *layout, f *form, refusal error) (Answer, error) {
	now, most := s.Now().UTC(), maxLifetimeOf(l.Me)
	p := createPage{Form: f, Terms: l.Me.Terms, Address: address(l.Me), Others: l.Me.ForOthers, Back: s.url("")}
	p.expiryFields = f.expiryFields(latest(most, now), now, false)
	if !most.Unlimited {
		p.Max = lifetimeLabel(most)
	}
	if p.Terms != nil {
		p.Forced, p.Pending, p.Rate = p.Terms.ReadOnly, p.Terms.Approval, rate(p.Terms.Rate)
	}
	if !p.Others {
		p.Why = whyNot(l.Me)
	}
	if mustConsent(l) && isForCaller(f, l) {
		p.Consent = "required"
		if p.Others {
			p.Consent = "optional"
		}
	}
	if user := f.Get("user"); user != "" && l.Me.Administrator {
		p.Back = s.url("tokens?" + encode("user", visible(token.Redact(user))))
	}
	return showForm("create", l, f, p, refusal)
}

// isForCaller reports whether the form is for a token of the caller's own.
func isForCaller(f *form, l *layout) bool {
	return !f.Has("user") || store.FoldOwner(f.Get("user")) == store.FoldOwner(l.Me.Name)
}

// whyNot returns a word for why the caller cannot create tokens; "": they can.
func whyNot(me *manage.Me) string {
	switch {
	case !me.MayUse:
		return "use"
	case !me.MayCreate:
		return "create"
	case me.InForce >= me.MaxPerUser:
		return "limit"
	}
	return ""
}

// create creates a token and shows its value.
func (s *Site) create(r *Request, l *layout) (Answer, error) {
	return s.submit(r, l, "new", nil, func(f *form) (Answer, error) {
		now := s.Now().UTC()
		expires, err := f.expiry(latest(maxLifetimeOf(l.Me), now), now)
		if err != nil {
			return Answer{}, err
		}
		if mustConsent(l) && isForCaller(f, l) {
			if err := f.consented(); err != nil {
				return Answer{}, err
			}
		}
		issued, err := s.Manager.Create(r.HTTP.Context(), r.Caller, manage.NewToken{
			Owner:    f.Get("user"),
			Name:     f.Get("name"),
			Purpose:  f.Get("purpose"),
			Expires:  expires,
			ReadOnly: f.Has("readOnly"),
			Networks: f.networks(address(l.Me)),
		})
		if err != nil {
			return Answer{}, err
		}
		if issued.Token.State == manage.StatePending {
			l.Waiting++ // it was counted before
		}
		return s.issued(r, l, f, issued, false)
	}, func(f *form, refusal error) (Answer, error) { return s.createForm(r, l, f, refusal) })
}

// rotatePage is the form that gives a token a new value.
type rotatePage struct {
	Form     *form
	Token    tokenView
	Overlaps []choice // none: the token is in no state for an overlap
	expiryFields
}

// rotation shows the form.
func (s *Site) rotation(r *Request, l *layout, found manage.Token) (Answer, error) {
	return s.rotateForm(l, found, s.form(r, "token/"+r.ID+"/rotate", url.Values{}, seenSecret(found)...), nil)
}

func (s *Site) rotateForm(l *layout, found manage.Token, f *form, refusal error) (Answer, error) {
	now := s.Now().UTC()
	p := rotatePage{Form: f, Token: s.tokenView(found, shownNetworks)}
	p.expiryFields = f.expiryFields(latest(maxLifetimeFor(l.Me, found), now), now, found.State != manage.StateExpired)
	if found.State == manage.StateActive || found.State == manage.StateSuspended {
		p.Overlaps = overlaps(l.Me.MaxOverlap)
	}
	if _, given := f.Values["overlap"]; !given {
		f.Values.Set("overlap", usualOverlap(p.Overlaps))
	}
	return showForm("rotate", l, f, p, refusal)
}

// rotate gives a token a new value and shows it.
func (s *Site) rotate(r *Request, l *layout, found manage.Token) (Answer, error) {
	return s.submit(r, l, "token/"+r.ID+"/rotate", seenSecret(found), func(f *form) (Answer, error) {
		overlap, err := f.overlap()
		if err != nil {
			return Answer{}, err
		}
		now := s.Now().UTC()
		expires, err := f.expiry(latest(maxLifetimeFor(l.Me, found), now), now)
		if err != nil {
			return Answer{}, err
		}
		issued, err := s.Manager.Rotate(r.HTTP.Context(), r.Caller, r.ID, manage.Rotation{Overlap: overlap, Expires: expires})
		if err != nil {
			return Answer{}, err
		}
		return s.issued(r, l, f, issued, true)
	}, func(f *form, refusal error) (Answer, error) { return s.rotateForm(l, found, f, refusal) })
}

// seenSecret is seen for a rotation, which also ends the old secret.
func seenSecret(t manage.Token) []string {
	return append(seen(t), t.PreviousUntil.String())
}

// issuedPage shows a token's value; no other page does.
type issuedPage struct {
	Token    tokenView
	Value    string
	Rotated  bool
	Pending  bool
	Examples []example
	Done     string // the address of the next page
}

// example is a program that uses a token.
type example struct {
	Title, Code string
}

// issued shows the value of a token that a form created or rotated.
func (s *Site) issued(r *Request, l *layout, f *form, i manage.Issued, rotated bool) (Answer, error) {
	_ = s.nonces.record(r.HTTP.Context(), f.Get("nonce"), i.Token.ID) // if it fails, a repetition of the form does not name the token
	l.Tab = tabOf(i.Token)
	p := issuedPage{
		Token: s.tokenView(i.Token, len(i.Token.Networks)), Value: i.Value.Reveal(), Rotated: rotated,
		Pending: i.Token.State == manage.StatePending, Done: s.url("token/" + i.Token.ID),
	}
	if i.Token.Owner != "" {
		p.Examples = examples(s.PublicURL+s.product().Example, i.Token.Owner)
	}
	a, err := ok("issued", l, p)
	a.Token = i.Token.ID
	return a, err
}

// examples returns programs that use a token of the owner. They are complete except
// for the value, which belongs into the environment.
func examples(url, owner string) (all []example) {
	about := struct{ URL, Owner string }{url, owner}
	for _, name := range []string{"curl.user", "curl.bearer", "python", "fetch", "xhr", "jquery", "java"} {
		all = append(all, example{text("example." + name + ".title"), text("example."+name, about)})
	}
	return all
}

// editPage is the form that edits a token.
type editPage struct {
	Form  *form
	Token tokenView
	expiryFields
	Address string
}

// edit shows the form.
func (s *Site) edit(r *Request, l *layout, found manage.Token) (Answer, error) {
	return s.editForm(r, l, found, nil, nil)
}

// editForm shows the form with the entered values; without any, with those of the token.
func (s *Site) editForm(r *Request, l *layout, found manage.Token, f *form, refusal error) (Answer, error) {
	if f == nil {
		values := url.Values{"name": {found.Name}, "purpose": {found.Purpose}, "networks": {joined(found.Networks)}}
		if found.ReadOnly {
			values.Set("readOnly", "true")
		}
		f = s.form(r, "token/"+r.ID+"/edit", values, seen(found)...)
	}
	f.Fixed = found.State == manage.StatePending && !l.Me.Administrator
	p := editPage{Form: f, Token: s.tokenView(found, shownNetworks), Address: address(l.Me)}
	p.expiryFields = f.expiryFields(latestOf(l.Me, found), s.Now().UTC(), true)
	return showForm("edit", l, f, p, refusal)
}

// change changes the fields of a token that differ in the form.
func (s *Site) change(r *Request, l *layout, found manage.Token) (Answer, error) {
	return s.submit(r, l, "token/"+r.ID+"/edit", seen(found), func(f *form) (Answer, error) {
		wanted, err := s.changes(l.Me, found, f)
		if err != nil {
			return Answer{}, err
		}
		done := "unchanged"
		if !reflect.DeepEqual(wanted, manage.Change{}) {
			done = "changed"
			if _, err := s.Manager.Change(r.HTTP.Context(), r.Caller, r.ID, wanted); err != nil {
				return Answer{}, err
			}
		}
		return s.seeOther("token/"+r.ID+"?"+encode(s.noticed(r, done, "")...), found.ID), nil
	}, func(f *form, refusal error) (Answer, error) {
		if errors.Is(refusal, errChanged) {
			f = nil // the entered values were about an older state
		}
		return s.editForm(r, l, found, f, refusal)
	})
}

// changes returns the fields that differ in the form.
func (s *Site) changes(me *manage.Me, found manage.Token, f *form) (wanted manage.Change, err error) {
	if wanted.Expires, err = f.expiry(latestOf(me, found), s.Now().UTC()); err != nil {
		return wanted, err
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
		networks := f.networks(address(me))
		wanted.Networks = &networks
	}
	return wanted, nil
}
