package policy

import (
	"slices"
	"strconv"

	"github.com/tokengate/tokengate/authz/config"
)

// Rule is one rule in force, for people to read.
type Rule struct {
	Key   string `json:"key"`   // of the configuration, such as access.create[0].maxLifetime
	Value any    `json:"value"` // a string, an int, a bool or a []string that is not nil; not to be changed
}

// Rules returns the rules that bind people and their tokens, in the order of
// the file. Of the directory it tells the kind alone, and of what the server
// itself listens on, opens and trusts it tells nothing.
func (a *Access) Rules() []Rule { return slices.Clone(a.rules) }

func rules(c config.Config) []Rule {
	rs := []Rule{
		{"tokens.paths", texts(c.Tokens.Paths)},
		{"tokens.readOnlyPaths", texts(c.Tokens.ReadOnlyPaths)},
		{"tokens.downloadPaths", texts(c.Tokens.DownloadPaths)},
		{"tokens.readingPosts", texts(c.Tokens.ReadingPosts)},
		{"tokens.maxPerUser", c.Tokens.MaxPerUser},
		{"tokens.maxOverlap", config.Lifetime{Duration: c.Tokens.MaxOverlap}.String()},
		{"tokens.keepEnded", c.Tokens.KeepEnded.String()},
		{"tokens.maxEnded", c.Tokens.MaxEnded},
		{"access.use", texts(c.Access.Use)},
	}
	if len(c.Access.Create) == 0 {
		rs = append(rs, Rule{"access.create", []string{}})
	}
	for i, rule := range c.Access.Create {
		key := indexKey("access.create", i)
		rs = append(rs,
			Rule{key + ".approval", rule.Approval},
			Rule{key + ".groups", texts(rule.Groups)},
			Rule{key + ".maxLifetime", rule.MaxLifetime.String()},
			Rule{key + ".networks", string(rule.Networks)})
		rs = append(rs, rateRules(key+".rate", rule.Rate)...)
		rs = append(rs, Rule{key + ".readOnly", rule.ReadOnly})
	}
	if len(c.Access.CreateForOthers) == 0 {
		rs = append(rs, Rule{"access.createForOthers", []string{}})
	}
	for i, rule := range c.Access.CreateForOthers {
		key := indexKey("access.createForOthers", i)
		rs = append(rs, Rule{key + ".for", texts(rule.For)}, Rule{key + ".groups", texts(rule.Groups)})
	}
	rs = append(rs, Rule{"access.admin", texts(c.Access.Admin)})
	rs = append(rs, rateRules("access.writes", c.Access.Writes)...)
	rs = append(rs, rateRules("access.adminWrites", c.Access.AdminWrites)...)
	return append(rs, []Rule{
		{"directory", c.Directory.Kind()},
		{"network.allow", prefixTexts(c.Network.Allow)},
		{"network.deny", prefixTexts(c.Network.Deny)},
		{"passwords.mode", string(c.Passwords.Mode)},
		{"passwords.allowedUsers", texts(c.Passwords.AllowedUsers)},
		{"passwords.allowedPaths", texts(c.Passwords.AllowedPaths)},
		{"passwords.allowedNetworks", prefixTexts(c.Passwords.AllowedNetworks)},
		{"audit.retention", c.Audit.Retention.String()},
		{"audit.maxMiB", c.Audit.MaxMiB},
		{"bearer.foreign", string(c.Bearer.Foreign)},
	}...)
}

func rateRules(key string, r config.Rate) []Rule {
	if r == (config.Rate{}) {
		return []Rule{{key, r.String()}}
	}
	return []Rule{
		{key + ".burst", r.Burst},
		{key + ".per", config.Lifetime{Duration: r.Per}.String()},
		{key + ".requests", r.Requests},
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
