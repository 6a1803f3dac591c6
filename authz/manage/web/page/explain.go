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

// explainPage is the form that tries a request, and what came of it.
type explainPage struct {
	Form    *form
	Mine    []manage.Token // to choose from
	Methods []string
	Result  *explainResult // nil: nothing was tried yet
}

// explainResult says how a request would be decided.
type explainResult struct {
	Good    bool
	Outcome string
	Text    string // what Status means
	Status  int
	Decides string // the rule that decides
	Checks  []checkResult
}

// checkResult is what one rule says.
type checkResult struct {
	Check, Result, Class string
}

var explainMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

// explain shows the form. A token's value is asked for as a password, and is never
// shown again.
func (s *Site) explain(r *Request) (Answer, error) {
	return s.explainForm(r, s.form(r, "explain", url.Values{"id": {r.Query["id"]}}), nil, nil)
}

func (s *Site) explainForm(r *Request, entered *form, result *explainResult, refusal error) (Answer, error) {
	f, err := s.layout(r, text("explain.title"), "explain")
	if err != nil {
		return Answer{}, err
	}
	p := explainPage{Form: entered, Methods: explainMethods, Result: result}
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
	p.Mine = own.Tokens
	if refusal == nil {
		return ok("explain", f, p)
	}
	return refusedForm("explain", f, p.Form, p, refusal)
}

// explainRequest decides a request that nobody makes.
func (s *Site) explainRequest(r *Request) (Answer, error) {
	form, done := s.sent(r, "explain")
	if done != nil {
		return *done, nil
	}
	request, id, err := readRequest(form)
	if err != nil {
		a, shown := s.explainForm(r, form, nil, err)
		if errors.Is(shown, err) { // nothing was tried to be changed
			a.Status, shown = http.StatusBadRequest, nil
		}
		return a, shown
	}
	d, verdicts, err := s.Manager.Explain(r.HTTP.Context(), r.Caller, &request, id, s.View())
	if errors.Is(err, manage.ErrNotFound) {
		err = wrong(manage.FieldID, "explain.unknown")
	}
	if err != nil {
		return s.explainForm(r, form, nil, err)
	}
	result := &explainResult{Good: d.Outcome == authz.Allowed, Outcome: text("explain." + d.Result())}
	if d.Outcome == authz.Denied {
		result.Status, result.Text = d.Reason.Status(), d.Text()
	}
	for _, v := range verdicts {
		shown := checkResult{v.Check, text("explain.goes"), "goes"}
		switch {
		case v.Reason != 0 && result.Good:
			shown.Result, shown.Class = text("explain.admits"), "admits"
		case v.Reason != 0:
			shown.Result, shown.Class, result.Decides = text("explain.decides", v.Reason.String()), "decides", v.Check
		case v.Result == "not reached":
			shown.Result, shown.Class = text("explain.unreached"), "unreached"
		}
		result.Checks = append(result.Checks, shown)
	}
	return s.explainForm(r, form, result, nil)
}

// readRequest makes the request that the form describes, and says with which token:
// with the one of an id, or with a value.
func readRequest(f *form) (r authz.Request, id string, err error) {
	r = authz.Request{Method: f.Get("method"), Path: f.Get("path"), Protocol: "HTTP/1.1"}
	id = strings.TrimSpace(f.Get("id"))
	value := f.Get("value")
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if !strings.HasPrefix(r.Path, "/") {
		return r, "", wrong("path", "explain.path")
	}
	if text := strings.TrimSpace(f.Get("address")); text != "" {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return r, "", wrong("address", "explain.address")
		}
		r.Client = address.Unmap().WithZone("")
	}
	switch user := f.Get("user"); {
	case id == "" && value == "":
		return r, "", wrong(manage.FieldID, "explain.neither")
	case id != "" && (value != "" || user != ""):
		return r, "", wrong(manage.FieldID, "explain.both")
	case strings.Contains(user, ":"):
		return r, "", wrong("user", "explain.colon")
	case user != "":
		r.Authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+value))
	case value != "":
		r.Authorization = "Bearer " + value
	}
	return r, id, nil
}
