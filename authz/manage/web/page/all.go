package page

import (
	"net/http"
	"net/url"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// confirmAllPage asks whether all tokens of somebody are to end.
type confirmAllPage struct {
	Form  *form
	Owner string
	Mine  bool
	Count int // tokens that are to end
	Back  string
}

// confirmAll asks whether all tokens of the caller, or of a user, are to end.
func (s *Site) confirmAll(r *Request) (Answer, error) {
	return s.revokeAllForm(r, r.Query["user"], nil)
}

func (s *Site) revokeAllForm(r *Request, user string, refusal error) (Answer, error) {
	f, err := s.layout(r, text("all.title"), "")
	if err != nil {
		return Answer{}, err
	}
	shown := visible(token.Redact(user))
	if user != "" && !f.Me.Administrator && refusal == nil {
		return *s.problem(r, http.StatusForbidden, "all.forbidden"), nil
	}
	p := confirmAllPage{Form: s.form(r, "revoke-all", url.Values{"user": {shown}}), Owner: shown, Mine: user == "", Back: s.url("")}
	list, wanted := s.Manager.List, manage.Query{InForce: true, Query: store.Query{Owner: user, Limit: 1}}
	if p.Mine {
		list = s.Manager.ListOwn
	}
	if p.Mine || f.Me.Administrator {
		found, err := list(r.HTTP.Context(), r.Caller, wanted)
		if err != nil {
			return Answer{}, err
		}
		p.Count = found.Total
	}
	if !p.Mine {
		p.Back = s.url("tokens?" + encode("user", shown))
	}
	if refusal == nil {
		return ok("all", f, p)
	}
	return refusedForm("all", f, p.Form, p, refusal)
}

// revokeAll ends them.
func (s *Site) revokeAll(r *Request) (Answer, error) {
	form, done, err := s.take(r, "revoke-all")
	if done != nil {
		return *done, nil
	}
	user := form.Get("user")
	if err == nil {
		err = s.Manager.RevokeAll(r.HTTP.Context(), r.Caller, user)
	}
	if err != nil {
		return s.revokeAllForm(r, user, err)
	}
	if user == "" {
		return s.seeOther("?"+encode(s.noticed(r, "all", "")...), ""), nil
	}
	return s.seeOther("tokens?"+encode(append(s.noticed(r, "all", ""), "user", user)...), ""), nil
}
