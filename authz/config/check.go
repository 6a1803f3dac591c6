package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/tokengate/tokengate/store"
)

// reporter adds a problem with the value of a key.
type reporter func(key, format string, args ...any)

const (
	maxNetworks  = 1000  // in one list
	maxUsers     = 10000 // in one list
	maxUserName  = 255   // characters; the size of Jira's column for user names
	maxPerUser   = 10000
	maxOverlap   = 90 * day
	minRetention = day // of ended tokens and audit records
	maxQueryName = 64
	maxEnded     = 100_000
	maxAuditMiB  = 1 << 20 // a TiB
)

// check reports all problems of a decoded configuration. sound reports whether a
// key was decoded.
func check(c *Config, report reporter, sound func(key string) bool) {
	checkPublicURL(c, report)
	checkListen(c.Listen, report)
	checkReplicas(c, report)
	c.Store.Settings.Check(func(key, format string, args ...any) {
		report("store."+c.Store.Kind+"."+key, format, args...)
	})
	checkUpstream(c.Upstream, report)
	checkIdentity(c, report, sound)
	checkClientAddress(c.ClientAddress, report)
	checkTokens(c, report)
	checkCORS(c.CORS, report)
	checkAccess(c.Access, c.Directory == Directory{} && sound("directory"), report)
	checkDirectory(c.Directory, report)
	checkCount("network.allow", len(c.Network.Allow), maxNetworks, report)
	checkCount("network.deny", len(c.Network.Deny), maxNetworks, report)
	checkPasswords(c.Passwords, c.Upstream.ContextPath, report)
	checkAudit(c.Audit, report)
	checkOneOf("bearer.other", c.Bearer.Other, report, OtherBearerPass, OtherBearerRefuse)
	checkOneOf("log.level", c.Log.Level, report, "debug", "info", "warn", "error")
}

// namedListener is a listener with its key.
type namedListener struct {
	key      string
	listener Listener
	trusting bool // its clients can do more than others
}

func checkListen(l Listen, report reporter) {
	named := []namedListener{
		{"listen.grpc", l.GRPC, true},
		{"listen.http", l.HTTP, true},
		{"listen.admin", Listener{Address: l.Admin}, false},
		{"listen.metrics", l.Metrics, false},
	}
	if l.Replicas != (Replicas{}) {
		grpc, http := l.Replicas.Listeners()
		named = append(named, namedListener{replicasKey + ".grpc", grpc, false}, namedListener{replicasKey + ".http", http, false})
	}
	for i, n := range named {
		address := n.listener.Address
		if !strings.HasPrefix(n.key, replicasKey) { // checkReplicas checks those
			checkTLS(n.key, n.listener, report)
		}
		if n.trusting && !address.loopback() && n.listener.TLS.ClientCA == "" {
			report(n.key, "%s: others than Envoy could try tokens here; set tls.clientCA, "+
				"or use a unix socket or tcp on loopback, such as tcp://127.0.0.1:9001", address)
		}
		for _, other := range named[:i] {
			if address.overlaps(other.listener.Address) {
				report(n.key, "%s: is already used by %s (%s)", address, other.key, other.listener.Address)
			}
		}
	}
	if l.Admin.Network != "unix" {
		report("listen.admin", "%s: must be a unix socket, such as unix:///run/tokengate-admin/admin.sock; "+
			"all who can open it are administrators", l.Admin)
	}
}

// hostName matches DNS names and IPv4 addresses.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

const replicasKey = "listen.replicas"

func checkReplicas(c *Config, report reporter) {
	const key = replicasKey
	r := c.Listen.Replicas
	if r == (Replicas{}) {
		return
	}
	if c.Store.Kind == "badger" {
		report(key, "servers with a store of their own have different tokens; use store.etcd, or write %s", none)
	}
	for _, a := range []struct {
		name    string
		address Address
	}{{"grpc", r.GRPC}, {"http", r.HTTP}} {
		if a.address.Network != "tcp" {
			report(key+"."+a.name, "%s: must be tcp, such as tcp://0.0.0.0:9001", a.address)
		}
	}
	if !hostName.MatchString(r.Host) {
		report(key+".host", "%s: must be a DNS name with the addresses of all servers, such as tokengate-replicas, without a port", quote(r.Host))
	}
	for _, f := range []struct{ name, path, what, example string }{
		{"certificate", r.TLS.Certificate, "the PEM file with the certificate for servers and clients", "/etc/tokengate/replicas/tls.crt"},
		{"key", r.TLS.Key, "the PEM file with the certificate's key", "/etc/tokengate/replicas/tls.key"},
		{"ca", r.TLS.CA, "the PEM file with the certificate authorities of the others", "/etc/tokengate/replicas/ca.crt"},
	} {
		if fault := pathError(f.path, f.what, f.example); fault != "" {
			report(key+".tls."+f.name, "%s", fault)
		}
	}
}

func checkTLS(key string, l Listener, report reporter) {
	switch {
	case l.TLS == TLS{}:
		return
	case l.Address.Network != "tcp":
		report(key+".address", "%s: tls is for tcp only; leave it out: file permissions protect a unix socket", l.Address)
		return
	}
	for _, f := range []struct{ name, path, what, example string }{
		{"certificate", l.TLS.Certificate, "the PEM file with the server's certificate", "/etc/tokengate/tls/tls.crt"},
		{"key", l.TLS.Key, "the PEM file with the certificate's key", "/etc/tokengate/tls/tls.key"},
		{"clientCA", l.TLS.ClientCA, "the PEM file with the certificate authorities of clients", "/etc/tokengate/tls/ca.crt"},
	} {
		if f.name == "clientCA" && f.path == "" {
			continue
		}
		if fault := pathError(f.path, f.what, f.example); fault != "" {
			report(key+".tls."+f.name, "%s", fault)
		}
	}
}

// pathError returns the problem of a path of a file, or "".
func pathError(name, what, example string) string {
	switch {
	case !path.IsAbs(name) || path.Clean(name) != name || name == "/":
		return fmt.Sprintf("%s: must be the absolute path of %s, without dot or empty segments or a slash at the end, such as %s",
			quote(name), what, example)
	case strings.IndexFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }) >= 0:
		return quote(name) + ": must have no control characters"
	}
	return ""
}

func checkTokens(c *Config, report reporter) {
	t, contextPath, p := c.Tokens, c.Upstream.ContextPath, c.Upstream.product()
	checkPatterns("tokens.paths", t.Paths, contextPath, report)
	checkPatterns("tokens.readOnlyPaths", t.ReadOnlyPaths, contextPath, report)
	checkCovered("tokens.readOnlyPaths", t.ReadOnlyPaths, "tokens.paths", t.Paths, contextPath, report)
	checkPatterns("tokens.downloadPaths", t.DownloadPaths, contextPath, report)
	checkPatterns("tokens.readingPosts", t.ReadingPosts, contextPath, report)
	for i, p := range t.ReadingPosts {
		if patternError(p, contextPath) == "" && strings.ContainsAny(p[len(p)-1:], "/*") {
			report(IndexKey("tokens.readingPosts", i), "%s: must name one endpoint, without / or * at the end; a wider pattern would let read-only tokens write", quote(p))
		}
	}
	if t.MaxPerUser < 1 || t.MaxPerUser > maxPerUser {
		report("tokens.maxPerUser", "%d: must be 1 to %d", t.MaxPerUser, maxPerUser)
	}
	if t.MaxOverlap > maxOverlap {
		report("tokens.maxOverlap", "%s: must be 0s (none) to %s", spell(t.MaxOverlap), spell(maxOverlap))
	}
	if !t.Retention.Unlimited && t.Retention.Duration < minRetention {
		report("tokens.retention", "%s: must be at least %s, or unlimited", t.Retention, spell(minRetention))
	}
	if t.MaxEnded < 1 || t.MaxEnded > maxEnded {
		report("tokens.maxEnded", "%d: must be 1 to %d", t.MaxEnded, maxEnded)
	}
	const key = "tokens.queryParameter"
	name := t.QueryParameter
	switch lower := strings.ToLower(name); {
	case len(name) > maxQueryName || !only(name, func(c byte) bool { return alphanumeric(c) || strings.IndexByte("_.-", c) >= 0 }):
		report(key, `%s: must be "" (off) or 1 to %d letters, digits and _ . -`, quote(name), maxQueryName)
	case p.IsLoginParameter(lower):
		report(key, "%s: parameters that begin with %s are %s's own logins; choose another name", quote(name), p.LoginPrefix, p.Title)
	case lower == "_method":
		report(key, "%s: this name overrides the method in some frameworks; choose another", quote(name))
	}
}

func checkPasswords(p Passwords, contextPath string, report reporter) {
	checkOneOf("passwords.mode", p.Mode, report, PasswordsAllow, PasswordsObserve, PasswordsBlock)
	checkCount("passwords.allowedUsers", len(p.AllowedUsers), maxUsers, report)
	for i, name := range p.AllowedUsers {
		if store.ValidOwnerName(name) != nil {
			report(IndexKey("passwords.allowedUsers", i),
				`%s cannot be a user name; write 1 to 255 characters of printable ASCII without , ; : and without a space at either end, or "*" for everyone`,
				quote(name))
		}
	}
	checkPatterns("passwords.allowedPaths", p.AllowedPaths, contextPath, report)
	checkCount("passwords.allowedNetworks", len(p.AllowedNetworks), maxNetworks, report)
}

func checkAudit(a Audit, report reporter) {
	if !a.Retention.Unlimited && a.Retention.Duration < minRetention {
		report("audit.retention", "%s: must be at least %s, or unlimited", a.Retention, spell(minRetention))
	}
	if a.MaxMiB < 1 || a.MaxMiB > maxAuditMiB {
		report("audit.maxMiB", "%d: must be 1 to %d", a.MaxMiB, maxAuditMiB)
	}
}

// checkCount reports a list that is too long.
func checkCount(key string, count, most int, report reporter) {
	if count > most {
		report(key, "has %d entries; at most %d are allowed", count, most)
	}
}

// checkOneOf reports a value that is not allowed.
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
