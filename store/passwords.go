package store

import (
	"net/netip"
	"strings"
	"time"
)

// PasswordUse is what is known of the passwords that came for one user from one
// client at one address.
type PasswordUse struct {
	User    string     // as the directory spells it
	Client  string     // what the client says that it is, its User-Agent; empty: nothing
	Address netip.Addr // the client's; invalid: not known

	First, Last time.Time // the first request and the last; UTC, whole seconds

	Passed     uint64 // requests let through
	WouldBlock uint64 // those of them, while passwords were observed, that block would have refused
	Blocked    uint64 // requests refused because passwords are blocked
}

// Limits of what a Store keeps of the use of passwords.
const (
	// MaxPasswordUsers is the number of users.
	MaxPasswordUsers = 10_000

	// MaxPasswordClients is the number of clients, each at one address, of one
	// user. All others of that user are one more, without Client and Address.
	MaxPasswordClients = 20

	// MaxPasswordBatch is the number of users whose uses a Store adds in one
	// transaction: AddPasswordUses with at most so many is applied whole or not
	// at all.
	MaxPasswordBatch = 100
)

// Requests returns how many requests there were.
func (u PasswordUse) Requests() uint64 { return u.Passed + u.Blocked }

// AddPasswordUse returns the uses of one user with another of the same user's
// on top. It adds to the one with the same client and address, or else, where
// there are MaxPasswordClients of them, to that of all others. It changes uses
// in place; what it adds to them shares no memory with more.
func AddPasswordUse(uses []PasswordUse, more PasswordUse) []PasswordUse {
	more.First, more.Last = wholeSeconds(more.First), wholeSeconds(more.Last)
	more.Address = more.Address.Unmap().WithZone("")
	clients := 0
	for i := range uses {
		u := &uses[i]
		if u.Address == more.Address && u.Client == more.Client {
			u.add(more)
			return uses
		}
		if !u.isOther() {
			clients++
		}
	}
	if clients == MaxPasswordClients && !more.isOther() {
		more.Client, more.Address = "", netip.Addr{}
		return AddPasswordUse(uses, more)
	}
	more.User, more.Client = strings.Clone(more.User), strings.Clone(more.Client)
	return append(uses, more)
}

// isOther reports whether u is that of all clients beyond MaxPasswordClients, or
// of one of which nothing is known.
func (u *PasswordUse) isOther() bool { return u.Client == "" && !u.Address.IsValid() }

func (u *PasswordUse) add(more PasswordUse) {
	u.Passed += more.Passed
	u.WouldBlock += more.WouldBlock
	u.Blocked += more.Blocked
	if more.First.Before(u.First) {
		u.First = more.First
	}
	if more.Last.After(u.Last) {
		u.Last = more.Last
	}
}
