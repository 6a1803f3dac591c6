package policy

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
)

// Access decides who may use tokens, create them, create them for others, and
// administer all tokens. It is never changed once made. The zero Access allows
// nothing.
//
// All methods assume active users of the directory: "*" means all of them.
type Access struct {
	use, admin groups
	create     []creationPolicy // the most permissive first
	forOthers  []forOthersPolicy
	settings   []Setting
}

// Member is an active user with known groups. A nil Member is a user with unknown
// groups, who may do nothing and for whom nobody may create tokens.
type Member interface {
	// In reports whether the user is in a group, in the spelling of
	// config.Config.Groups. A nonexistent group has no members. If the members of a
	// group of access.admin are unknown, the Member must be nil, so that no
	// administrator is taken for another user.
	In(group string) bool
}

type creationPolicy struct {
	groups groups
	terms  Terms
}

type forOthersPolicy struct{ groups, owners groups }

// groups is a compiled list of groups. The zero groups have no members.
type groups struct {
	everyone bool
	names    []string // in the spelling of config.Config.Groups
}

// NewAccess compiles a checked configuration.
func NewAccess(c config.Config) *Access {
	spelling := map[string]string{}
	for _, name := range c.Groups() {
		spelling[directory.FoldGroup(name)] = name
	}
	compile := func(list []string) groups {
		if slices.Contains(list, "*") {
			return groups{everyone: true}
		}
		names := make([]string, 0, len(list))
		for _, name := range list {
			names = append(names, spelling[directory.FoldGroup(name)])
		}
		return groups{names: names}
	}
	a := &Access{use: compile(c.Access.Use), admin: compile(c.Access.Admin), settings: appendSettings(nil, "", reflect.ValueOf(c))}
	for i, create := range c.Access.Create {
		a.create = append(a.create, creationPolicy{compile(create.Groups), newTerms(config.IndexKey("access.create", i), create)})
	}
	slices.SortStableFunc(a.create, func(x, y creationPolicy) int { return y.terms.compare(x.terms) })
	for _, others := range c.Access.CreateForOthers {
		a.forOthers = append(a.forOthers, forOthersPolicy{compile(others.Groups), compile(others.For)})
	}
	return a
}

// MayUse reports whether the user's tokens are accepted.
func (a *Access) MayUse(m Member) bool { return a.use.contain(m) }

// UseGroups returns the groups whose members' tokens are accepted; nil for "*".
func (a *Access) UseGroups() []string { return slices.Clone(a.use.names) }

// IsAdmin reports whether the user may manage all tokens.
func (a *Access) IsAdmin(m Member) bool { return a.admin.contain(m) }

// Terms returns the terms on which the user may create tokens, those of the most
// permissive creation policy that applies, in the order of access.create in
// testdata/config/full.yaml. false means that the user may create none.
func (a *Access) Terms(m Member) (Terms, bool) {
	for _, policy := range a.create {
		if policy.groups.contain(m) {
			return policy.terms, true
		}
	}
	return Terms{}, false
}

// CreatesForOthers reports whether the caller may create tokens for any other
// user.
func (a *Access) CreatesForOthers(caller Member) bool {
	return slices.ContainsFunc(a.forOthers, func(p forOthersPolicy) bool { return p.groups.contain(caller) })
}

// MayCreateFor reports whether the caller may create tokens for the owner, another
// user. Policies never apply to owners who are administrators. The caller's own
// administrator rights are not considered.
func (a *Access) MayCreateFor(caller, owner Member) bool {
	return !a.IsAdmin(owner) && slices.ContainsFunc(a.forOthers, func(p forOthersPolicy) bool {
		return p.groups.contain(caller) && p.owners.contain(owner)
	})
}

// contain reports whether the user is in one of the groups.
func (g groups) contain(m Member) bool {
	return m != nil && (g.everyone || slices.ContainsFunc(g.names, m.In))
}

// Terms are the limits of tokens that a user creates. The zero Terms allow no
// lifetime.
type Terms struct {
	Key              string          `json:"key"`              // of the creation policy, such as access.create[1]
	MaxLifetime      config.Lifetime `json:"-"`                // also the default lifetime
	ReadOnly         bool            `json:"readOnly"`         // the token must be read-only
	Approval         bool            `json:"approval"`         // an administrator must approve the token before it works
	NetworksRequired bool            `json:"networksRequired"` // the token must name networks
	Rate             config.Rate     `json:"-"`                // the maximum rate
}

func newTerms(key string, p config.CreationPolicy) Terms {
	return Terms{
		Key:              key,
		MaxLifetime:      p.MaxLifetime,
		ReadOnly:         p.ReadOnly,
		Approval:         p.Approval,
		NetworksRequired: p.Networks != config.NetworksOptional,
		Rate:             p.Rate,
	}
}

// compare returns -1 if t is less permissive than o, 1 if it is more permissive,
// and 0 if only the keys differ. Earlier fields count first.
func (t Terms) compare(o Terms) int {
	return cmp.Or(
		compareLimit(t.Approval, o.Approval),
		compareLimit(t.ReadOnly, o.ReadOnly),
		compareLimit(t.NetworksRequired, o.NetworksRequired),
		t.MaxLifetime.Compare(o.MaxLifetime),
		t.Rate.Compare(o.Rate),
	)
}

// compareLimit compares two limits: not limited is more permissive.
func compareLimit(limited, other bool) int {
	switch {
	case limited == other:
		return 0
	case limited:
		return -1
	}
	return 1
}

// Narrower returns the narrower of each term, with t's key.
func (t Terms) Narrower(o Terms) Terms {
	if o.MaxLifetime.Compare(t.MaxLifetime) < 0 {
		t.MaxLifetime = o.MaxLifetime
	}
	t.ReadOnly = t.ReadOnly || o.ReadOnly
	t.Approval = t.Approval || o.Approval
	t.NetworksRequired = t.NetworksRequired || o.NetworksRequired
	t.Rate = t.Rate.Narrower(o.Rate)
	return t
}
