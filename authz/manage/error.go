package manage

import (
	"fmt"
	"strings"
	"time"

	"github.com/tokengate/tokengate/store"
)

// Code is the kind of a refusal, a stable word in the audit log.
type Code string

// The codes.
const (
	Invalid   Code = "invalid"   // the request is invalid; Field says where
	Forbidden Code = "forbidden" // the caller may not do this
	NotFound  Code = "not_found" // no such token that the caller may see, or no such connection
	Revoked   Code = "revoked"   // the token is revoked, which is final
	Conflict  Code = "conflict"  // the owner has another token of the name in force
	Limit     Code = "limit"     // the owner has the maximum number of tokens
	BadState  Code = "state"     // the token's state, or the configuration, does not allow this

	// TooMany: the caller is beyond the write budget. It is not recorded, since each
	// record is a write.
	TooMany Code = "too_many"

	// Unavailable: the caller's rights, or the application's answer, are unknown, through no
	// fault of the caller. It is not recorded.
	Unavailable Code = "unavailable"
)

// Error is a refusal: nothing was changed. Other errors, such as a disk's, have
// another type; after them a change may have been made or not.
type Error struct {
	Code    Code
	Field   Field  // the part of the request at fault, if any
	Message string // whole sentences, for the caller; holds no secret
	Cause   error  // for the log only; nil: none

	Retry time.Duration // how long to wait, if Code is TooMany
}

// Error returns the message and the cause, for the log.
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

// Is reports whether target is an Error of the same code, for errors.Is with the
// variables below.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

// One error per code, for errors.Is.
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

// The fields of refusals.
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
	FieldToken    Field = "token" // a personal access token
)

func invalid(field Field, format string, args ...any) error {
	return &Error{Code: Invalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

func refused(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Sentence makes a sentence of an error, without the store's prefix.
func Sentence(err error) string {
	text := strings.TrimPrefix(err.Error(), store.ErrInvalid.Error()+": ")
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:] + "." // the errors begin in ASCII
}
