package manage

import (
	"fmt"
	"strings"
	"time"

	"github.com/tokengate/tokengate/store"
)

// Code is the kind of a refusal: a stable word that stands in the audit log.
type Code string

// The codes.
const (
	Invalid   Code = "invalid"   // the request breaks a rule; Field says where
	Forbidden Code = "forbidden" // the caller may not do this
	NotFound  Code = "not_found" // no such token, or none that the caller may see
	Revoked   Code = "revoked"   // the token has been revoked, which is final
	Conflict  Code = "conflict"  // the owner has a token in force of the same name
	Limit     Code = "limit"     // the owner has as many tokens as one may have
	BadState  Code = "state"     // the token is in no state for this

	// TooMany: the caller has made as many changes as are allowed in a time. It is not
	// recorded, since each record is a write.
	TooMany Code = "too_many"

	// Unavailable: whether the caller may cannot be found out now. It is about
	// the server and not the caller, and not recorded.
	Unavailable Code = "unavailable"
)

// Error is a refusal: nothing was changed, and Message says why to a person.
// Errors that are no refusal, such as a disk's, are not of this type, and
// after them a change may have been made or not.
type Error struct {
	Code    Code
	Field   Field  // the part of the request that Message is about, if one is
	Message string // whole sentences, for the caller; holds no secret
	Cause   error  // for a log: it may tell of the inside; nil: none

	Retry time.Duration // until it makes sense to try again, if Code is TooMany
}

// Error returns the message and the cause, for a log.
func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = string(e.Code)
	}
	if e.Cause != nil {
		text += " (" + e.Cause.Error() + ")"
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether target is an Error of the same code, so that errors.Is
// tells refusals apart by the variables below.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

// One error of each code, for errors.Is.
var (
	ErrInvalid     = &Error{Code: Invalid}
	ErrForbidden   = &Error{Code: Forbidden}
	ErrNotFound    = &Error{Code: NotFound}
	ErrRevoked     = &Error{Code: Revoked}
	ErrConflict    = &Error{Code: Conflict}
	ErrLimit       = &Error{Code: Limit}
	ErrState       = &Error{Code: BadState}
	ErrUnavailable = &Error{Code: Unavailable}
	ErrTooMany     = &Error{Code: TooMany}
)

// Field is a part of a request.
type Field string

// The fields that a refusal can be about.
const (
	FieldID       Field = "id"
	FieldOwner    Field = "owner"
	FieldName     Field = "name"
	FieldPurpose  Field = "purpose"
	FieldExpires  Field = "expires"
	FieldReadOnly Field = "readOnly"
	FieldNetworks Field = "networks"
	FieldRate     Field = "rate"
	FieldOverlap  Field = "overlap"
	FieldState    Field = "state"
	FieldLimit    Field = "limit"
	FieldAfter    Field = "after"
	FieldAction   Field = "action"
)

func invalid(field Field, format string, args ...any) error {
	return &Error{Code: Invalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

func refused(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// sentence makes a whole sentence of an error's text, without the store's
// words for what kind of error it is.
func sentence(err error) string {
	text := strings.TrimPrefix(err.Error(), store.ErrInvalid.Error()+": ")
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:] + "." // our own errors begin in ASCII
}
