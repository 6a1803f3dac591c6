package authz_test

import (
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz"
)

// methods are those that only read, followed by those that may write.
var methods = []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "get"}

const reading = 3 // the first of methods

// spellings returns the spellings of a REST path that Jira answers alike: {v} is
// each of the versions, and suffixes and trailing slashes are ignored.
func spellings(path string, versions ...string) (all []string) {
	for _, v := range versions {
		for _, end := range []string{"", "/", ".json", ".json/", "/.json", ".xml", ".txt", ".htm", ".html", ".atom"} {
			all = append(all, strings.ReplaceAll(path, "{v}", v)+end)
		}
	}
	return all
}

// ask returns the reason for a token's request.
func ask(t *testing.T, w world, name, method, path string) authz.Reason {
	t.Helper()
	return decisionCase{authorization: "Bearer {" + name + "}", method: method, path: path}.run(t, w).Reason
}

// Modules that hand out credentials or change whom Jira trusts are closed to
// tokens, for all methods and in all spellings.
func TestForbiddenModules(t *testing.T) {
	w := newWorld(t)
	for _, module := range []string{
		"pat", "access-tokens", "access%2Dtokens", "ssh", "keys", "oauth2",
		"applinks", "applinks-oauth", "applinks-trusted", "basicauth", "authconfig", "plugins",
	} {
		paths := spellings("/rest/"+module, "")
		paths = append(paths, spellings("/rest/"+module+"/{v}", "1", "1.0", "latest")...)
		paths = append(paths, spellings("/rest/"+module+"/{v}/a/b", "1", "1.0", "2", "latest")...)
		paths = append(paths, "/rest/"+module+"/1/session") // good in auth alone
		for _, path := range paths {
			for _, method := range methods {
				if got := ask(t, w, "fred", method, path); got != authz.EndpointForbidden {
					t.Errorf("%s %s: %v", method, path, got)
				}
			}
			if got := ask(t, w, "reader", "GET", path); got != authz.EndpointForbidden {
				t.Errorf("GET %s, read-only: %v", path, got)
			}
		}
		for _, path := range []string{"/rest/x" + module + "/1/a", "/rest/api/2/" + module, "/rest/" + strings.ToUpper(module) + "/1"} {
			if got := ask(t, w, "fred", "PUT", path); got != authz.TokenAllowed {
				t.Errorf("PUT %s, which is another: %v", path, got)
			}
		}
	}
	for _, path := range []string{"/rest/patx/1", "/rest/sshd/1", "/rest/oauth/1", "/rest/applink/1", "/rest/authx/1", "/rest/plugins2/1"} {
		if got := ask(t, w, "fred", "PUT", path); got != authz.TokenAllowed {
			t.Errorf("PUT %s, which is another: %v", path, got)
		}
	}
}

// In the module auth, tokens may only ask who they are.
func TestForbiddenAuth(t *testing.T) {
	w := newWorld(t)
	for _, path := range spellings("/rest/auth/{v}/session", "1", "1.0", "2", "latest") {
		for _, method := range methods {
			want := authz.EndpointForbidden
			if method == "DELETE" {
				want = authz.SessionKept
			}
			if method == "GET" {
				want = authz.TokenAllowed
			}
			if got := ask(t, w, "fred", method, path); got != want {
				t.Errorf("%s %s: %v", method, path, got)
			}
		}
		if got := ask(t, w, "fred", "GET", path+"?_method=POST"); got != authz.EndpointForbidden {
			t.Errorf("GET %s, overridden: %v", path, got)
		}
		if got := ask(t, w, "reader", "GET", path); got != authz.TokenAllowed {
			t.Errorf("GET %s, read-only: %v", path, got)
		}
	}
	for _, path := range []string{"/rest/auth", "/rest/auth/1", "/rest/auth/session", "/rest/auth/1/websudo", "/rest/auth/1/sessions", "/rest/auth/1/session/x", "/rest/auth/1/x/session"} {
		for _, method := range methods {
			if got := ask(t, w, "fred", method, path); got != authz.EndpointForbidden {
				t.Errorf("%s %s: %v", method, path, got)
			}
		}
	}
}

// A token may read the account that it acts as, but not write it.
func TestForbiddenAccountWrites(t *testing.T) {
	w := newWorld(t)
	paths := spellings("/rest/api/user/current/password", "") // Confluence
	for _, path := range []string{"myself", "myself/password", "user/password", "user/session/wilma", "user/session/wilma%20b"} {
		paths = append(paths, spellings("/rest/api/{v}/"+path, "2", "2.0", "2.0.alpha1", "latest")...)
	}
	for _, path := range paths {
		for i, method := range methods {
			want := authz.EndpointForbidden
			if i < reading {
				want = authz.TokenAllowed
			}
			for _, name := range []string{"fred", "reader"} {
				if got := ask(t, w, name, method, path); got != want {
					t.Errorf("%s %s, %s: %v", method, path, name, got)
				}
			}
		}
		if got := ask(t, w, "fred", "GET", path+"?_method=PUT"); got != authz.EndpointForbidden {
			t.Errorf("GET %s, overridden: %v", path, got)
		}
	}
	for _, path := range spellings("/rest/api/{v}/user", "2", "2.0", "2.0.alpha1", "latest") {
		if got := ask(t, w, "reader", "GET", path+"?username=fred"); got != authz.TokenAllowed {
			t.Errorf("GET %s: %v", path, got)
		}
	}
	for _, path := range []string{"/rest/api/2/user", "/rest/api/2/user/session", "/rest/api/2/myself/preferences", "/rest/api/2/mypreferences", "/rest/x/2/myself"} {
		if got := ask(t, w, "fred", "PUT", path); got != authz.TokenAllowed {
			t.Errorf("PUT %s, which is another: %v", path, got)
		}
	}
}
