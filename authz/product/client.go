package product

import (
	"context"
	"net/http"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
)

// Client asks the application about its users. It is safe for concurrent use.
type Client interface {
	// Myself returns the user whom the application recognizes by a credential, a
	// Cookie or an Authorization header, and what its answer says about that
	// credential. Errors wrap directory.ErrNotLoggedIn, ErrBasicRefused, ErrCaptcha,
	// ErrInactive, ErrUnusableName or ErrUnavailable. asked is the time of the
	// request.
	Myself(ctx context.Context, credential http.Header, timeout time.Duration, asked time.Time) (directory.User, Verdict, error)

	// Source returns the source of the user directory.
	Source(SourceOptions) directory.Source
}

// SourceOptions configure a Client's Source. All fields are required.
type SourceOptions struct {
	Credential string          // the file that holds the service credential; read at each refresh
	Groups     func() []string // current names of the groups to follow
	Now        func() time.Time
}

// Verdict is what an answer of the application says about a credential.
type Verdict int

// The verdicts.
const (
	VerdictUnknown   Verdict = iota // whether the application checked it is unknown
	VerdictRejected                 // wrong, or not checked because of too many failures
	VerdictUnchecked                // the application did not check it
	VerdictAccepted
)
