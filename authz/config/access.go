package config

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tokengate/tokengate/authz/directory"
)

// everyone means all users, in a list of groups or user names.
const everyone = "*"

const (
	maxPolicies  = 100  // in one list
	maxGroups    = 1000 // in one list
	maxGroupName = 255  // characters; the size of Jira's column for group names
)

// checkAccess checks the access settings. Without a directory there are no groups,
// so no setting may name one.
func checkAccess(a Access, noDirectory bool, report reporter) {
	checkGroups("access.use", a.Use, noDirectory, report)
	checkCount("access.create", len(a.Create), maxPolicies, report)
	for i, create := range a.Create {
		key := IndexKey("access.create", i)
		checkGroups(key+".groups", create.Groups, noDirectory, report)
		if !create.MaxLifetime.Unlimited && create.MaxLifetime.Duration <= 0 {
			report(key+".maxLifetime", "must be given, such as 90d or unlimited")
		}
		checkOneOf(key+".networks", create.Networks, report, NetworksOptional, NetworksRequired)
		checkRate(key+".rate", create.Rate, report)
	}
	checkCount("access.createForOthers", len(a.CreateForOthers), maxPolicies, report)
	for i, others := range a.CreateForOthers {
		key := IndexKey("access.createForOthers", i)
		checkGroups(key+".groups", others.Groups, noDirectory, report)
		checkGroups(key+".for", others.For, noDirectory, report)
		if len(others.Groups) > 0 && len(others.For) > 0 && len(a.Admin) == 0 {
			report(key, "would apply to administrators, too; list their groups in access.admin, whose members are exempt")
		}
	}
	checkRate("access.writes", a.Writes, report)
	checkRate("access.adminWrites", a.AdminWrites, report)
	switch {
	case noDirectory && len(a.Admin) > 0:
		report("access.admin", "must be [] without a directory, because without groups no user is an administrator; use the admin socket")
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
		at := IndexKey(key, i)
		before, twice := first[directory.FoldGroup(g)]
		first[directory.FoldGroup(g)] = i
		switch {
		case g == everyone && len(groups) > 1:
			report(at, `"*" must be the only entry of its list`)
		case g == everyone:
		case noDirectory:
			report(at, `%s: groups need a directory, and directory is none; write ["*"] (every active user) or [] (nobody)`, quote(g))
		case !isGroupName(g):
			report(at, "%s cannot be a group; write 1 to %d printable characters without a space at either end", quote(g), maxGroupName)
		case twice:
			report(at, "%s is in this list already, as %s; case does not count", quote(g), quote(groups[before]))
		}
	}
}

// isGroupName reports whether a group may have this name.
func isGroupName(name string) bool {
	return name != "" && utf8.RuneCountInString(name) <= maxGroupName && strings.TrimSpace(name) == name &&
		strings.IndexFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
}

// complete sets the default of networks.
func (p *CreationPolicy) complete(given func(key string) bool) {
	if !given("networks") {
		p.Networks = NetworksOptional
	}
}

// Groups returns the groups that the configuration names, without "*". Each is
// returned once, in the order and spelling of its first use in the file.
func (c Config) Groups() []string {
	var groups []string
	seen := map[string]bool{everyone: true}
	for _, list := range c.Access.lists() {
		for _, g := range list {
			if fold := directory.FoldGroup(g); !seen[fold] {
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
	for _, create := range a.Create {
		lists = append(lists, create.Groups)
	}
	for _, others := range a.CreateForOthers {
		lists = append(lists, others.Groups, others.For)
	}
	return append(lists, a.Admin)
}

// none is the zero Directory in the file.
const none = "none"

const (
	minRefresh    = 10 * time.Second
	maxRefresh    = time.Hour
	maxStaleAfter = day
)

// Kind returns the key that is set, or none.
func (d Directory) Kind() string {
	switch {
	case d.Upstream != UpstreamDirectory{}:
		return "upstream"
	case d.File != "":
		return "file"
	}
	return none
}

// checkDirectory checks the directory.
func checkDirectory(d Directory, report reporter) {
	if d.Upstream != (UpstreamDirectory{}) && d.File != "" {
		report("directory", "upstream and file are given; give one")
	}
	if d.File != "" {
		if fault := pathError(d.File, "a file", "/etc/tokengate/users.yaml"); fault != "" {
			report("directory.file", "%s", fault)
		}
	}
	if d.Upstream != (UpstreamDirectory{}) {
		checkUpstreamDirectory(d.Upstream, report)
	}
}

func checkUpstreamDirectory(u UpstreamDirectory, report reporter) {
	if fault := pathError(u.Credential, "the file that holds the credential", "/etc/tokengate/jira"); fault != "" {
		report("directory.upstream.credential", "%s", fault)
	}
	if u.Refresh < minRefresh || u.Refresh > maxRefresh {
		report("directory.upstream.refresh", "%s: must be %s to %s", spell(u.Refresh), spell(minRefresh), spell(maxRefresh))
	} else if u.StaleAfter < 2*u.Refresh || u.StaleAfter > maxStaleAfter {
		report("directory.upstream.staleAfter", "%s: must be %s (twice directory.upstream.refresh) to %s",
			spell(u.StaleAfter), spell(2*u.Refresh), spell(maxStaleAfter))
	}
}

// zeroWord returns none.
func (Directory) zeroWord() string { return none }

// complete sets the defaults.
func (u *UpstreamDirectory) complete(given func(key string) bool) {
	if !given("refresh") {
		u.Refresh = time.Minute
	}
	if !given("staleAfter") {
		u.StaleAfter = 15 * time.Minute
	}
}
