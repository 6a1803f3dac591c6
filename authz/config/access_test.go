package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/config"
)

func TestGroups(t *testing.T) {
	if groups := config.Default().Groups(); groups != nil {
		t.Errorf("the defaults name the groups %q", groups)
	}
	c := parse(t, publicURL+`
directory: {file: /etc/users.yaml}
access:
  use: [jira-users, Robots]
  create:
    - {groups: ["*"], maxLifetime: 1d}
    - {groups: [developers, ROBOTS], maxLifetime: 1d}
  createForOthers:
    - {groups: [leads, JIRA-users], for: [robots, contractors]}
    - {groups: [], for: ["*"]}
  admin: [Leads, admins]
`)
	want := []string{"jira-users", "Robots", "developers", "leads", "contractors", "admins"}
	if diff := cmp.Diff(want, c.Groups()); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}

// A list may have the maximum number of groups, but not one more.
func TestMaxGroups(t *testing.T) {
	text := func(n int) string {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("g%d", i)
		}
		return publicURL + "directory: {file: /u}\naccess: {admin: [" + strings.Join(names, ", ") + "]}\n"
	}
	parse(t, text(1000))
	_, err := config.Parse("test.yaml", []byte(text(1001)))
	if want := "test.yaml:3:17: access.admin: has 1001 entries; at most 1000 are allowed"; err == nil || err.Error() != want {
		t.Errorf("error %v; want %s", err, want)
	}
}

func TestDirectoryKind(t *testing.T) {
	for want, d := range map[string]config.Directory{
		"none":     {},
		"upstream": {Upstream: config.UpstreamDirectory{Credential: "/x"}},
		"file":     {File: "/x"},
	} {
		if got := d.Kind(); got != want {
			t.Errorf("%+v is %s; want %s", d, got, want)
		}
	}
}
