package web

import (
	"encoding/base64"
	"net/netip"
	"strings"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
)

// ExplainRequest describes a request that a client might make.
type ExplainRequest struct {
	Token   string            `json:"token,omitempty"`   // the credential that is sent; empty: none
	TokenID string            `json:"tokenId,omitempty"` // in its place: a token that is taken for sent, as Bearer
	User    string            `json:"user,omitempty"`    // sent with the token as Basic; empty: as Bearer
	Method  string            `json:"method,omitempty"`  // empty: GET
	Path    string            `json:"path"`              // with the query, as it is sent; required
	IP      string            `json:"ip,omitempty"`      // the client's address; empty: not known
	Headers map[string]string `json:"headers,omitempty"` // others of authz.Headers, in any case
}

// Explanation says how the request would be decided, and why.
type Explanation struct {
	Outcome string        `json:"outcome"` // allowed, passed, answered or refused
	Reason  string        `json:"reason"`
	Detail  string        `json:"detail,omitempty"`  // the finer reason of a refusal, where there is one
	Status  int           `json:"status,omitempty"`  // where Jira is not asked
	Text    string        `json:"text,omitempty"`    // what the status means
	User    string        `json:"user,omitempty"`    // the owner, where the secret was right
	TokenID string        `json:"tokenId,omitempty"` // of a well-formed token
	Checks  []CheckResult `json:"checks"`            // in the order in which they are tried
}

// CheckResult is what one rule said.
type CheckResult struct {
	Check  string `json:"check"`
	Result string `json:"result"`           // decides, goes on, or not reached
	Reason string `json:"reason,omitempty"` // where it decides
}

func explain(c call[ExplainRequest], m *manage.Manager, view func() authz.View) (Explanation, error) {
	request, err := c.body.request()
	if err != nil {
		return Explanation{}, err
	}
	d, verdicts, err := m.Explain(c.ctx, c.caller, &request, c.body.TokenID, view())
	if err != nil {
		return Explanation{}, err
	}
	e := Explanation{
		Outcome: d.Result(),
		Reason:  d.Reason.String(),
		User:    d.User,
		TokenID: d.TokenID.String(),
		Checks:  make([]CheckResult, len(verdicts)),
	}
	if d.Outcome == authz.Denied {
		e.Detail, e.Status, e.Text = d.Detail.String(), d.Reason.Status(), d.Text()
	}
	for i, v := range verdicts {
		e.Checks[i] = CheckResult{Check: v.Check, Result: v.Result}
		if v.Reason != 0 {
			e.Checks[i].Reason = v.Reason.String()
		}
	}
	return e, nil
}

// request makes the request that is described. Its texts are taken as they
// are: to say what is wrong with them is the rules' business.
func (e ExplainRequest) request() (authz.Request, error) {
	r := authz.Request{Method: e.Method, Path: e.Path, Protocol: "HTTP/1.1", Body: "{}"} // a login is explained as one without a token
	if r.Method == "" {
		r.Method = "GET"
	}
	if e.Path == "" {
		return r, badField("path", "Say which path the request is for.")
	}
	if e.TokenID != "" && (e.Token != "" || e.User != "") {
		return r, badField("tokenId", "Give a tokenId, or a credential in token and user, but not both.")
	}
	if e.IP != "" {
		address, err := netip.ParseAddr(e.IP)
		if err != nil {
			return r, badField("ip", "ip must be an address such as 192.0.2.7 or 2001:db8::7.")
		}
		r.Client = address.Unmap().WithZone("")
	}
	for name, value := range e.Headers {
		lower := strings.ToLower(name)
		place := r.Header(lower)
		if place == nil || lower == "authorization" {
			return r, badField("headers", "No check reads the header %q. There are: %s; a credential goes into token and user.",
				token.Excerpt(name), strings.Join(authz.Headers, ", "))
		}
		if *place != "" {
			return r, badField("headers", "The header %q is given more than once.", token.Excerpt(name))
		}
		*place = value
	}
	switch {
	case strings.Contains(e.User, ":"):
		return r, badField("user", "A user name cannot hold a colon: Basic ends the name there.")
	case e.User != "":
		r.Authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(e.User+":"+e.Token))
	case e.Token != "":
		r.Authorization = "Bearer " + e.Token
	}
	return r, nil
}
