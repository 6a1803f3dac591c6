// Package jira is everything that tokengate knows of Jira Data Center: its URLs, its
// logins, its personal access tokens, and how it is asked about users. Start with
// Product; source.Refresh reads users and groups.
//
// # Requests to Jira
//
// Members of the configured groups come from GET /rest/api/2/group/member in
// pages of 50. Token owners outside these groups come from GET
// /rest/api/2/user/list (Jira 11 and 10.3) or else from GET
// /rest/api/2/user/search, which returns all users or the first 1000
// (JRASERVER-65089) up to Jira 9 and the first 100 from Jira 10 on
// (JRASERVER-78660). The remaining owners are requested one by one from GET
// /rest/api/2/user. A refresh sends at most 10 requests a second, one at a
// time; lookups of single users (Directory.Lookup) are sent one at a time beside it.
// 10,000 owners take
//
//   - 205 requests, 20 seconds, if they are in a group,
//   - 10 requests if they are in no group and Jira has user/list,
//   - 11 requests if they are in no group and user/search returns all users,
//   - 600 requests a minute otherwise, 17 minutes for all of them: then raise
//     the lifetime of an answer, or put the owners in a configured group.
//
// Group pages include members of nested groups, and GET /rest/api/2/user omits
// them. So the pages decide who is in a configured group; the answer about a
// single user only adds groups until the next refresh.
//
// A missing field means unknown: missing groups are not "no groups". Only
// active is required, except in the answer to a login, which inactive users
// don't get. Jira has sent it since users can be deactivated (JRASERVER-29422),
// so an answer without it is not Jira's.
package jira

import (
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz/product"
)

// Product is Jira Data Center.
var Product = product.Product{
	Name:  "jira",
	Title: "Jira",

	// Jira serves a request with a credential that it does not accept as anonymous, with
	// 200. This header is the only sign in the answer. Verify it on your site.
	AnonymousHeader: "X-AUSERNAME", AnonymousUser: "anonymous",
	IdentityHeader: "X-Forwarded-User",
	DownloadPaths:  []string{"/secure/attachment/", "/secure/thumbnail/", "/secure/useravatar", "/secure/projectavatar", "/secure/viewavatar"},
	PasswordPaths:  []string{"/rest/usermanagement/*"}, // Crowd clients

	API:               "/rest",
	Example:           myselfPath,
	ReservedSegments:  []string{"rest", "plugins", "s"},
	Session:           product.NewSession("/rest/auth/*/session"),
	LoginPrefix:       "os_",
	UserParameter:     "os_username",
	PasswordParameter: "os_password",
	ReadingPosts:      []string{"/rest/api/2/search", "/rest/api/2/worklog/list"}, // the query is in the body

	LoginPage:      "/login.jsp?os_destination=",
	SessionCookies: []string{"JSESSIONID"},
	Realm:          "Jira",
	Connect:        connect,
	Credentials:    func(c product.Client) product.CredentialClient { return c.(*client) },

	Canonical: canonical,
	Rewrite:   rewrite,
	Forbidden: forbidden,

	Administration: administration,
}

// administrationPaths are Jira's own paths for administrators. Some only configure, but none is what a
// script of a user needs. Of other apps' paths only those of one that runs code are among them.
var administrationPaths = []string{
	"/secure/admin", "/plugins/servlet/upm", "/rest/admin", "/rest/auditing", "/rest/scriptrunner", "/rest/webhooks", "/rest/troubleshooting",
	"/rest/api/2/user/anonymization", "/rest/api/2/user/application",
}

// isAdministrationResource reports whether the same holds for a resource below /rest/api/2/.
// A switch takes a tenth of a search in a list; every request with a token comes here.
func isAdministrationResource(name string) bool {
	switch name {
	case "application-properties", "applicationrole", "auditing", "cluster", "email-templates", "index", "index-snapshot",
		"licenseValidator", "monitoring", "reindex", "settings", "upgrade":
		return true
	}
	return false
}

// administrationModules are REST modules of Jira's own pages that write what is in administrationWrites. They
// are in no description of Jira's REST API; that they exist in Jira 10 and 11 was read in programs that use them.
var administrationModules = []string{
	"/rest/globalconfig", "/rest/workflowDesigner", "/rest/projectconfig", "/rest/internal/2/field", "/rest/internal/2/fieldConfiguration",
}

// administrationWrites are resources there that users may read, and only administrators may write.
var administrationWrites = []string{
	"customFields", "field", "group", "issueLinkType", "issuesecurityschemes", "issuetype", "issuetypescheme", "notificationscheme",
	"permissionscheme", "priority", "priorityschemes", "projectCategory", "resolution", "role", "screens", "status", "workflow", "workflowscheme",
}

// isProjectAdministration reports whether what is below a project is only for Jira's administrators.
func isProjectAdministration(below string) bool {
	_, resource, _ := strings.Cut(below, "/")
	return slices.Contains([]string{"archive", "restore", "permissionscheme", "notificationscheme", "issuesecuritylevelscheme"}, resource)
}

func administration(path string, write bool) bool {
	resource, ok := strings.CutPrefix(path, "/rest/api/2/")
	name, below, _ := strings.Cut(resource, "/")
	if !ok || name == "user" {
		within := func(administered string) bool {
			rest, ok := strings.CutPrefix(path, administered)
			return ok && (rest == "" || rest[0] == '/')
		}
		if slices.ContainsFunc(administrationPaths, within) || write && slices.ContainsFunc(administrationModules, within) {
			return true
		}
	}
	switch {
	case !ok:
		return false
	case isAdministrationResource(name):
		return true
	case !write:
		return false
	}
	// Users change properties and columns of their own below the resource of users, and project
	// administrators their projects.
	return resource == "user" || resource == "project" || name == "project" && isProjectAdministration(below) ||
		slices.Contains(administrationWrites, name)
}

// forbiddenModules are the REST modules, by the segment after /rest/, that hand
// out credentials or change whom Jira trusts.
var forbiddenModules = []string{
	"pat", "auth", "tsv", "access-tokens", "ssh", "keys", "oauth2", // credentials
	"basicauth", "authconfig", "plugins", // trust, code
}

// forbiddenWrites are resources that tokens may read but not write, because
// writing changes the account that the token acts as.
var forbiddenWrites = []string{
	"/rest/api/2/myself",
	"/rest/api/2/myself/password",
	"/rest/api/2/user/password",
	"/rest/api/user/current/password", // Confluence's, for plugins that copy it
}

// userSessions are the sessions of a user; see forbiddenWrites.
const userSessions = "/rest/api/2/user/session/"

func forbidden(path string, write bool) bool {
	below, ok := strings.CutPrefix(path, "/rest/")
	if !ok {
		return false
	}
	module, _, _ := strings.Cut(below, "/")
	return slices.Contains(forbiddenModules, module) || strings.HasPrefix(module, "applinks") ||
		write && (slices.Contains(forbiddenWrites, path) || strings.HasPrefix(path, userSessions))
}

// rewrite resolves /s/<any>/_/<path>, which Jira forwards to <path>.
func rewrite(path string) (target string, clear bool) {
	if !strings.HasPrefix(path, "/s/") {
		return path, true
	}
	mark := strings.Index(path, "/_/")
	if mark < 0 {
		return path, true
	}
	target = path[mark+len("/_"):]
	// With two marks, it is not documented which one counts.
	return target, !strings.Contains(target[1:], "/_/")
}

// suffixes are removed by Jira's REST module from the end of a path before it
// looks for a resource (ExtensionJerseyFilter): /rest/x.json is /rest/x.
var suffixes = []string{".json", ".xml", ".txt", ".htm", ".html", ".atom"}

// canonical removes, below /rest, one suffix such as .json and trailing slashes,
// and writes versions one way: 2.0 as 2, and latest as 2 in /rest/api/. It leaves
// other paths unchanged.
func canonical(memory []byte, path string) []byte {
	rest, ok := strings.CutPrefix(path, "/rest/")
	if !ok {
		return memory
	}
	trimmed := strings.TrimRight(rest, "/")
	if dot := strings.LastIndexByte(trimmed, '.'); dot >= 0 && slices.Contains(suffixes, trimmed[dot:]) {
		// The remainder may end in a slash: /rest/x/.json is /rest/x/.
		if cut := strings.TrimRight(trimmed[:dot], "/"); cut != "" {
			trimmed = cut
		}
	}
	module, below, _ := strings.Cut(trimmed, "/")
	segment, resource, more := strings.Cut(below, "/")
	version, _, _ := strings.Cut(segment, ".alpha") // an old alias: 2.0.alpha1
	switch {
	case segment == "latest" && module == "api":
		version = "2"
	case isVersion(version):
		version = strings.TrimSuffix(version, ".0")
	default:
		version = segment
	}
	if len(trimmed) == len(rest) && version == segment {
		return memory
	}
	memory = append(append(memory, "/rest/"...), module...)
	if version != "" {
		memory = append(append(memory, '/'), version...)
	}
	if more {
		memory = append(append(memory, '/'), resource...)
	}
	return memory
}

// isVersion reports whether a segment is a version such as 1 or 2.0.
func isVersion(segment string) bool {
	for i := range len(segment) {
		if c := segment[i]; (c < '0' || c > '9') && (c != '.' || i == 0) {
			return false
		}
	}
	return segment != ""
}
