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

// What keeps somebody from being known, or from being somebody who may hold
// tokens. The texts are for people; errors that wrap them say more.
var (
	// ErrUnknownUser says that there is no such user.
	ErrUnknownUser = errors.New("there is no such user")

	// ErrInactive says that the user is there and deactivated. It comes
	// together with the User.
	ErrInactive = errors.New("the user is deactivated")

	// ErrUnavailable says that there is no answer that can be relied on: nobody
	// answered, in time or at all, or what came makes no sense.
	ErrUnavailable = errors.New("the user directory gives no answer now, try again later")

	// ErrBusy says that nobody was asked, because too many are waiting. It wraps
	// ErrUnavailable.
	ErrBusy = fmt.Errorf("%w: too many requests are waiting for Jira", ErrUnavailable)

	// ErrUnusableName says that the user exists under a name that no owner of
	// tokens can have. See store.ValidOwnerName.
	ErrUnusableName = errors.New("the user's name can't be that of a token's owner")
)

// User is somebody whom a directory knows. The zero User is inactive.
type User struct {
	Key         string // Jira's user key, such as JIRAUSER10100, which survives a rename; empty where unknown
	Name        string // login name in Jira's own spelling; see store.ValidOwnerName
	DisplayName string // as people see it; may be empty
	Active      bool
	Groups      Groups
	Asked       time.Time // when the source said so
}

// Groups are the names of the groups that somebody is in. The zero Groups are
// unknown, which is not the same as none. Those that a Snapshot of Jira knows
// are only the ones that were asked for; Snapshot.Member tells.
type Groups struct {
	Known bool
	Names []string
}

// Has reports whether the group is among them. Names are compared as Jira
// compares them, without case. Unknown groups have none.
func (g Groups) Has(group string) bool {
	if !g.Known {
		return false
	}
	for _, name := range g.Names {
		if foldGroup(name) == foldGroup(group) {
			return true
		}
	}
	return false
}

// Owner is an owner of tokens, as a source needs to know them.
type Owner struct {
	Name     string    // as the tokens have it
	Key      string    // empty where unknown
	LastUsed time.Time // of any of their tokens; zero: never
}

// foldGroup returns the form in which two spellings of a group's name are
// equal.
func foldGroup(name string) string { return strings.ToLower(name) }

// identity returns what a person is told apart by: the key where there is
// one, else the folded name.
func identity(name, key string) string {
	if key != "" {
		return "key:" + key
	}
	return "name:" + store.FoldOwner(name)
}

func (u User) identity() string { return identity(u.Name, u.Key) }

// Bounds of what is believed to be a key and a name for display, in bytes.
const (
	maxKey         = 255
	maxDisplayName = 1024
)

// check reports why a user from outside can't be used as one.
func (u User) check() error {
	if err := store.ValidOwnerName(u.Name); err != nil {
		return fmt.Errorf("%w: %s", ErrUnusableName, strings.TrimPrefix(err.Error(), store.ErrInvalid.Error()+": "))
	}
	if len(u.Key) > maxKey || !printable(u.Key) {
		return fmt.Errorf("%w: the user's key is too long or has control characters", ErrUnavailable)
	}
	return nil
}

// printable reports whether a text has only characters that may stand in a
// line for people.
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

// cleanDisplayName returns a name for people that may stand in a line. What Jira
// has is not worth an error.
func cleanDisplayName(text string) string {
	if len(text) > maxDisplayName || !printable(text) {
		return ""
	}
	return text
}

// truncate cuts a name to what an error has room for.
func truncate(name string) string {
	const most = 64
	if len(name) > most {
		return name[:most] + "…"
	}
	return name
}

func checkActive(u User) error {
	if !u.Active {
		return ErrInactive
	}
	return nil
}
