package web

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
)

// Me answers GET /me.
type Me struct {
	manage.Me
	MaxOverlap string `json:"maxOverlap"` // of a rotation, such as 7d
	Terms      *Terms `json:"terms"`      // of tokens for themselves; null: none
}

// Terms are the limits that a token must keep.
type Terms struct {
	policy.Terms
	MaxLifetime string `json:"maxLifetime"` // such as 90d, or unlimited
	Rate        *Rate  `json:"rate"`        // null: none
}

func (a api) me(c call[empty]) (Me, error) {
	found, err := a.Me(c.ctx, c.caller)
	answer := Me{Me: found, MaxOverlap: config.Lifetime{Duration: found.MaxOverlap}.String()}
	if t := found.Terms; t != nil {
		answer.Terms = &Terms{*t, t.MaxLifetime.String(), apiRate(t.Rate)}
	}
	return answer, err
}

// PasswordUser is a user who still uses passwords.
type PasswordUser struct {
	User     string        `json:"user"`
	Requests uint64        `json:"requests"`
	LastSeen int64         `json:"lastSeen"` // milliseconds since 1970
	Uses     []PasswordUse `json:"uses"`
}

// PasswordUse counts the passwords from one client at one address.
type PasswordUse struct {
	Client     string  `json:"client"`  // its User-Agent; empty: unknown, or many
	Address    *string `json:"address"` // null: unknown, or many
	FirstSeen  int64   `json:"firstSeen"`
	LastSeen   int64   `json:"lastSeen"`
	Passed     uint64  `json:"passed"`
	WouldBlock uint64  `json:"wouldBlock"` // those that block would have refused
	Blocked    uint64  `json:"blocked"`
}

// PasswordUsers answers GET /passwords, latest user first.
type PasswordUsers struct {
	Users []PasswordUser `json:"users"`
}

// listPasswords answers with the users who use passwords.
func (a api) listPasswords(c call[empty]) (reply, error) {
	users, err := a.Passwords(c.ctx, c.caller)
	if err != nil {
		return reply{}, err
	}
	return arrayReply(`{"users":[`, "]}\n", func(next func(any) error) error {
		for _, u := range users {
			if err := next(passwordUser(u)); err != nil {
				return err
			}
		}
		return nil
	}), nil
}

func passwordUser(known manage.PasswordUser) PasswordUser {
	u := PasswordUser{User: known.User, Requests: known.Requests(), LastSeen: known.Last().UnixMilli(), Uses: make([]PasswordUse, len(known.Uses))}
	for i, use := range known.Uses {
		u.Uses[i] = PasswordUse{
			Client:     token.Redact(use.Client),
			FirstSeen:  use.First.UnixMilli(),
			LastSeen:   use.Last.UnixMilli(),
			Passed:     use.Passed,
			WouldBlock: use.WouldBlock,
			Blocked:    use.Blocked,
		}
		if use.Address.IsValid() {
			u.Uses[i].Address = new(use.Address.String())
		}
	}
	return u
}

// Totals answers GET /totals, oldest day first. Days without requests are left out.
type Totals struct {
	Days []DayTotals `json:"days"`
}

// DayTotals are the requests of a day in UTC.
type DayTotals struct {
	Date      string            `json:"date"`      // such as 2030-01-31
	Allowed   uint64            `json:"allowed"`   // by a token
	Passwords uint64            `json:"passwords"` // forwarded with a password
	Unknown   uint64            `json:"unknown"`   // with a password, forwarded or refused, but missing from GET /passwords
	Refused   map[string]uint64 `json:"refused"`   // by reason
}

func (a api) listTotals(c call[empty]) (Totals, error) {
	days, err := a.Totals(c.ctx, c.caller)
	if err != nil {
		return Totals{}, err
	}
	answer := Totals{Days: make([]DayTotals, len(days))}
	for i, d := range days {
		t := DayTotals{
			Date: d.Day.String(), Allowed: d.Counts[authz.TokenAllowed.String()], Passwords: d.Counts[authz.Password.String()],
			Unknown: d.Counts[manage.UnknownPasswords], Refused: make(map[string]uint64),
		}
		for word, n := range d.Counts {
			if manage.IsDenialReason(word) {
				t.Refused[word] = n
			}
		}
		answer.Days[i] = t
	}
	return answer, nil
}

// Settings answers GET /settings.
type Settings struct {
	Settings []policy.Setting `json:"settings"`
}

func (a api) listSettings(c call[empty]) (Settings, error) {
	found, err := a.ListSettings(c.ctx, c.caller)
	return Settings{found}, err
}

// backup answers with a backup of the store: see backup.Write.
func (a api) backup(c call[empty]) (reply, error) {
	return reply{status: http.StatusOK, contentType: "application/octet-stream", stream: func(w io.Writer) error {
		return a.Backup(c.ctx, c.caller, w)
	}}, nil
}

// ExplainRequest describes a client's request.
type ExplainRequest struct {
	Token   string            `json:"token,omitempty"`   // the credential; empty: none
	TokenID string            `json:"tokenId,omitempty"` // instead of a credential: decide as if this token were sent
	User    string            `json:"user,omitempty"`    // sent with the token as Basic; empty: as Bearer
	Method  string            `json:"method,omitempty"`  // empty: GET
	Path    string            `json:"path"`              // as sent, with the query; required
	IP      string            `json:"ip,omitempty"`      // the client's address; empty: unknown
	Headers map[string]string `json:"headers,omitempty"` // other headers of authz.Headers; names in any case
}

// Explanation is how the request would be decided, and why.
type Explanation struct {
	Outcome string        `json:"outcome"` // allowed, passed, answered or refused
	Reason  string        `json:"reason"`
	Detail  string        `json:"detail,omitempty"`  // a finer reason of a denial, if there is one
	Status  int           `json:"status,omitempty"`  // of an answer by tokengate itself
	Text    string        `json:"text,omitempty"`    // the answer's text
	User    string        `json:"user,omitempty"`    // the token's owner, if the secret is right
	TokenID string        `json:"tokenId,omitempty"` // of a well-formed token
	Checks  []CheckResult `json:"checks"`            // in order
}

// CheckResult is the result of one check.
type CheckResult struct {
	Check  string `json:"check"`
	Result string `json:"result"`           // decides, goes on, or not reached
	Reason string `json:"reason,omitempty"` // if it decides
}

func (a api) explain(c call[ExplainRequest]) (Explanation, error) {
	request, err := c.body.request()
	if err != nil {
		return Explanation{}, err
	}
	d, checks, err := a.Explain(c.ctx, c.caller, &request, c.body.TokenID, a.view())
	if err != nil {
		return Explanation{}, err
	}
	e := Explanation{
		Outcome: d.Result(),
		Reason:  d.Reason.String(),
		User:    d.User,
		TokenID: d.TokenID.String(),
		Checks:  make([]CheckResult, len(checks)),
	}
	if d.Outcome == authz.Denied {
		e.Detail, e.Status, e.Text = d.Detail.String(), d.Reason.Status(), d.Text()
	}
	for i, v := range checks {
		e.Checks[i] = CheckResult{Check: v.Check, Result: v.Result}
		if v.Reason != 0 {
			e.Checks[i].Reason = v.Reason.String()
		}
	}
	return e, nil
}

// request returns the described request. It does not validate the texts: the checks
// do.
func (e ExplainRequest) request() (authz.Request, error) {
	r := authz.Request{Method: e.Method, Path: e.Path, Protocol: "HTTP/1.1", Body: "{}"} // a login's body holds no token
	if r.Method == "" {
		r.Method = "GET"
	}
	if e.Path == "" {
		return r, badField("path", "Give the path of the request.")
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
