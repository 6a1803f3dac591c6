package policy_test

import (
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/product/jira"
)

func TestPathsMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/rest/", "/rest", true},
		{"/rest/", "/rest/", true},
		{"/rest/", "/rest/api/2/myself", true},
		{"/rest/", "/restx", false},
		{"/rest/", "/secure/rest/", false},
		{"/rest/", "/REST/api", false},
		{"/", "/", true},
		{"/", "/anything/at/all", true},
		{"*", "/anything", true},
		{"/rest/usermanagement/*", "/rest/usermanagement/1/search", true},
		{"/rest/usermanagement/*", "/rest/usermanagement", false},
		{"/rest/usermanagement/*", "/rest/usermanagementx/1", false},
		{"/rest/api/2/search", "/rest/api/2/search", true},
		{"/rest/api/2/search", "/rest/api/latest/search.json", true},
		{"/rest/api/latest/search", "/rest/api/2.0/search/", true},
		{"/rest/api/2/search", "/rest/api/2/search/x", false},
		{"/rest/api/2/search", "/rest/api/3/search", false},
		{"/rest/foo/1.0/x", "/rest/foo/1/x", true},
		{"/rest/foo/1/x", "/rest/foo/latest/x", false},
		{"/a*b*c", "/aXbYbZc", true},
		{"/a*b*c", "/aXbYbZ", false},
		{"/secure/attachment/*.zip", "/secure/attachment/1/2.zip", true},
		{"/secure/x.json", "/secure/x", false}, // suffixes are REST's
	} {
		if got := policy.NewPaths([]string{c.pattern}, &jira.Product).Match(canonical(c.path)); got != c.want {
			t.Errorf("%s on %s: %v, want %v", c.pattern, c.path, got, c.want)
		}
	}
	if (policy.Paths)(nil).Match("/rest/") {
		t.Error("no patterns match something")
	}
}

func TestIsManagement(t *testing.T) {
	for path, want := range map[string]bool{
		"/rest/api-tokens":                    true,
		"/rest/api-tokens/latest/":            true,
		"/rest/api-tokensx":                   false,
		"/plugins/servlet/api-tokens/a":       true,
		"/plugins/servlet/api-tokens.css":     false,
		"/rest/api":                           false,
		"/x/rest/api-tokens":                  false,
		strings.ToUpper("/rest/api-tokens/x"): false,
	} {
		if got := policy.IsManagement(path); got != want {
			t.Errorf("IsManagement(%s) = %v", path, got)
		}
	}
}

func TestUsers(t *testing.T) {
	settings := config.Default()
	settings.Passwords.AllowedUsers = []string{"Fred"}
	users := policy.New(settings).Passwords.AllowedUsers
	if !users.Contain("fRED") || users.Contain("fred ") || users.Contain("") {
		t.Error("names are compared wrongly")
	}
	if !(policy.Users{"*"}).Contain("anyone") || (policy.Users{"*"}).Contain("") {
		t.Error("the star does not mean everyone with a name")
	}
}

func canonical(path string) string { return jira.Product.CanonicalPath(new([]byte), path) }

// A pattern with many stars must not cause exponential backtracking.
func FuzzMatch(f *testing.F) {
	f.Add("/rest/*", "/rest/api")
	f.Add(strings.Repeat("*a", 50), strings.Repeat("a", 1000))
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(pattern) > 200 || len(path) > 4000 {
			return
		}
		paths := policy.NewPaths([]string{pattern}, &jira.Product)
		spelled := canonical(path)
		if got := paths.Match(spelled); got && !strings.Contains(pattern, "*") && !strings.HasSuffix(pattern, "/") && canonical(pattern) != spelled {
			t.Errorf("%q matches %q", pattern, path)
		}
		if !(policy.Paths{"*"}).Match(spelled) {
			t.Errorf("a star does not match %q", path)
		}
	})
}
