package page

import (
	"net/http"
	"net/url"
	"time"

	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
)

// connectionView is a user's connection with the application as pages show it.
type connectionView struct {
	State     string // the name of the state, or "none"
	Word, Why string // the state, and what it means for the user
	Name      string // of the personal access token in the application; empty: somebody gave it
	SetBy     string
	Created   *timestamp
	Expires   *timestamp // nil: never, or unknown
	RenewAt   *timestamp // nil: never
	Checked   *timestamp // nil: never
	Ended     bool       // Expires has passed
	Within    int        // the days, of upstream.Marks, within which it ends and was not renewed; 0: none
}

// connectionView returns a connection as pages show it.
func (s *Site) connectionView(c upstream.Connection) connectionView {
	now := s.Now().UTC()
	v := connectionView{
		State: stateName(c.State), Name: visible(c.Name), SetBy: visible(c.SetBy),
		Created: optionalTime(c.Created, now), Expires: optionalTime(c.Expires, now), RenewAt: optionalTime(c.RenewAt, now), Checked: optionalTime(c.Checked, now),
	}
	v.Word, v.Why = text("connection."+v.State), text("connection."+v.State+".why")
	if c.State != store.UpstreamActive || c.Expires.IsZero() || now.Before(c.RenewAt) {
		return v // it does not end, or is renewed before
	}
	v.Ended, v.Within = !now.Before(c.Expires), endsWithin(c.Expires, now)
	return v
}

// stateName returns the name of a state in texts, style and addresses.
func stateName(s store.UpstreamState) string {
	if s == 0 {
		return "none"
	}
	return s.String()
}

// endsWithin returns the days of the smallest of upstream.Marks within which a time comes, or 0.
func endsWithin(end, now time.Time) (within int) {
	for _, mark := range upstream.Marks {
		if end.Sub(now) <= mark {
			within = int(mark / day)
		}
	}
	return within
}

// mustConsent reports whether the caller has to agree before they are connected.
func mustConsent(l *layout) bool {
	return l.Connection.Needed && l.Connection.State != store.UpstreamActive
}

// consented refuses a form in which the box of the consent is not ticked.
func (f *form) consented() error {
	if !f.Has("consent") {
		return wrong("consent", "connection.consent")
	}
	return nil
}

// connectionPage shows the caller's connection, with the form that connects them.
type connectionPage struct {
	Connection connectionView
	Form       *form
	Consent    string // as in createPage
	Disconnect string // the address of the form; empty: the caller is not connected
}

// connection shows the page.
func (s *Site) connection(r *Request, l *layout) (Answer, error) {
	if !l.Connection.Needed {
		return s.problem(r, http.StatusNotFound, "connection.unneeded"), nil
	}
	s.notice(l, r)
	return s.connectForm(l, s.form(r, "connection", url.Values{}), nil)
}

func (s *Site) connectForm(l *layout, f *form, refusal error) (Answer, error) {
	p := connectionPage{Connection: s.connectionView(l.Connection.Connection), Form: f}
	if mustConsent(l) {
		p.Consent = "required"
	}
	if l.Connection.State != 0 {
		p.Disconnect = s.url("connection/disconnect")
	}
	return showForm("connection", l, f, p, refusal)
}

// connect connects the caller, or replaces the personal access token in use.
func (s *Site) connect(r *Request, l *layout) (Answer, error) {
	return s.submit(r, l, "connection", nil, func(f *form) (Answer, error) {
		if mustConsent(l) {
			if err := f.consented(); err != nil {
				return Answer{}, err
			}
		}
		err := s.Manager.Connect(r.HTTP.Context(), r.Caller)
		return s.seeOther("connection?"+encode(s.noticed(r, "connected", "")...), ""), err
	}, func(f *form, refusal error) (Answer, error) { return s.connectForm(l, f, refusal) })
}

// confirmPage asks for a confirmation.
type confirmPage struct {
	Form                  *form
	Question, Text, Label string
	Back                  string
}

// whatEnds says what becomes of the personal access token of a user who is disconnected.
func (s *Site) whatEnds(c connectionView) string {
	if c.Name == "" {
		return text("disconnect.forgotten", s.product().Title)
	}
	return text("disconnect.deleted", s.product().Title)
}

// confirmDisconnect asks before the caller is disconnected.
func (s *Site) confirmDisconnect(r *Request, l *layout) (Answer, error) {
	if l.Connection.State == 0 {
		return s.seeOther("connection", ""), nil
	}
	return s.disconnectForm(l, s.form(r, "connection/disconnect", url.Values{}), nil)
}

func (s *Site) disconnectForm(l *layout, f *form, refusal error) (Answer, error) {
	p := confirmPage{
		Form: f, Question: text("disconnect.question", s.product().Title), Text: s.whatEnds(s.connectionView(l.Connection.Connection)) + " " + text("disconnect.text"),
		Label: text("disconnect.label"), Back: s.url("connection"),
	}
	return showForm("confirm", l, f, p, refusal)
}

// disconnect disconnects the caller.
func (s *Site) disconnect(r *Request, l *layout) (Answer, error) {
	return s.submit(r, l, "connection/disconnect", nil, func(*form) (Answer, error) {
		err := s.Manager.Disconnect(r.HTTP.Context(), r.Caller)
		return s.seeOther("connection?"+encode(s.noticed(r, "disconnected", "")...), ""), err
	}, func(f *form, refusal error) (Answer, error) { return s.disconnectForm(l, f, refusal) })
}
