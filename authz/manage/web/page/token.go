package page

import (
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

// tokenPage is one token and what may be done with it.
type tokenPage struct {
	Token          tokenView
	Rate           string
	Administrator  bool
	Actions        []actionLink
	Rotate, Edit   string // the addresses of the forms; empty: it is in no state for it
	Explain, Audit string
	Back           string
}

// token shows one token.
func (s *Site) token(r *Request) (Answer, error) {
	found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, r.ID)
	if err != nil {
		return Answer{}, err
	}
	f, err := s.layout(r, text("token.title", found.Name), tabOf(found))
	if err != nil {
		return Answer{}, err
	}
	below := "token/" + found.ID
	p := tokenPage{
		Token: s.tokenView(found, len(found.Networks)), Rate: rate(found.Rate), Administrator: f.Me.Administrator,
		Actions: s.actionLinks(found, f.Me.Administrator, ""), Back: s.url(""), Explain: s.url("test?" + encode("id", found.ID)),
	}
	if f.Me.Administrator {
		p.Audit = s.url("audit?" + encode("tokenId", found.ID))
	}
	if f.Me.Administrator && !found.Mine {
		p.Back = s.url("tokens")
	}
	if found.State != manage.StateRevoked && found.State != manage.StatePending {
		p.Rotate = s.url(below + "/rotate")
	}
	if p.Token.InForce {
		p.Edit = s.url(below + "/edit")
	}
	s.notice(f, r)
	a, err := ok("token", f, p)
	a.Token = found.ID
	return a, err
}

// tabOf is the tab that a token belongs to.
func tabOf(t manage.Token) string {
	if t.Mine {
		return ""
	}
	return "tokens"
}

// rate returns a rate in words, or "" for none.
func rate(r store.Rate) string {
	if r == (store.Rate{}) {
		return ""
	}
	return config.Rate{Requests: int(r.Requests), Per: r.Per, Burst: int(r.Burst)}.String()
}
