package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web/page"
	"github.com/tokengate/tokengate/authz/web/query"
)

// statuses are the HTTP statuses of the manager's refusals.
var statuses = map[manage.Code]int{
	manage.Invalid:     http.StatusBadRequest,
	manage.Forbidden:   http.StatusForbidden,
	manage.NotFound:    http.StatusNotFound,
	manage.Revoked:     http.StatusConflict,
	manage.Conflict:    http.StatusConflict,
	manage.Limit:       http.StatusConflict,
	manage.BadState:    http.StatusConflict,
	manage.Unavailable: http.StatusServiceUnavailable,
	manage.TooMany:     http.StatusTooManyRequests,
}

// fields are the JSON names of the manager's fields, where they differ.
var fields = map[manage.Field]string{
	manage.FieldOwner:   "user",
	manage.FieldName:    "label",
	manage.FieldExpires: "expiresIn",
}

// httpError is a refusal with its HTTP status.
type httpError struct {
	status int
	text   string        // whole sentences
	field  string        // at fault, if any
	allow  string        // the Allow header of a 405
	retry  time.Duration // how long to wait; 0: not known
	cause  error         // for the log only; nil: none
}

// Error implements error.
func (e *httpError) Error() string {
	if e.cause != nil {
		return e.cause.Error()
	}
	return e.text
}

// Unwrap returns the cause.
func (e *httpError) Unwrap() error { return e.cause }

var errNoPath = &httpError{status: http.StatusNotFound, text: "There is nothing at this path. The API is below " + Bases[0] + "/."}

func methodError(allowed []string) error {
	allow := strings.Join(allowed, ", ")
	return &httpError{
		status: http.StatusMethodNotAllowed,
		text:   "This path does not support the method. It supports " + allow + ".",
		allow:  allow,
	}
}

// badField refuses a request because of a field.
func badField(field, format string, args ...any) error {
	return &httpError{status: http.StatusBadRequest, field: field, text: fmt.Sprintf(format, args...)}
}

// refusalOf returns the refusal that an error holds, as the client is told it; nil
// if the error is a failure.
func refusalOf(err error) *httpError {
	if e, ok := errors.AsType[*httpError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*page.Error](err); ok {
		return &httpError{status: e.Status, field: string(e.Field), text: e.Text}
	}
	if e, ok := errors.AsType[*query.Error](err); ok {
		return &httpError{status: http.StatusBadRequest, field: e.Parameter, text: e.Text}
	}
	if e, ok := errors.AsType[*manage.Error](err); ok && statuses[e.Code] != 0 {
		return &httpError{status: statuses[e.Code], field: cmp.Or(fields[e.Field], string(e.Field)), text: e.Message, retry: e.Retry}
	}
	return nil
}

// denial returns the answer to an error. The text of a failure is for the log only.
func denial(err error) reply {
	if e := refusalOf(err); e != nil {
		body := authz.Denial(e.text)
		if e.field != "" {
			body = authz.FieldDenial(e.field, e.text)
		}
		return reply{status: e.status, body: body, allow: e.allow, retry: e.retry}
	}
	if errors.Is(err, errPanic) {
		return reply{status: http.StatusInternalServerError, body: authz.Denial("The server failed. Its log says more.")}
	}
	return failure("The server could not do this; its log says why.")
}

// failure returns the answer to an error that is no refusal.
func failure(text string) reply {
	return reply{
		status: http.StatusServiceUnavailable,
		body:   authz.Denial(text + " It may have been done in part or not at all: check before you try again."),
	}
}

// unavailable is the answer when nothing reliable is known of a user.
const unavailable = "There is no reliable answer about your account now, so nothing was done. Try again later, or tell an administrator."

// refuseInJSON returns the API's answer to an error.
func (a *authenticator) refuseInJSON(r *http.Request, _ manage.Caller, err error) reply {
	answer := denial(err)
	if answer.status == http.StatusUnauthorized {
		answer.headers = map[string]string{"WWW-Authenticate": fmt.Sprintf("%s realm=%q", challengeScheme(r), a.View().Policy.Product.Realm)}
	}
	return answer
}

// challengeScheme returns the scheme of a 401's challenge (RFC 9110, 15.5.2). Clients
// that send a password only on request need Basic. Browsers get Bearer, which they
// ignore: Basic would open their password dialog, even for a script's request.
func challengeScheme(r *http.Request) string {
	// Browsers send at least one of these, other clients none.
	for _, name := range []string{"Sec-Fetch-Mode", "Sec-Fetch-Site", "Origin", "Accept-Language"} {
		if len(r.Header.Values(name)) > 0 {
			return "Bearer"
		}
	}
	return "Basic"
}

// refuseOnSocket returns the answer to an error on the admin socket. Its clients may
// read the log anyway, so the answer includes the cause.
func refuseOnSocket(_ *http.Request, _ manage.Caller, err error) reply {
	if refusalOf(err) == nil && !errors.Is(err, errPanic) {
		return failure("The server could not do this: " + err.Error() + ".")
	}
	return denial(err)
}
