package product

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// CredentialClient makes credentials that the application accepts in a user's name, such
// as Jira's personal access tokens. It is safe for concurrent use.
//
// Each call sends a credential of the user, in a Cookie or an Authorization header. Use
// only one that Client.Myself has just accepted: a wrong password counts as a failed
// login. Errors wrap one of those below, directory.ErrNotLoggedIn, ErrBasicRefused,
// ErrCaptcha or ErrUnavailable. They may be shown to the user, except that of
// ErrUnavailable only that error itself, since its wrappers name addresses.
type CredentialClient interface {
	// Mint makes a credential for the user. It ends after whole days: lifetime rounded
	// down, but at least one, or the application's maximum if that is less. Names need
	// not be unique; Jira allows 40 characters. Verify the value with Client.Myself
	// before you rely on it.
	//
	// After ErrUnavailable the credential may exist: find it by its name in List. If
	// its id is known, it is returned with the error.
	Mint(ctx context.Context, user http.Header, name string, lifetime time.Duration) (UpstreamCredential, error)

	// List returns the user's credentials without their values, including expired
	// ones and those that others made.
	List(ctx context.Context, user http.Header) ([]UpstreamCredential, error)

	// Delete deletes a credential of the user, or of anyone if the user is an
	// administrator. It succeeds if there is none with this id.
	Delete(ctx context.Context, user http.Header, id string) error
}

// UpstreamCredential is a credential that the application made for one of its users.
type UpstreamCredential struct {
	ID      string // public; the application assigns it
	Name    string
	Created time.Time
	Ends    time.Time // zero if it does not end
	Value   Secret    // only from Mint
}

// Secret is the value of an UpstreamCredential. The zero Secret is none. It prints as
// a placeholder; only Reveal and Bearer return the value.
type Secret struct {
	text *string // a pointer, which fmt prints as an address where it can't call String
}

// NewSecret returns the Secret with a value.
func NewSecret(value string) Secret { return Secret{&value} }

// Reveal returns the value, "" for the zero Secret.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Bearer returns the header with which the application accepts the value. Jira ignores
// another spelling of "Bearer".
func (s Secret) Bearer() http.Header {
	return http.Header{"Authorization": {"Bearer " + s.Reveal()}}
}

// String returns a placeholder.
func (Secret) String() string { return "[secret]" }

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// The application's refusals. Errors that wrap them say what the user can do.
var (
	// ErrCredentialsOff means that the application makes no credentials at present.
	ErrCredentialsOff = errors.New("personal access tokens are switched off")

	// ErrCredentialLimit means that the user has as many credentials as allowed.
	ErrCredentialLimit = errors.New("you have too many personal access tokens")

	// ErrCredentialRefused means that the application refuses this lifetime or name.
	ErrCredentialRefused = errors.New("the lifetime or the name of the personal access token is refused")

	// ErrLicense means that the application's license forbids the call.
	ErrLicense = errors.New("the license does not allow personal access tokens")

	// ErrCrossSite means that the application took the call for a forgery by another
	// site (XSRF).
	ErrCrossSite = errors.New("the request was taken for one from another site")

	// ErrNotAllowed means that the application knows the user, but does not allow the
	// call: the credential is another user's, or the user's own may not make others.
	ErrNotAllowed = errors.New("this login may not do that")
)
