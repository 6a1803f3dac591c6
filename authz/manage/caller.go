package manage

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/store"
)

// Caller is who asks for an operation. The code that makes a Caller has verified the
// identity; the Manager decides what it may do. The zero Caller may do nothing.
type Caller struct {
	name string // in records
	from string // the client's address, or "admin socket"
	kind callerKind

	user  directory.User     // of a user
	login func() http.Header // see WithLogin; a function, so that printing a Caller reveals nothing
	token store.Token        // of a management token
}

type callerKind uint8

const (
	kindNone callerKind = iota
	kindUser            // with an account in Jira
	kindManagementToken
	kindOperator // of the admin socket
	kindSystem   // tokengate itself
)

// Operator returns the caller at the other end of the admin socket, such as "uid:0".
// Operators are administrators and need no account.
func Operator(name string) Caller {
	return Caller{name: name, from: "admin socket", kind: kindOperator}
}

// User returns a logged-in user as the caller, at a client address.
func User(u directory.User, address string) Caller {
	if !u.Active || u.Name == "" {
		return Caller{}
	}
	return Caller{name: u.Name, from: address, kind: kindUser, user: u}
}

// WithLogin returns a user as the caller who logged in with these headers, a Cookie or an
// Authorization, which the application has just accepted. With them a personal access token
// can be created for the user.
func (c Caller) WithLogin(login http.Header) Caller {
	c.login = func() http.Header { return login }
	return c
}

// ManagementToken returns the management token as the caller, at a client address.
func ManagementToken(t store.Token, address string) Caller {
	if t.Kind != store.Management || t.ID == "" {
		return Caller{}
	}
	return Caller{name: "token:" + t.ID, from: address, kind: kindManagementToken, token: t}
}

// Name returns the caller's name in records: a user name, or a name with a colon,
// which no user name has.
func (c Caller) Name() string { return c.name }

// actor returns the name for the audit log, which includes a management token's
// name.
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

// isOwner reports whether the user owns tokens of the owner: by key if the owner's
// key is known, because names are reused.
func isOwner(o store.Owner, u directory.User) bool {
	if o.Key != "" {
		return o.Key == u.Key
	}
	return store.FoldOwner(o.Name) == store.FoldOwner(u.Name)
}

// identity is a user, or another actor, in records.
type identity struct{ name, key string }

func (i identity) is(o identity) bool {
	return store.FoldOwner(i.name) == store.FoldOwner(o.name) || i.key != "" && i.key == o.key
}

// identities are the identities that may be acting: the caller and, for a management
// token, its creator and the user who received its value.
func (c Caller) identities() []identity {
	all := []identity{{c.name, c.user.Key}}
	if c.kind == kindManagementToken {
		all = append(all, creators(c.token)...)
	}
	return all
}

// creators are the identities that created a token and, if recorded, received its
// value.
func creators(t store.Token) []identity {
	all := []identity{{t.CreatedBy, t.CreatedByKey}}
	if t.IssuedBy != "" {
		all = append(all, identity{t.IssuedBy, t.IssuedByKey})
	}
	return all
}

// issuer is the identity that learns a value that the caller receives: for a
// management token, the user who received the management token's value.
func (c Caller) issuer() identity {
	all := c.identities()
	return all[len(all)-1]
}

// created reports whether one of the caller's identities created the token.
func (c Caller) created(t store.Token) bool {
	return slices.ContainsFunc(c.identities(), identity{t.CreatedBy, t.CreatedByKey}.is)
}

// isUserName reports whether an actor's name in a record is a user's.
func isUserName(name string) bool { return !strings.Contains(name, ":") }

// isAdmin reports whether a user is an active administrator. If that is unknown, the
// error wraps directory.ErrUnavailable.
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

// creatorsAreAdmins reports whether the users who created or received a management
// token are still administrators, on whose rights it depends.
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

// isExposed reports whether a token acts as an administrator and another user, who
// is no administrator, knows a valid secret of it.
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
		// The owner is known, so the directory is loaded and the error is no outage.
		if is, _ := op.isAdmin(who.name, who.key); !is {
			return true, nil
		}
	}
	return false, nil
}

// checkExposure refuses to activate a token that isExposed.
func (op *operation) checkExposure(t store.Token) error {
	reaches, err := op.isExposed(t)
	switch {
	case err != nil:
		return unavailable(err)
	case reaches:
		return refused(BadState, "This token's owner has become an administrator, and the user who received its value is not one. Create another, or let the owner rotate it.")
	}
	return nil
}

// actsFor reports whether the caller is the owner, or a management token that the
// owner created or received.
func (c Caller) actsFor(o store.Owner) bool {
	return slices.ContainsFunc(c.identities(), func(i identity) bool {
		return isUserName(i.name) && isOwner(o, directory.User{Name: i.name, Key: i.key})
	})
}

// groups are a user's groups, as a policy.Member. Unknown groups have no members.
type groups directory.Groups

// In implements policy.Member.
func (g groups) In(group string) bool { return directory.Groups(g).Has(group) }

// errGroups says that a user's rights are unknown.
var errGroups = errors.New("the groups of a user are not known yet")

// orUnavailable replaces a refusal by ErrUnavailable if the caller's groups, which
// may have caused it, are unknown.
func (op *operation) orUnavailable(err error) error {
	if op.caller.kind == kindUser && !op.caller.user.Groups.Known {
		return unavailable(errGroups)
	}
	return err
}
