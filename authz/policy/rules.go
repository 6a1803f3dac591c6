package policy

import (
	"slices"
	"strconv"

	"github.com/tokengate/tokengate/authz/config"
)

// Rule is one rule in force, for people to read.
type Rule struct {
	Key   string `json:"key"`   // of the configuration, such as access.create[0]
	Value any    `json:"value"` // as the file has it: text, numbers, booleans, []string, []any and map[string]any; not to be changed
}

// Rules returns the rules that bind people and their tokens, in the order of
// the file. Of the directory it tells the kind alone, and of what the server
// itself listens on, opens and trusts it tells nothing.
func (a *Access) Rules() []Rule { return slices.Clone(a.rules) }

func rules(c config.Config) []Rule {
	rs := []Rule{
		{"tokens.paths", texts(c.Tokens.Paths)},
		{"tokens.readOnlyPaths", texts(c.Tokens.ReadOnlyPaths)},
		{"tokens.maxPerUser", c.Tokens.MaxPerUser},
		{"tokens.maxOverlap", config.Lifetime{Duration: c.Tokens.MaxOverlap}.String()},
		{"tokens.keepEnded", c.Tokens.KeepEnded.String()},
		{"access.use", texts(c.Access.Use)},
	}
	if len(c.Access.Create) == 0 {
		rs = append(rs, Rule{"access.create", []any{}})
	}
	for i, rule := range c.Access.Create {
		rs = append(rs, Rule{indexKey("access.create", i), map[string]any{
			"groups":      texts(rule.Groups),
			"maxLifetime": rule.MaxLifetime.String(),
			"readOnly":    rule.ReadOnly,
			"approval":    rule.Approval,
			"networks":    string(rule.Networks),
			"rate":        rateValue(rule.Rate),
		}})
	}
	if len(c.Access.CreateForOthers) == 0 {
		rs = append(rs, Rule{"access.createForOthers", []any{}})
	}
	for i, rule := range c.Access.CreateForOthers {
		rs = append(rs, Rule{indexKey("access.createForOthers", i), map[string]any{
			"groups": texts(rule.Groups),
			"for":    texts(rule.For),
		}})
	}
	return append(rs, []Rule{
		{"access.admin", texts(c.Access.Admin)},
		{"directory", c.Directory.Kind()},
		{"network.allow", prefixTexts(c.Network.Allow)},
		{"network.deny", prefixTexts(c.Network.Deny)},
		{"passwords.mode", string(c.Passwords.Mode)},
		{"passwords.allowedUsers", texts(c.Passwords.AllowedUsers)},
		{"passwords.allowedPaths", texts(c.Passwords.AllowedPaths)},
		{"passwords.allowedNetworks", prefixTexts(c.Passwords.AllowedNetworks)},
		{"bearer.foreign", string(c.Bearer.Foreign)},
	}...)
}

func rateValue(r config.Rate) any {
	if r == (config.Rate{}) {
		return r.String()
	}
	return map[string]any{
		"requests": r.Requests,
		"per":      config.Lifetime{Duration: r.Per}.String(),
		"burst":    r.Burst,
	}
}

// texts returns a copy that is never nil, so that JSON has a list.
func texts(list []string) []string { return append([]string{}, list...) }

func prefixTexts(prefixes []config.Prefix) []string {
	list := make([]string, 0, len(prefixes))
	for _, p := range prefixes {
		list = append(list, p.String())
	}
	return list
}

// indexKey returns the key of an entry of a list, counted from 0.
func indexKey(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }
