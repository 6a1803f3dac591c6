package policy

import (
	"slices"

	"github.com/tokengate/tokengate/authz/config"
)

// Access decides who may use tokens, create them, create them for others, and
// administer them all. It is never changed once made. The zero Access lets
// nobody do anything.
//
// It is asked about people whom the directory knows and who are active: to it
// "*" is everyone.
type Access struct {
	use, admin groups
	create     []creationPolicy // the most permissive first
	forOthers  []forOthersPolicy
	rules      []Setting
}

// Member is one active person, and which groups they are in. A nil Member is a
// person of whom that can't be told: nothing is allowed to them, nor to anyone
// in their name.
type Member interface {
	// In reports whether the person is in a group, in the spelling of
	// config.Config.Groups. A group that does not exist has no members. Where
	// members of a group of access.admin can't be told there is no Member, or
	// an administrator would pass for somebody else.
	In(group string) bool
}

type creationPolicy struct {
	groups groups
	terms  Terms
}

type forOthersPolicy struct{ groups, owners groups }

// groups is a compiled list of groups. The zero groups hold nobody.
type groups struct {
	everyone bool
	names    []string // in the spelling of config.Config.Groups
}

// NewAccess compiles a checked configuration.
func NewAccess(c config.Config) *Access {
	spelling := map[string]string{}
	for _, name := range c.Groups() {
		spelling[config.FoldGroup(name)] = name
	}
	compile := func(list []string) groups {
		if slices.Contains(list, "*") {
			return groups{everyone: true}
		}
		names := make([]string, 0, len(list))
		for _, name := range list {
			names = append(names, spelling[config.FoldGroup(name)])
		}
		return groups{names: names}
	}
	a := &Access{use: compile(c.Access.Use), admin: compile(c.Access.Admin), rules: settings(c)}
	for i, rule := range c.Access.Create {
		a.create = append(a.create, creationPolicy{compile(rule.Groups), newTerms(indexKey("access.create", i), rule)})
	}
	slices.SortStableFunc(a.create, func(x, y creationPolicy) int { return y.terms.compare(x.terms) })
	for _, rule := range c.Access.CreateForOthers {
		a.forOthers = append(a.forOthers, forOthersPolicy{compile(rule.Groups), compile(rule.For)})
	}
	return a
}

// MayUse reports whether the person's tokens are good.
func (a *Access) MayUse(m Member) bool { return a.use.contain(m) }

// UseGroups returns the groups whose members' tokens are good; "*" is none.
func (a *Access) UseGroups() []string { return slices.Clone(a.use.names) }

// IsAdmin reports whether the person may manage all tokens.
func (a *Access) IsAdmin(m Member) bool { return a.admin.contain(m) }

// Terms returns the terms on which the person may create tokens: those of the
// most permissive rule that matches, by the order that testdata/config/full.yaml
// tells of access.create. false: they may create none.
func (a *Access) Terms(m Member) (Terms, bool) {
	for _, rule := range a.create {
		if rule.groups.contain(m) {
			return rule.terms, true
		}
	}
	return Terms{}, false
}

// CreatesForOthers reports whether a rule lets the caller create tokens for
// anybody else.
func (a *Access) CreatesForOthers(caller Member) bool {
	return slices.ContainsFunc(a.forOthers, func(rule forOthersPolicy) bool { return rule.groups.contain(caller) })
}

// MayCreateFor reports whether a rule lets the caller create tokens for the
// owner, who is somebody else. None lets anybody do so for an administrator.
// What administrators may do is no matter of rules, and not asked here.
func (a *Access) MayCreateFor(caller, owner Member) bool {
	return !a.IsAdmin(owner) && slices.ContainsFunc(a.forOthers, func(rule forOthersPolicy) bool {
		return rule.groups.contain(caller) && rule.owners.contain(owner)
	})
}

// contain reports whether the person is in one of the groups.
func (g groups) contain(m Member) bool {
	return m != nil && (g.everyone || slices.ContainsFunc(g.names, m.In))
}
