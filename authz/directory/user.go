package directory

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tokengate/tokengate/store"
)

// Errors about users. Their texts are shown to users; errors that wrap them add
// details.
var (
	// ErrUnknownUser means that the user does not exist.
	ErrUnknownUser = errors.New("there is no such user")

	// ErrInactive means that the user is deactivated. It is returned with the
	// User.
	ErrInactive = errors.New("the user is deactivated")

	// ErrUnavailable means that there is no reliable answer: none came, it was
	// late or it was invalid.
	ErrUnavailable = errors.New("there is no reliable answer now, try again later")

	// ErrBusy means that the application was not asked because too many requests
	// are waiting. It wraps ErrUnavailable.
	ErrBusy = fmt.Errorf("%w: too many requests are waiting", ErrUnavailable)

	// ErrUnusableName means that the user exists, but no token owner can have
	// that name. See store.ValidOwnerName.
	ErrUnusableName = errors.New("the user's name can't own tokens")
)

// Errors about callers, in addition to the errors above. The texts tell users
// what to do.
var (
	// ErrNotLoggedIn means that the application does not know the caller.
	ErrNotLoggedIn = errors.New("you are not logged in: log in with the browser, " +
		"or send your user name and password")

	// ErrBasicRefused means that the application accepts no passwords on its REST
	// API, the default of Jira 11.
	ErrBasicRefused = errors.New("passwords are switched off on this REST API: " +
		"log in with the browser and use the API tokens page there")

	// ErrCaptcha means that the application asks for a CAPTCHA after too many
	// failed logins.
	ErrCaptcha = errors.New("a CAPTCHA is required after failed logins: " +
		"log in with the browser and use the API tokens page there")
)

// User is a user of the application. The zero User is inactive.
type User struct {
	Key         string // the user's key, such as JIRAUSER10100, which survives a rename; empty if unknown
	Name        string // login name in the application's spelling; see store.ValidOwnerName
	DisplayName string // may be empty
	Active      bool
	Groups      Groups
	Asked       time.Time // when the source was asked
}

// Groups are the names of a user's groups. The zero Groups are unknown, which
// is not the same as none. In an application's Snapshot they contain only the
// requested groups; see Snapshot.Member.
type Groups struct {
	Known bool
	Names []string
}

// Has reports whether the user is in the group. Case is ignored. It
// is false for unknown groups.
func (g Groups) Has(group string) bool {
	if !g.Known {
		return false
	}
	for _, name := range g.Names {
		if FoldGroup(name) == FoldGroup(group) {
			return true
		}
	}
	return false
}

// Owner is an owner of tokens.
type Owner struct {
	Name     string    // as in the tokens
	Key      string    // empty if unknown
	LastUsed time.Time // latest use of any of their tokens; zero if never
}

// FoldGroup returns the form in which group names are compared, here and in the
// configuration.
func FoldGroup(name string) string { return strings.ToLower(name) }

// Identity returns what identifies a user: the key if known, otherwise the
// folded name.
func Identity(name, key string) string {
	if key != "" {
		return "key:" + key
	}
	return "name:" + store.FoldOwner(name)
}

func (u User) Identity() string { return Identity(u.Name, u.Key) }

// Limits on a user's key and display name, in bytes.
const (
	maxKey         = 255
	maxDisplayName = 1024
)

// Check reports why a user from outside can't be used.
func (u User) Check() error {
	if err := store.ValidOwnerName(u.Name); err != nil {
		return fmt.Errorf("%w: %s", ErrUnusableName, strings.TrimPrefix(err.Error(), store.ErrInvalid.Error()+": "))
	}
	if len(u.Key) > maxKey || !printable(u.Key) {
		return fmt.Errorf("%w: the user's key is too long or has control characters", ErrUnavailable)
	}
	return nil
}

// printable reports whether text contains only graphic characters.
func printable(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if !unicode.IsGraphic(r) {
			return false
		}
	}
	return true
}

// CleanDisplayName returns text, or "" if it is too long or not printable: a
// bad display name is not worth an error.
func CleanDisplayName(text string) string {
	if len(text) > maxDisplayName || !printable(text) {
		return ""
	}
	return text
}

// Truncate shortens a name for an error message.
func Truncate(name string) string {
	const most = 64
	if len(name) > most {
		return name[:most] + "…"
	}
	return name
}

// CheckActive returns ErrInactive for a deactivated user.
func CheckActive(u User) error {
	if !u.Active {
		return ErrInactive
	}
	return nil
}
