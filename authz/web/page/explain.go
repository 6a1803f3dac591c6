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
	"github.com/tokengate/tokengate/store/listing"
)

// explainPage is the form that describes a request, and the explanation.
type explainPage struct {
	Form    *form
	Mine    []manage.Token // suggested
	Methods []string
	Result  *explanation // nil: the form was not sent yet
}

// explanation tells how a request would be decided.
type explanation struct {
	Good    bool
	Outcome string
	Text    string // the body of a denial
	Status  int    // of a denial
	Decides string // the deciding check
	Checks  []checkResult
}

// checkResult is the result of one check.
type checkResult struct {
	Check, Class string
	Reason       authz.Reason // if Class is decides
}

// explain shows the form. The value of a token is a password field that is never filled.
func (s *Site) explain(r *Request, l *layout) (Answer, error) {
	return s.explainForm(r, l, s.form(r, "explain", url.Values{"id": {r.Query["id"]}}), nil, nil)
}

func (s *Site) explainForm(r *Request, l *layout, f *form, result *explanation, refusal error) (Answer, error) {
	f.Values.Del("value")
	f.redact()
	for name, usual := range map[string]string{"method": http.MethodGet, "path": s.ContextPath + s.product().Example, "address": address(l.Me)} {
		if _, given := f.Values[name]; !given {
			f.Values.Set(name, usual)
		}
	}
	own, err := s.Manager.ListOwn(r.HTTP.Context(), r.Caller, manage.Query{InForce: true, Query: listing.Query{Descending: true, Limit: pageSize}})
	if err != nil {
		return Answer{}, err
	}
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
	return showForm("explain", l, f, explainPage{Form: f, Mine: own.Tokens, Methods: methods, Result: result}, refusal)
}

// explainRequest explains the decision on the described request.
func (s *Site) explainRequest(r *Request, l *layout) (Answer, error) {
	f, unusable := s.sent(r, "explain")
	if f == nil {
		return unusable, nil
	}
	request, id, err := readRequest(f)
	if err != nil {
		a, shown := s.explainForm(r, l, f, nil, err)
		if errors.Is(shown, err) { // not a refusal to log: the form changes nothing
			a.Status, shown = http.StatusBadRequest, nil
		}
		return a, shown
	}
	d, checks, err := s.Manager.Explain(r.HTTP.Context(), r.Caller, &request, id, s.View())
	if errors.Is(err, manage.ErrNotFound) {
		err = wrong(manage.FieldID, "explain.unknown")
	}
	if err != nil {
		return s.explainForm(r, l, f, nil, err)
	}
	result := &explanation{Good: d.Outcome == authz.Allowed, Outcome: text("explain."+d.Result(), s.product().Title)}
	if d.Outcome == authz.Denied {
		result.Status, result.Text = d.Reason.Status(), d.Text()
	}
	class := "passes"
	for _, c := range checks {
		shown := checkResult{c.Check, class, c.Reason}
		if c.Reason != 0 {
			if shown.Class = "allows"; !result.Good {
				shown.Class, result.Decides = "decides", c.Check
			}
			class = "unreached" // the checks after it
		}
		result.Checks = append(result.Checks, shown)
	}
	return s.explainForm(r, l, f, result, nil)
}

// readRequest returns the described request, and the id of its token unless it has a
// token's value.
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
