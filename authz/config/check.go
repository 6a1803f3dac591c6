package config

import (
	"path"
	"slices"
	"strings"

	"github.com/tokengate/tokengate/store"
)

// reporter takes one problem with the value of a key.
type reporter func(key, format string, args ...any)

// everyone stands for all active users in a list of groups or users.
const everyone = "*"

const (
	maxNetworks  = 1000  // in one list
	maxUsers     = 10000 // in one list
	maxUserName  = 255   // characters; what Jira's own column for user names holds
	maxPerUser   = 10000
	maxQueryName = 64
)

// check reports all that is wrong with a configuration beyond its types.
func check(c *Config, report reporter) {
	checkPublicURL(c, report)
	checkListen(c.Listen, report)
	checkDir(c.Store.Badger.Dir, report)
	checkUpstream(c.Upstream, report)
	checkIdentity(c, report)
	checkClientAddress(c.ClientAddress, report)
	checkTokens(c.Tokens, c.Upstream.ContextPath, report)
	checkAccess(c.Access, report)
	checkDirectory(c.Directory, report)
	checkCount("network.allow", len(c.Network.Allow), maxNetworks, report)
	checkCount("network.deny", len(c.Network.Deny), maxNetworks, report)
	checkPasswords(c.Passwords, c.Upstream.ContextPath, report)
	checkOneOf("bearer.foreign", c.Bearer.Foreign, report, ForeignPass, ForeignRefuse)
	checkOneOf("log.level", c.Log.Level, report, "debug", "info", "warn", "error")
}

func checkListen(l Listen, report reporter) {
	const noTLS = "this version offers no TLS, so it must be a unix socket or tcp on loopback, such as tcp://127.0.0.1:9001"
	named := []struct {
		key     string
		address Address
	}{
		{"listen.grpc", l.GRPC}, {"listen.http", l.HTTP}, {"listen.admin", l.Admin}, {"listen.metrics", l.Metrics},
	}
	for _, n := range named[:2] {
		if !n.address.loopback() {
			report(n.key, "%s: %s", n.address, noTLS)
		}
	}
	if l.Admin.Network != "unix" {
		report("listen.admin", "%s: must be a unix socket, such as unix:///run/tokengate-admin/admin.sock; "+
			"who may open it is an administrator", l.Admin)
	}
	for i, a := range named {
		for _, b := range named[:i] {
			if a.address.overlaps(b.address) {
				report(a.key, "%s: is taken by %s (%s)", a.address, b.key, b.address)
			}
		}
	}
}

func checkDir(dir string, report reporter) {
	switch {
	case !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/":
		report("store.badger.dir", "%s: must be the absolute path of a directory, without dot or empty segments or a slash at the end, such as /var/lib/tokengate", quote(dir))
	case strings.IndexFunc(dir, func(c rune) bool { return c < ' ' || c == 0x7f }) >= 0:
		report("store.badger.dir", "%s: must have no control characters", quote(dir))
	}
}

func checkTokens(t Tokens, contextPath string, report reporter) {
	checkPatterns("tokens.paths", t.Paths, contextPath, report)
	checkPatterns("tokens.readOnlyPaths", t.ReadOnlyPaths, contextPath, report)
	if t.MaxPerUser < 1 || t.MaxPerUser > maxPerUser {
		report("tokens.maxPerUser", "%d: must be 1 to %d", t.MaxPerUser, maxPerUser)
	}
	const key = "tokens.queryParameter"
	name := t.QueryParameter
	switch lower := strings.ToLower(name); {
	case len(name) > maxQueryName || !only(name, func(c byte) bool { return alphanumeric(c) || strings.IndexByte("_.-", c) >= 0 }):
		report(key, `%s: must be "" (off) or 1 to %d letters, digits and _ . -`, quote(name), maxQueryName)
	case strings.HasPrefix(lower, "os_"):
		report(key, "%s: parameters that begin with os_ are Jira's own logins; choose another name", quote(name))
	case lower == "_method":
		report(key, "%s: this name overrides the method in some frameworks; choose another", quote(name))
	}
}

func checkAccess(a Access, report reporter) {
	checkGroups("access.use", a.Use, report)
	for i, rule := range a.Create {
		key := indexKey("access.create", i)
		checkGroups(key+".groups", rule.Groups, report)
		if !rule.MaxLifetime.Unlimited && rule.MaxLifetime.Duration <= 0 {
			report(key+".maxLifetime", "must be given, such as 90d or unlimited")
		}
	}
	for i, rule := range a.CreateForOthers {
		key := indexKey("access.createForOthers", i)
		checkGroups(key+".groups", rule.Groups, report)
		checkGroups(key+".for", rule.For, report)
	}
	if len(a.Admin) > 0 {
		report("access.admin", "must be [] without a directory, since nobody can be told to be an administrator; use the admin socket")
	}
}

// checkGroups checks a list of groups. Without a directory nobody is known to
// be in one, so a rule that names one would be a rule about nobody.
func checkGroups(key string, groups []string, report reporter) {
	if groups == nil {
		report(key, `must be given: ["*"] (every active user) or [] (nobody)`)
	}
	for i, g := range groups {
		switch {
		case g != everyone:
			report(indexKey(key, i), `%s: a group rule needs a directory, and directory is none; write ["*"] (every active user) or [] (nobody)`, quote(g))
		case i > 0:
			report(indexKey(key, i), `"*" stands alone in its list`)
		}
	}
}

func checkDirectory(directory string, report reporter) {
	if directory != "none" {
		report("directory", "%s is not supported yet; this version knows none", quote(directory))
	}
}

func checkPasswords(p Passwords, contextPath string, report reporter) {
	checkOneOf("passwords.mode", p.Mode, report, PasswordsAllow, PasswordsObserve, PasswordsBlock)
	checkCount("passwords.allowedUsers", len(p.AllowedUsers), maxUsers, report)
	for i, name := range p.AllowedUsers {
		if store.ValidOwnerName(name) != nil {
			report(indexKey("passwords.allowedUsers", i),
				`%s cannot be a user name; write 1 to 255 characters of printable ASCII without , ; : and without a space at either end, or "*" for everyone`,
				quote(name))
		}
	}
	checkPatterns("passwords.allowedPaths", p.AllowedPaths, contextPath, report)
	checkCount("passwords.allowedNetworks", len(p.AllowedNetworks), maxNetworks, report)
}

// checkCount reports a list that is too long.
func checkCount(key string, count, most int, report reporter) {
	if count > most {
		report(key, "has %d entries; at most %d are allowed", count, most)
	}
}

// checkOneOf reports a value that is none of those allowed.
func checkOneOf[T ~string](key string, value T, report reporter, allowed ...T) {
	if slices.Contains(allowed, value) {
		return
	}
	texts := make([]string, len(allowed))
	for i, a := range allowed {
		texts[i] = string(a)
	}
	report(key, "%s is not one of %s", quote(string(value)), strings.Join(texts, ", "))
}
