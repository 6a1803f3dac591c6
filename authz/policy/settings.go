package policy

import (
	"slices"
	"strconv"

	"github.com/tokengate/tokengate/authz/config"
)

// Setting is one setting in force, for users to read.
type Setting struct {
	Key   string `json:"key"`   // configuration key, such as access.create[0].maxLifetime
	Value any    `json:"value"` // a string, int, bool or non-nil []string; read-only
}

// Settings returns the settings that affect users and their tokens, in the order
// of the file. It includes only the kind of the directory, and nothing about
// listeners, files and the upstream.
func (a *Access) Settings() []Setting { return slices.Clone(a.settings) }

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
	for i, create := range c.Access.Create {
		key := indexKey("access.create", i)
		rs = append(rs,
			Setting{key + ".approval", create.Approval},
			Setting{key + ".groups", texts(create.Groups)},
			Setting{key + ".maxLifetime", create.MaxLifetime.String()},
			Setting{key + ".networks", string(create.Networks)})
		rs = append(rs, rateSettings(key+".rate", create.Rate)...)
		rs = append(rs, Setting{key + ".readOnly", create.ReadOnly})
	}
	if len(c.Access.CreateForOthers) == 0 {
		rs = append(rs, Setting{"access.createForOthers", []string{}})
	}
	for i, others := range c.Access.CreateForOthers {
		key := indexKey("access.createForOthers", i)
		rs = append(rs, Setting{key + ".for", texts(others.For)}, Setting{key + ".groups", texts(others.Groups)})
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

// texts returns a copy that is never nil, so that it is a list in JSON.
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
