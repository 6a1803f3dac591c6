package page

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

// trialPage is the form that tries a request, and what came of it.
type trialPage struct {
	Form    *form
	Own     []manage.Token // to choose from
	Methods []string
	Result  *trialResult // nil: nothing was tried yet
}

// trialResult says how a request would be decided.
type trialResult struct {
	Good    bool
	Outcome string
	Text    string // what Status means
	Status  int
	Decides string // the rule that decides
	Rules   []ruleResult
}

// ruleResult is what one rule says.
type ruleResult struct {
	Rule, Result, Class string
}

var trialMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

// trial shows the form. A token's value is asked for as a password, and is never
// shown again.
func (s *Site) trial(r *Request) (Answer, error) {
	return s.trialForm(r, s.form(r, "test", url.Values{"id": {r.Query["id"]}}), nil, nil)
}

func (s *Site) trialForm(r *Request, entered *form, result *trialResult, refusal error) (Answer, error) {
	f, err := s.frame(r, text("trial.title"), "test")
	if err != nil {
		return Answer{}, err
	}
	p := trialPage{Form: entered, Methods: trialMethods, Result: result}
	entered.Values.Del("value")
	entered.redact()
	for name, usual := range map[string]string{"method": "GET", "path": s.ContextPath + "/rest/api/2/myself", "address": address(f.Me)} {
		if _, given := entered.Values[name]; !given {
			entered.Values.Set(name, usual)
		}
	}
	own, err := s.Manager.ListOwn(r.HTTP.Context(), r.Caller, manage.Query{InForce: true, Query: store.Query{Descending: true, Limit: pageSize}})
	if err != nil {
		return Answer{}, err
	}
	p.Own = own.Tokens
	if refusal == nil {
		return ok("trial", f, p)
	}
	return refusedForm("trial", f, p.Form, p, refusal)
}

// try decides a request that nobody makes.
func (s *Site) try(r *Request) (Answer, error) {
	form, done := s.sent(r, "test")
	if done != nil {
		return *done, nil
	}
	request, id, err := trialRequest(form)
	if err != nil {
		a, shown := s.trialForm(r, form, nil, err)
		if errors.Is(shown, err) { // nothing was tried to be changed
			a.Status, shown = http.StatusBadRequest, nil
		}
		return a, shown
	}
	d, verdicts, err := s.Manager.Explain(r.HTTP.Context(), r.Caller, &request, id, s.View())
	if errors.Is(err, manage.ErrNotFound) {
		err = wrong(manage.FieldID, "trial.unknown")
	}
	if err != nil {
		return s.trialForm(r, form, nil, err)
	}
	result := &trialResult{Good: d.Outcome == authz.Admitted, Outcome: text("trial." + d.Result())}
	if d.Outcome == authz.Refused {
		result.Status, result.Text = d.Reason.Status(), d.Text()
	}
	for _, v := range verdicts {
		shown := ruleResult{v.Rule, text("trial.goes"), "goes"}
		switch {
		case v.Reason != 0 && result.Good:
			shown.Result, shown.Class = text("trial.admits"), "admits"
		case v.Reason != 0:
			shown.Result, shown.Class, result.Decides = text("trial.decides", v.Reason.String()), "decides", v.Rule
		case v.Result == "not reached":
			shown.Result, shown.Class = text("trial.unreached"), "unreached"
		}
		result.Rules = append(result.Rules, shown)
	}
	return s.trialForm(r, form, result, nil)
}

// trialRequest makes the request that the form describes, and says with which token:
// with the one of an id, or with a value.
func trialRequest(f *form) (r authz.Request, id string, err error) {
	r = authz.Request{Method: f.Get("method"), Path: f.Get("path"), Protocol: "HTTP/1.1"}
	id = strings.TrimSpace(f.Get("id"))
	value := f.Get("value")
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if !strings.HasPrefix(r.Path, "/") {
		return r, "", wrong("path", "trial.path")
	}
	if text := strings.TrimSpace(f.Get("address")); text != "" {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return r, "", wrong("address", "trial.address")
		}
		r.Client = address.Unmap().WithZone("")
	}
	switch user := f.Get("user"); {
	case id == "" && value == "":
		return r, "", wrong(manage.FieldID, "trial.neither")
	case id != "" && (value != "" || user != ""):
		return r, "", wrong(manage.FieldID, "trial.both")
	case strings.Contains(user, ":"):
		return r, "", wrong("user", "trial.colon")
	case user != "":
		r.Authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+value))
	case value != "":
		r.Authorization = "Bearer " + value
	}
	return r, id, nil
}
