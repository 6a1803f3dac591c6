package policy

import (
	"slices"
	"strconv"

	"github.com/tokengate/tokengate/authz/config"
)

// Setting is one rule in force, for people to read.
type Setting struct {
	Key   string `json:"key"`   // of the configuration, such as access.create[0].maxLifetime
	Value any    `json:"value"` // a string, an int, a bool or a []string that is not nil; not to be changed
}

// Settings returns the rules that bind people and their tokens, in the order of
// the file. Of the directory it tells the kind alone, and of what the server
// itself listens on, opens and trusts it tells nothing.
func (a *Access) Settings() []Setting { return slices.Clone(a.rules) }

func settings(c config.Config) []Setting {
	rs := []Setting{
		{"tokens.paths", texts(c.Tokens.Paths)},
		{"tokens.readOnlyPaths", texts(c.Tokens.ReadOnlyPaths)},
		{"tokens.downloadPaths", texts(c.Tokens.DownloadPaths)},
		{"tokens.readingPosts", texts(c.Tokens.ReadingPosts)},
		{"tokens.maxPerUser", c.Tokens.MaxPerUser},
		{"tokens.maxOverlap", config.Lifetime{Duration: c.Tokens.MaxOverlap}.String()},
		{"tokens.retention", c.Tokens.Retention.String()},
		{"tokens.maxEnded", c.Tokens.MaxEnded},
		{"access.use", texts(c.Access.Use)},
	}
	if len(c.Access.Create) == 0 {
		rs = append(rs, Setting{"access.create", []string{}})
	}
	for i, rule := range c.Access.Create {
		key := indexKey("access.create", i)
		rs = append(rs,
			Setting{key + ".approval", rule.Approval},
			Setting{key + ".groups", texts(rule.Groups)},
			Setting{key + ".maxLifetime", rule.MaxLifetime.String()},
			Setting{key + ".networks", string(rule.Networks)})
		rs = append(rs, rateSettings(key+".rate", rule.Rate)...)
		rs = append(rs, Setting{key + ".readOnly", rule.ReadOnly})
	}
	if len(c.Access.CreateForOthers) == 0 {
		rs = append(rs, Setting{"access.createForOthers", []string{}})
	}
	for i, rule := range c.Access.CreateForOthers {
		key := indexKey("access.createForOthers", i)
		rs = append(rs, Setting{key + ".for", texts(rule.For)}, Setting{key + ".groups", texts(rule.Groups)})
	}
	rs = append(rs, Setting{"access.admin", texts(c.Access.Admin)})
	rs = append(rs, rateSettings("access.writes", c.Access.Writes)...)
	rs = append(rs, rateSettings("access.adminWrites", c.Access.AdminWrites)...)
	return append(rs, []Setting{
		{"directory", c.Directory.Kind()},
		{"network.allow", prefixTexts(c.Network.Allow)},
		{"network.deny", prefixTexts(c.Network.Deny)},
		{"passwords.mode", string(c.Passwords.Mode)},
		{"passwords.allowedUsers", texts(c.Passwords.AllowedUsers)},
		{"passwords.allowedPaths", texts(c.Passwords.AllowedPaths)},
		{"passwords.allowedNetworks", prefixTexts(c.Passwords.AllowedNetworks)},
		{"audit.retention", c.Audit.Retention.String()},
		{"audit.maxMiB", c.Audit.MaxMiB},
		{"bearer.other", string(c.Bearer.Other)},
	}...)
}

func rateSettings(key string, r config.Rate) []Setting {
	if r == (config.Rate{}) {
		return []Setting{{key, r.String()}}
	}
	return []Setting{
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
