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

// form is a form with what somebody has entered, and what is wrong with it.
type form struct {
	Action string // the address it is sent to
	Nonce  string
	Seen   string // a proof of what stands beside it; "" where nothing does
	Values url.Values
	Fixed  bool              // name and purpose cannot be changed
	Wrong  map[string]string // by field, as the manager calls it; whole sentences
}

// Get returns what was entered into a field.
func (f *form) Get(name string) string { return f.Values.Get(name) }

// Has reports whether something was entered into a field, or a box is ticked.
func (f *form) Has(name string) bool { return f.Values.Get(name) != "" }

// form returns a form at an address below Path, with values to begin with, beside
// which somebody sees something: where that changes before the form is sent, it is not
// taken.
func (s *Site) form(r *Request, below string, values url.Values, seen ...string) *form {
	f := &form{Action: s.url(below), Nonce: s.nonces.make(r.Caller, below), Values: values, Wrong: make(map[string]string)}
	if len(seen) > 0 {
		f.Seen = s.nonces.seal(r.Caller, seen...)
	}
	return f
}

// sent reads a form that was sent. Where it returns an answer, that is all there is
// to say: the form is none, or it was sent before.
func (s *Site) sent(r *Request, below string, seen ...string) (*form, *Answer) {
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
		values[name] = []string{strings.ReplaceAll(given[0], "\r\n", "\n")} // as browsers end lines
	}
	return s.form(r, below, values, seen...), nil
}

// take reads a form that was sent and uses its nonce: what comes behind it comes once.
// Where it returns an answer, that is all there is to say. It fails where the form
// has to be shown anew.
func (s *Site) take(r *Request, below string, seen ...string) (f *form, done *Answer, err error) {
	if f, done = s.sent(r, below, seen...); done != nil {
		return nil, done, nil
	}
	switch outcome, id := s.nonces.use(f.Get("nonce"), r.Caller, below); {
	case outcome == replayed:
		return nil, s.alreadySubmitted(r, id), nil
	case len(seen) > 0 && !s.nonces.sealed(f.Get("seen"), r.Caller, seen...):
		return f, nil, errChanged
	case outcome == fresh:
		return f, nil, nil
	}
	return f, nil, &Error{Status: http.StatusConflict, Text: text("form.old")}
}

// errChanged is the refusal of a form for something that is not any more what stood
// beside it.
var errChanged = &Error{Status: http.StatusConflict, Text: text("form.changed")}

func (s *Site) problem(r *Request, status int, key string) *Answer {
	a := s.Problem(r, Problem{Status: status, Text: text(key)})
	return &a
}

// alreadySubmitted says that a form was sent before, and what came of it.
func (s *Site) alreadySubmitted(r *Request, id string) *Answer {
	f, err := s.layout(r, text("submitted.title"), "")
	if err != nil {
		return s.problem(r, http.StatusConflict, "submitted.text")
	}
	p := struct {
		Token, URL, Rotate string
		Pending            bool // there is no rotation of what waits
	}{id, s.url("token/" + id), s.url("token/" + id + "/rotate"), false}
	if found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, id); err == nil {
		p.Pending = found.State == manage.StatePending
	}
	a, err := render("already-submitted", http.StatusConflict, f, p)
	if err != nil {
		return s.problem(r, http.StatusConflict, "submitted.text")
	}
	return &a
}

// redact takes the secrets of tokens out of what was entered, and makes visible what
// is not: no form shows a value that somebody has put into it.
func (f *form) redact() {
	for _, given := range f.Values {
		for i, text := range given {
			if token.Contains(text) || token.IsCredential(text) { // and not what merely looks a little like one
				text = token.Redact(text)
			}
			given[i] = visible(text)
		}
	}
}

// refusedForm shows a form anew, with what it was refused for.
func refusedForm(name string, fr *layout, f *form, page any, refusal error) (Answer, error) {
	if !f.refused(fr, refusal) {
		return Answer{}, refusal
	}
	f.redact()
	a, err := render(name, 0, fr, page)
	if err != nil {
		return Answer{}, err
	}
	return a, refusal
}

// refused puts a refusal of the manager's where it belongs: to its field, or above
// the form. It reports false of errors that are none.
func (f *form) refused(fr *layout, err error) bool {
	var field manage.Field
	if own, ok := errors.AsType[*Error](err); ok {
		fr.Problem, field = own.Text, own.Field
	} else if refusal, ok := errors.AsType[*manage.Error](err); ok && refusal.Code != manage.NotFound && refusal.Code != manage.Unavailable {
		fr.Problem, field = refusal.Message, refusal.Field
	} else {
		return false
	}
	if field != "" {
		f.Wrong[string(field)] = fr.Problem
	}
	return true
}

// Error is a form that the manager was not asked about, because the page could not
// make sense of it.
type Error struct {
	Status int
	Field  manage.Field // that it is about, if one is
	Text   string       // whole sentences; holds no secret
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// wrong is a field of a form that cannot be read.
func wrong(field manage.Field, key string, args ...any) error {
	return &Error{Status: http.StatusBadRequest, Field: field, Text: text(key, args...)}
}

// networks reads the networks of a form, parted by white space or commas; the
// caller's address among them, if that is asked for.
func (f *form) networks(from string) []string {
	networks := strings.FieldsFunc(f.Get("networks"), func(c rune) bool { return c == ',' || c == ';' || c <= ' ' })
	if f.Has("here") && from != "" {
		networks = append(networks, from)
	}
	return networks
}

// address is where a caller is, if they came by the network.
func address(me *manage.Me) string {
	if a, err := netip.ParseAddr(me.From); err == nil {
		return a.String()
	}
	return ""
}

// joined writes networks one to a line, as the form takes them.
func joined(networks []netip.Prefix) string {
	var b strings.Builder
	for _, n := range networks {
		fmt.Fprintln(&b, networkText(n))
	}
	return strings.TrimSuffix(b.String(), "\n")
}
