package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
)

// in are the groups of one user, in the spelling of the configuration.
type in []string

func (groups in) In(group string) bool { return slices.Contains(groups, group) }

// parse reads the access settings of a valid file.
func parse(t *testing.T, access string) config.Config {
	t.Helper()
	c, err := config.Parse("test.yaml", []byte("publicURL: https://jira.example.com\ndirectory: {file: /users.yaml}\naccess:\n"+access))
	if err != nil {
		t.Fatalf("%v\nof:\n%s", err, access)
	}
	return c
}

func TestMayUseAndIsAdmin(t *testing.T) {
	tests := []struct {
		name       string
		use, admin string
		member     policy.Member
		uses       bool
		administer bool
	}{
		{"in both groups", "[users]", "[admins]", in{"users", "admins"}, true, true},
		{"in the one", "[users]", "[admins]", in{"users"}, true, false},
		{"in the other", "[users]", "[admins]", in{"admins"}, false, true},
		{"in none", "[users]", "[admins]", in{}, false, false},
		{"in one that no rule names", "[users]", "[admins]", in{"others"}, false, false},
		{"in the last of many", "[a, b, users]", "[c, d, admins]", in{"users", "admins"}, true, true},
		{"groups are not known", "[users]", "[admins]", in(nil), false, false},
		{"everyone, groups are not known", `["*"]`, "[admins]", in(nil), true, false},
		{"a group is no pattern", `["users*"]`, `["**"]`, in{"users", "*"}, false, false},
		{"nobody", "[]", "[]", in{"users", "admins", ""}, false, false},
		{"nobody knows who it is", `["*"]`, "[admins]", nil, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := policy.NewAccess(parse(t, "  use: "+test.use+"\n  admin: "+test.admin+"\n"))
			if got := a.MayUse(test.member); got != test.uses {
				t.Errorf("MayUse is %v", got)
			}
			if got := a.IsAdmin(test.member); got != test.administer {
				t.Errorf("IsAdmin is %v", got)
			}
		})
	}
}

// A Member is asked for groups only in the spelling of Config.Groups.
func TestSpelling(t *testing.T) {
	c := parse(t, `
  use: [Jira-Users]
  create: [{groups: [JIRA-USERS], maxLifetime: 1d}]
  createForOthers: [{groups: [LEADS], for: [jira-users]}]
  admin: [leads]
`)
	if groups := c.Groups(); !slices.Equal(groups, []string{"Jira-Users", "LEADS"}) {
		t.Fatalf("Groups are %q", groups)
	}
	a, user, lead := policy.NewAccess(c), in{"Jira-Users"}, in{"LEADS"}
	if _, ok := a.Terms(user); !ok || !a.MayUse(user) || !a.IsAdmin(lead) || !a.MayCreateFor(lead, user) {
		t.Error("a rule in another spelling does not match")
	}
}

func TestMayCreateFor(t *testing.T) {
	const rules = `
  createForOthers:
    - {groups: [leads], for: [robots]}
    - {groups: [hr, admins], for: ["*"]}
    - {groups: [guests], for: []}
    - {groups: [], for: [robots]}
  admin: [admins]
`
	tests := []struct {
		name          string
		caller, owner policy.Member
		want          bool
	}{
		{"the rule's", in{"leads"}, in{"robots"}, true},
		{"an owner out of for", in{"leads"}, in{"users"}, false},
		{"a caller out of groups", in{"users"}, in{"robots"}, false},
		{"one rule's caller, another's owner", in{"leads"}, in{"users"}, false},
		{"everyone", in{"hr"}, in{"users"}, true},
		{"everyone, groups are not known", in{"hr"}, in(nil), true},
		{"nobody", in{"guests"}, in{"robots"}, false},
		{"an administrator", in{"hr"}, in{"users", "admins"}, false},
		{"an administrator who is a robot", in{"leads"}, in{"robots", "admins"}, false},
		{"an administrator by another", in{"admins"}, in{"admins"}, false},
		{"an administrator by a rule for others", in{"admins"}, in{"users"}, true},
		{"an owner of whom nothing is known", in{"hr"}, nil, false},
		{"a caller of whom nothing is known", nil, in{"robots"}, false},
	}
	a := policy.NewAccess(parse(t, rules))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := a.MayCreateFor(test.caller, test.owner); got != test.want {
				t.Errorf("MayCreateFor is %v", got)
			}
		})
	}
	if policy.NewAccess(parse(t, "  createForOthers: []\n")).MayCreateFor(in{"leads"}, in{"robots"}) {
		t.Error("without a policy, a user may create for others")
	}
	everyone := policy.NewAccess(parse(t, "  createForOthers: [{groups: ['*'], for: ['*']}]\n  admin: [admins]\n"))
	if !everyone.MayCreateFor(in{}, in{}) || everyone.MayCreateFor(in{}, in{"admins"}) {
		t.Error(`"*" for "*" does not hold everyone but administrators`)
	}
}

func TestZeroAccess(t *testing.T) {
	var a policy.Access
	everywhere := in{"", "*", "users"}
	if _, ok := a.Terms(everywhere); ok || a.MayUse(everywhere) || a.IsAdmin(everywhere) || a.MayCreateFor(everywhere, in{}) {
		t.Error("the zero Access allows something")
	}
}

// A later change of the configuration does not affect the compiled Access.
func TestAccessIsACopy(t *testing.T) {
	c := parse(t, "  use: [users]\n  create: [{groups: [users], maxLifetime: 1d}]\n")
	a := policy.NewAccess(c)
	c.Access.Use[0], c.Access.Create[0].Groups[0] = "*", "*"
	if _, ok := a.Terms(in{}); ok || a.MayUse(in{}) {
		t.Error("a change of the configuration widened what was made of it")
	}
	rules := a.Settings()
	rules[0].Key = "x"
	if got := a.Settings()[0].Key; got == "x" {
		t.Error("a change of the rules changed them for others")
	}
}

func TestNoTerms(t *testing.T) {
	for name, test := range map[string]struct {
		create string
		member policy.Member
	}{
		"no rule":              {"[]", in{"users"}},
		"a rule about nobody":  {"[{groups: [], maxLifetime: 1d}]", in{"users"}},
		"a rule about others":  {"[{groups: [leads], maxLifetime: 1d}]", in{"users"}},
		"not known":            {"[{groups: [leads], maxLifetime: 1d}]", in(nil)},
		"a person not known":   {"[{groups: ['*'], maxLifetime: 1d}]", nil},
		"a name in other case": {"[{groups: [leads], maxLifetime: 1d}]", in{strings.ToUpper("leads")}}, // Member knows one spelling
	} {
		terms, ok := policy.NewAccess(parse(t, "  create: "+test.create+"\n")).Terms(test.member)
		if ok || terms != (policy.Terms{}) {
			t.Errorf("%s: %+v, %v", name, terms, ok)
		}
	}
}
