package manage

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz/directory"
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
	kindNone            callerKind = iota
	kindUser                       // somebody with an account
	kindManagementToken            // a management token
	kindOperator                   // whoever may open the admin socket
	kindSystem                     // tokengate
)

// Operator returns the caller at the other end of the admin socket, such as
// "uid:0". Operators are administrators whom no directory has to know.
func Operator(name string) Caller {
	return Caller{name: name, from: "admin socket", kind: kindOperator}
}

// Person returns the caller who has logged in as the user, at an address.
func Person(u directory.User, address string) Caller {
	if !u.Active || u.Name == "" {
		return Caller{}
	}
	return Caller{name: u.Name, from: address, kind: kindUser, user: u}
}

// Automation returns the caller who sent a management token, at an address.
func Automation(t store.Token, address string) Caller {
	if t.Kind != store.Management || t.ID == "" {
		return Caller{}
	}
	return Caller{name: "token:" + t.ID, from: address, kind: kindManagementToken, token: t}
}

// Name returns the name by which records know the caller: a user's name, or one
// with a colon, which no user's name has.
func (c Caller) Name() string { return c.name }

// actor is the name for the audit log, which also tells what a management token
// is called.
func (c Caller) actor() string {
	switch c.kind {
	case kindNone:
		return "unknown"
	case kindManagementToken:
		return c.name + " " + c.token.Name
	}
	return c.name
}

// owns reports whether the token is the caller's own.
func (c Caller) owns(t store.Token) bool {
	return c.kind == kindUser && t.Kind == store.Ordinary && isOwner(t.Owner, c.user)
}

// isOwner reports whether the owner of a token is the user: by key where the
// owner's is known, because names are given to others.
func isOwner(o store.Owner, u directory.User) bool {
	if o.Key != "" {
		return o.Key == u.Key
	}
	return store.FoldOwner(o.Name) == store.FoldOwner(u.Name)
}

// identity is somebody as records name them.
type identity struct{ name, key string }

func (i identity) is(o identity) bool {
	return store.FoldOwner(i.name) == store.FoldOwner(o.name) || i.key != "" && i.key == o.key
}

// principals are those who may be behind the caller: the caller, and of a management
// token whoever created it and whoever was told its value.
func (c Caller) principals() []identity {
	all := []identity{{c.name, c.user.Key}}
	if c.kind == kindManagementToken {
		all = append(all, creators(c.token)...)
	}
	return all
}

// creators are whoever created a token and, if that is kept, was told its value.
func creators(t store.Token) []identity {
	all := []identity{{t.CreatedBy, t.CreatedByKey}}
	if t.IssuedBy != "" {
		all = append(all, identity{t.IssuedBy, t.IssuedByKey})
	}
	return all
}

// issuer is who learns a value that the caller is told: of automation a person,
// if one was told the management token's.
func (c Caller) issuer() identity {
	all := c.principals()
	return all[len(all)-1]
}

// created reports whether the token was created by somebody who may be behind the
// caller.
func (c Caller) created(t store.Token) bool {
	return slices.ContainsFunc(c.principals(), identity{t.CreatedBy, t.CreatedByKey}.is)
}

// isUserName reports whether a record's name for who did something is a user's.
func isUserName(name string) bool { return !strings.Contains(name, ":") }

// isAdmin reports whether somebody is an active administrator. Where that cannot
// be told the error wraps directory.ErrUnavailable.
func (op *operation) isAdmin(name, key string) (bool, error) {
	u, err := op.manager.Directory.Owner(name, key)
	switch {
	case errors.Is(err, directory.ErrUnavailable):
		return false, err
	case err != nil:
		return false, nil
	case !u.Groups.Known:
		return false, fmt.Errorf("%w: %w", directory.ErrUnavailable, errGroups)
	}
	return op.settings.Access.IsAdmin(groups(u.Groups)), nil
}

// creatorsAreAdmins reports whether those who made a management token and know its value
// could make it now: what it may do is theirs.
func (op *operation) creatorsAreAdmins(t store.Token) (bool, error) {
	for _, who := range creators(t) {
		if !isUserName(who.name) {
			continue
		}
		if is, err := op.isAdmin(who.name, who.key); err != nil || !is {
			return false, err
		}
	}
	return true, nil
}

// isExposed reports whether a token acts as an administrator, and
// somebody else, who is none, was told a value of it that is good.
func (op *operation) isExposed(t store.Token) (bool, error) {
	all := creators(t)
	know := all[len(all)-1:]
	if op.now.Before(t.Previous.Until) && t.PreviousIssuedBy != "" {
		know = append(know, identity{t.PreviousIssuedBy, t.PreviousIssuedByKey})
	}
	know = slices.DeleteFunc(know, func(i identity) bool {
		return !isUserName(i.name) || isOwner(t.Owner, directory.User{Name: i.name, Key: i.key})
	})
	if t.Kind != store.Ordinary || len(know) == 0 {
		return false, nil
	}
	if owner, err := op.isAdmin(t.Owner.Name, t.Owner.Key); err != nil || !owner {
		return false, err
	}
	for _, who := range know {
		// Where the owner is known to be an administrator, every one is known.
		if is, _ := op.isAdmin(who.name, who.key); !is {
			return true, nil
		}
	}
	return false, nil
}

// checkExposure refuses to bring a token into force that reachesAdministrator.
func (op *operation) checkExposure(t store.Token) error {
	reaches, err := op.isExposed(t)
	switch {
	case err != nil:
		return unavailable(err)
	case reaches:
		return refused(BadState, "This token's owner is an administrator by now, and whoever was told its value is none. Create another, or let the owner rotate it.")
	}
	return nil
}

// actsFor reports whether the caller is the owner, or comes by a management
// token that the owner created or whose value the owner was told.
func (c Caller) actsFor(o store.Owner) bool {
	return slices.ContainsFunc(c.principals(), func(i identity) bool {
		return isUserName(i.name) && isOwner(o, directory.User{Name: i.name, Key: i.key})
	})
}

// groups are the caller's or an owner's, for the rules. Those that are not
// known hold nobody.
type groups directory.Groups

// In implements policy.Member.
func (g groups) In(group string) bool { return directory.Groups(g).Has(group) }

// errGroups says that what somebody may do cannot be told now.
var errGroups = errors.New("the groups of a user are not known yet")

// orUnavailable makes of a refusal that it cannot be told now, where it is for the
// caller's groups, which are not known.
func (op *operation) orUnavailable(err error) error {
	if op.caller.kind == kindUser && !op.caller.user.Groups.Known {
		return unavailable(errGroups)
	}
	return err
}
