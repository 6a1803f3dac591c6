package page

import "net/url"

// confirmAllPage asks whether all tokens of somebody are to end.
type confirmAllPage struct {
	Form  *form
	Owner string
	Mine  bool
	Back  string
}

// confirmAll asks whether all tokens of the caller, or of a user, are to end.
func (s *Site) confirmAll(r *Request) (Answer, error) {
	return s.askAll(r, r.Query["user"], nil)
}

func (s *Site) askAll(r *Request, user string, refusal error) (Answer, error) {
	f, err := s.frame(r, text("all.title"), "")
	if err != nil {
		return Answer{}, err
	}
	p := confirmAllPage{Form: s.form(r, "revoke-all", url.Values{"user": {user}}), Owner: user, Mine: user == "", Back: s.url("")}
	if !p.Mine {
		p.Back = s.url("tokens?" + encode("user", user))
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
		return s.askAll(r, user, err)
	}
	if user == "" {
		return s.seeOther("?done=all", ""), nil
	}
	return s.seeOther("tokens?"+encode("user", user, "done", "all"), ""), nil
}
