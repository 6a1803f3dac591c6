package config

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// everyone stands for all active users in a list of groups or users.
const everyone = "*"

const (
	maxRules     = 100  // in one list
	maxGroups    = 1000 // in one list
	maxGroupName = 255  // characters; what Jira's own column for group names holds
)

// checkAccess checks who may do what. noDirectory says that there is nobody to
// ask for groups: a rule that names one would be a rule about nobody.
func checkAccess(a Access, noDirectory bool, report reporter) {
	checkGroups("access.use", a.Use, noDirectory, report)
	checkCount("access.create", len(a.Create), maxRules, report)
	for i, rule := range a.Create {
		key := indexKey("access.create", i)
		checkGroups(key+".groups", rule.Groups, noDirectory, report)
		if !rule.MaxLifetime.Unlimited && rule.MaxLifetime.Duration <= 0 {
			report(key+".maxLifetime", "must be given, such as 90d or unlimited")
		}
		checkOneOf(key+".networks", rule.Networks, report, NetworksOptional, NetworksRequired)
		checkRate(key+".rate", rule.Rate, report)
	}
	checkCount("access.createForOthers", len(a.CreateForOthers), maxRules, report)
	for i, rule := range a.CreateForOthers {
		key := indexKey("access.createForOthers", i)
		checkGroups(key+".groups", rule.Groups, noDirectory, report)
		checkGroups(key+".for", rule.For, noDirectory, report)
		if len(rule.Groups) > 0 && len(rule.For) > 0 && len(a.Admin) == 0 {
			report(key, "would reach Jira's administrators, too: name their groups in access.admin, whose members no rule reaches")
		}
	}
	checkRate("access.writes", a.Writes, report)
	checkRate("access.adminWrites", a.AdminWrites, report)
	switch {
	case noDirectory && len(a.Admin) > 0:
		report("access.admin", "must be [] without a directory, since nobody can be told to be an administrator; use the admin socket")
	case len(a.Admin) == 1 && a.Admin[0] == everyone:
		report("access.admin", `"*" would make every user an administrator of all tokens; name groups, or write [] for the admin socket alone`)
	default:
		checkGroups("access.admin", a.Admin, noDirectory, report)
	}
}

// checkGroups checks a list of groups.
func checkGroups(key string, groups []string, noDirectory bool, report reporter) {
	if groups == nil {
		report(key, `must be given: names of groups, ["*"] (every active user) or [] (nobody)`)
	}
	checkCount(key, len(groups), maxGroups, report)
	first := map[string]int{}
	for i, g := range groups {
		at := indexKey(key, i)
		before, twice := first[FoldGroup(g)]
		first[FoldGroup(g)] = i
		switch {
		case g == everyone && len(groups) > 1:
			report(at, `"*" stands alone in its list`)
		case g == everyone:
		case noDirectory:
			report(at, `%s: a group rule needs a directory, and directory is none; write ["*"] (every active user) or [] (nobody)`, quote(g))
		case !isGroupName(g):
			report(at, "%s cannot be a group; write 1 to %d printable characters without a space at either end", quote(g), maxGroupName)
		case twice:
			report(at, "%s is in this list already, as %s; case does not count", quote(g), quote(groups[before]))
		}
	}
}

// isGroupName reports whether a group can have this name.
func isGroupName(name string) bool {
	return name != "" && utf8.RuneCountInString(name) <= maxGroupName && strings.TrimSpace(name) == name &&
		strings.IndexFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
}

// complete makes networks optional.
func (r *CreationPolicy) complete(given func(key string) bool) {
	if !given("networks") {
		r.Networks = NetworksOptional
	}
}

// FoldGroup returns one spelling of all names of groups that are equal without
// case, as strings.EqualFold compares.
func FoldGroup(name string) string {
	return strings.Map(func(c rune) rune {
		least := c
		for other := unicode.SimpleFold(c); other != c; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		return least
	}, name)
}

// Groups returns the groups that the configuration names, each once, in the
// order and the spelling in which they come first in the file. "*" is none.
func (c Config) Groups() []string {
	var groups []string
	seen := map[string]bool{everyone: true}
	for _, list := range c.Access.lists() {
		for _, g := range list {
			if fold := FoldGroup(g); !seen[fold] {
				seen[fold] = true
				groups = append(groups, g)
			}
		}
	}
	return groups
}

// lists returns every list of groups, in the order of the file.
func (a Access) lists() [][]string {
	lists := [][]string{a.Use}
	for _, rule := range a.Create {
		lists = append(lists, rule.Groups)
	}
	for _, rule := range a.CreateForOthers {
		lists = append(lists, rule.Groups, rule.For)
	}
	return append(lists, a.Admin)
}
