package manage

import (
	"errors"
	"strings"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
)

// Caller is who asks for an operation. Whoever makes one has verified who it
// is; what they may do is up to the Manager. The zero Caller may do nothing.
type Caller struct {
	name string // as records name them
	from string // where they came in
	kind callerKind

	user  directory.User // of a person
	token store.Token    // of automation
}

type callerKind uint8

const (
	nobody     callerKind = iota
	person                // somebody with an account
	automation            // a management token
	operator              // whoever may open the admin socket
	itself                // tokengate
)

// Operator returns the caller at the other end of the admin socket, such as
// "uid:0". Operators are administrators whom no directory has to know.
func Operator(name string) Caller {
	return Caller{name: name, from: "admin socket", kind: operator}
}

// Person returns the caller who has logged in as the user, at an address.
func Person(u directory.User, address string) Caller {
	if !u.Active || u.Name == "" {
		return Caller{}
	}
	return Caller{name: u.Name, from: address, kind: person, user: u}
}

// Automation returns the caller who sent a management token, at an address.
func Automation(t store.Token, address string) Caller {
	if t.Kind != store.Management || t.ID == "" {
		return Caller{}
	}
	return Caller{name: "token:" + t.ID, from: address, kind: automation, token: t}
}

// Name returns the name by which records know the caller: a user's name, or one
// with a colon, which no user's name has.
func (c Caller) Name() string { return c.name }

// actor is the name for the audit log, which also tells what a management token
// is called.
func (c Caller) actor() string {
	switch c.kind {
	case nobody:
		return "unknown"
	case automation:
		return c.name + " " + c.token.Name
	}
	return c.name
}

// owns reports whether the token is the caller's own.
func (c Caller) owns(t store.Token) bool {
	return c.kind == person && t.Kind == store.Ordinary && isOwner(t.Owner, c.user)
}

// isOwner reports whether the owner of a token is the user: by key where the
// owner's is known, because names are given to others.
func isOwner(o store.Owner, u directory.User) bool {
	if o.Key != "" {
		return o.Key == u.Key
	}
	return store.FoldOwner(o.Name) == store.FoldOwner(u.Name)
}

// made reports whether the caller created the token, or the management token by
// which the caller comes was created by who created it.
func (c Caller) made(t store.Token) bool {
	name, key := c.name, c.user.Key
	if c.kind == automation && t.CreatedBy != name {
		name, key = c.token.CreatedBy, c.token.CreatedByKey
	}
	return store.FoldOwner(t.CreatedBy) == store.FoldOwner(name) || key != "" && t.CreatedByKey == key
}

// isPerson reports whether a record's name for who did something is a user's.
func isPerson(name string) bool { return !strings.Contains(name, ":") }

// isAdmin reports whether somebody is known to be an active administrator.
func (op *operation) isAdmin(name, key string) bool {
	u, err := op.manager.Directory.Owner(name, key)
	return err == nil && op.rules.Access.IsAdmin(groups(u.Groups))
}

// hasMaker reports whether whoever created a management token could create it
// now: what it may do is theirs.
func (op *operation) hasMaker(t store.Token) bool {
	return !isPerson(t.CreatedBy) || op.isAdmin(t.CreatedBy, t.CreatedByKey)
}

// reachesAdministrator reports whether a token that somebody made for somebody
// else acts as an administrator by now, though its maker is none.
func (op *operation) reachesAdministrator(t store.Token) bool {
	return t.Kind == store.Ordinary && isPerson(t.CreatedBy) &&
		!isOwner(t.Owner, directory.User{Name: t.CreatedBy, Key: t.CreatedByKey}) &&
		op.isAdmin(t.Owner.Name, t.Owner.Key) && !op.isAdmin(t.CreatedBy, t.CreatedByKey)
}

// standsFor reports whether the caller is the user, or comes by a management
// token that the user has created.
func (c Caller) standsFor(o store.Owner) bool {
	switch c.kind {
	case person:
		return isOwner(o, c.user)
	case automation:
		return isOwner(o, directory.User{Name: c.token.CreatedBy, Key: c.token.CreatedByKey})
	}
	return false
}

// groups are the caller's or an owner's, for the rules. Those that are not
// known hold nobody.
type groups directory.Groups

// In implements policy.Member.
func (g groups) In(group string) bool { return directory.Groups(g).Has(group) }

// errGroups says that what somebody may do cannot be told now.
var errGroups = errors.New("the groups of a user are not known yet")

// unsure makes of a refusal that it cannot be told now, where it is for the
// caller's groups, which are not known.
func (op *operation) unsure(err error) error {
	if op.caller.kind == person && !op.caller.user.Groups.Known {
		return unavailable(errGroups)
	}
	return err
}

// ownerGroups is nil where the groups are not known: then nobody may create
// tokens for the owner, who might be an administrator.
func ownerGroups(u directory.User) policy.Member {
	if !u.Groups.Known {
		return nil
	}
	return groups(u.Groups)
}
