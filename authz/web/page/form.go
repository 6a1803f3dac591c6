package page

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
)

// form is an HTML form with the entered values and their errors.
type form struct {
	Action string // the address it is sent to
	Nonce  string
	Seen   string // a proof of the token shown beside the form; "" without one
	Values url.Values
	Fixed  bool              // name and purpose cannot be changed
	Wrong  map[string]string // whole sentences by the manager's name of the field
}

// Get returns the value of a field.
func (f *form) Get(name string) string { return f.Values.Get(name) }

// Has reports whether a field is not empty, or a box is ticked.
func (f *form) Has(name string) bool { return f.Values.Get(name) != "" }

// form returns a form at an address below config.PagePath with initial values. seen is what the
// page shows beside it: if that changes before the form is sent, submit refuses the form.
func (s *Site) form(r *Request, below string, values url.Values, seen ...string) *form {
	f := &form{Action: s.url(below), Nonce: s.nonces.make(r.Caller, below), Values: values, Wrong: make(map[string]string)}
	if len(seen) > 0 {
		f.Seen = s.nonces.seal(r.Caller, seen...)
	}
	return f
}

// sent reads a form that was sent, or returns nil and the response to an unusable one.
func (s *Site) sent(r *Request, below string, seen ...string) (*form, Answer) {
	kind, _, _ := mime.ParseMediaType(r.HTTP.Header.Get("Content-Type"))
	if kind != "application/x-www-form-urlencoded" {
		return nil, s.problem(r, http.StatusUnsupportedMediaType, "form.kind")
	}
	if err := r.HTTP.ParseForm(); err != nil {
		if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
			return nil, s.problem(r, http.StatusRequestEntityTooLarge, "form.long")
		}
		return nil, s.problem(r, http.StatusBadRequest, "form.unreadable")
	}
	values := r.HTTP.PostForm
	for name, given := range values {
		if len(given) > 1 || !utf8.ValidString(name) || !utf8.ValidString(given[0]) {
			return nil, s.problem(r, http.StatusBadRequest, "form.unreadable")
		}
		values[name] = []string{strings.ReplaceAll(given[0], "\r\n", "\n")} // browsers send CRLF
	}
	return s.form(r, below, values, seen...), Answer{}
}

// submit reads a form that was sent, uses up its nonce, so that the change it makes is
// made once, and makes the change with do. If that is refused, it shows the form again.
func (s *Site) submit(r *Request, l *layout, below string, seen []string, do func(*form) (Answer, error), again func(*form, error) (Answer, error)) (Answer, error) {
	f, unusable := s.sent(r, below, seen...)
	if f == nil {
		return unusable, nil
	}
	switch outcome, id, err := s.nonces.use(r.HTTP.Context(), f.Get("nonce"), r.Caller, below); {
	case err != nil:
		return again(f, err)
	case outcome == replayed:
		return s.alreadySubmitted(r, l, id)
	case len(seen) > 0 && !s.nonces.sealed(f.Get("seen"), r.Caller, seen...):
		return again(f, errChanged)
	case outcome != fresh:
		return again(f, &Error{Status: http.StatusConflict, Text: text("form.old")})
	}
	answer, err := do(f)
	if err != nil {
		return again(f, err)
	}
	return answer, nil
}

// errChanged refuses a form because the token shown beside it has changed.
var errChanged = &Error{Status: http.StatusConflict, Text: text("form.changed")}

// alreadySubmitted says that a form was sent before, and which token it issued.
func (s *Site) alreadySubmitted(r *Request, l *layout, id string) (Answer, error) {
	p := struct {
		Token, URL, Rotate string
		Pending            bool // the token cannot be rotated yet
	}{id, s.url("token/" + id), s.url("token/" + id + "/rotate"), false}
	if found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, id); err == nil {
		p.Pending = found.State == manage.StatePending
	}
	return render("already-submitted", http.StatusConflict, l, p)
}

// redact removes token secrets from the entered values, so that no form repeats them,
// and makes invisible characters visible.
func (f *form) redact() {
	for _, given := range f.Values {
		for i, text := range given {
			if token.Contains(text) || token.IsCredential(text) { // not what only resembles a secret
				text = token.Redact(text)
			}
			given[i] = visible(text)
		}
	}
}

// showForm renders the page of a form, with the error it was refused with, if any.
func showForm(name string, l *layout, f *form, page any, refusal error) (Answer, error) {
	if refusal == nil {
		return ok(name, l, page)
	}
	if !f.refuse(l, refusal) {
		return Answer{}, refusal
	}
	f.redact()
	a, err := render(name, 0, l, page)
	if err != nil {
		return Answer{}, err
	}
	return a, refusal
}

// refuse puts a refusal above the form and, if it is about a field, beside that. It
// reports false of errors that are not about the form.
func (f *form) refuse(l *layout, err error) bool {
	var field manage.Field
	if own, ok := errors.AsType[*Error](err); ok {
		l.Problem, field = own.Text, own.Field
	} else if refusal, ok := errors.AsType[*manage.Error](err); ok && refusal.Code != manage.NotFound {
		l.Problem, field = refusal.Message, refusal.Field
	} else {
		return false
	}
	if field != "" {
		f.Wrong[string(field)] = l.Problem
	}
	return true
}

// Error refuses a form before the manager is asked.
type Error struct {
	Status int
	Field  manage.Field // the field it is about, if any
	Text   string       // whole sentences without secrets
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// wrong returns the error for a field that cannot be read.
func wrong(field manage.Field, name string) error {
	return &Error{Status: http.StatusBadRequest, Field: field, Text: text(name)}
}

// networks reads the networks of a form, separated by white space, commas or
// semicolons, and adds the caller's address if its box is ticked.
func (f *form) networks(from string) []string {
	networks := strings.FieldsFunc(f.Get("networks"), func(c rune) bool { return c == ',' || c == ';' || c <= ' ' })
	if f.Has("here") && from != "" {
		networks = append(networks, from)
	}
	return networks
}

// address returns the caller's IP address, or "" if the caller has none.
func address(me *manage.Me) string {
	if a, err := netip.ParseAddr(me.From); err == nil {
		return a.String()
	}
	return ""
}

// joined writes networks one per line, as networks reads them.
func joined(networks []netip.Prefix) string {
	var b strings.Builder
	for _, n := range networks {
		fmt.Fprintln(&b, networkText(n))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// networkText writes a network; that of a single address without its length.
func networkText(n netip.Prefix) string {
	if n.IsSingleIP() {
		return n.Addr().String()
	}
	return n.String()
}
