package policy_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
)

// settingLines returns each setting as its key and its value in JSON.
func settingLines(t *testing.T, c config.Config) string {
	t.Helper()
	var b strings.Builder
	for _, setting := range policy.NewAccess(c).Settings() {
		value, err := json.Marshal(setting.Value)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(setting.Key + " " + string(value) + "\n")
	}
	return b.String()
}

func TestDefaultSettings(t *testing.T) {
	const want = `tokens.paths ["/rest/"]
tokens.readOnlyPaths []
tokens.downloadPaths ["/secure/attachment/","/secure/thumbnail/","/secure/useravatar","/secure/projectavatar","/secure/viewavatar"]
tokens.readingPosts []
tokens.maxPerUser 50
tokens.maxOverlap "7d"
tokens.retention "365d"
tokens.maxEnded 1000
tokens.queryParameter ""
access.use ["*"]
access.create[0].groups ["*"]
access.create[0].maxLifetime "365d"
access.create[0].readOnly false
access.create[0].approval false
access.create[0].networks "optional"
access.create[0].rate "unlimited"
access.createForOthers []
access.admin []
access.writes.requests 600
access.writes.per "1h"
access.writes.burst 60
access.adminWrites.requests 10000
access.adminWrites.per "1h"
access.adminWrites.burst 5000
directory "none"
network.allow ["0.0.0.0/0","::/0"]
network.deny []
passwords.mode "allow"
passwords.allowedUsers []
passwords.allowedPaths ["/rest/usermanagement/*"]
passwords.allowedNetworks []
audit.retention "730d"
audit.maxMiB 256
bearer.other "pass"
cors.allowedOrigins []
`
	if diff := cmp.Diff(want, settingLines(t, config.Default())); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestSettings(t *testing.T) {
	c, err := config.Parse("test.yaml", []byte(`
publicURL: https://jira.example.com
tokens: {paths: [/rest/, /x], readOnlyPaths: [/x], downloadPaths: [], readingPosts: [/rest/y], maxPerUser: 5, maxOverlap: 0s, retention: unlimited, maxEnded: 200, queryParameter: key}
access:
  use: [Users]
  create:
    - {groups: [users], maxLifetime: 36h, rate: {requests: 600, per: 60s, burst: 100}}
    - {groups: [robots], maxLifetime: unlimited, readOnly: true, approval: true, networks: required}
  createForOthers:
    - {groups: [leads], for: [robots]}
    - {groups: [], for: ["*"]}
  admin: [admins]
  writes: {requests: 5, per: 1d}
  adminWrites: unlimited
directory: {upstream: {credential: /etc/tokengate/jira-secret}}
network: {allow: [10.0.0.0/8], deny: [10.1.2.3]}
passwords: {mode: block, allowedUsers: [fred], allowedPaths: [], allowedNetworks: ["::1"]}
audit: {retention: 90d, maxMiB: 64}
bearer: {other: refuse}
cors: {allowedOrigins: ["https://app.example.com"]}
`))
	if err != nil {
		t.Fatal(err)
	}
	const want = `tokens.paths ["/rest/","/x"]
tokens.readOnlyPaths ["/x"]
tokens.downloadPaths []
tokens.readingPosts ["/rest/y"]
tokens.maxPerUser 5
tokens.maxOverlap "0s"
tokens.retention "unlimited"
tokens.maxEnded 200
tokens.queryParameter "key"
access.use ["Users"]
access.create[0].groups ["users"]
access.create[0].maxLifetime "1d12h"
access.create[0].readOnly false
access.create[0].approval false
access.create[0].networks "optional"
access.create[0].rate.requests 600
access.create[0].rate.per "1m"
access.create[0].rate.burst 100
access.create[1].groups ["robots"]
access.create[1].maxLifetime "unlimited"
access.create[1].readOnly true
access.create[1].approval true
access.create[1].networks "required"
access.create[1].rate "unlimited"
access.createForOthers[0].groups ["leads"]
access.createForOthers[0].for ["robots"]
access.createForOthers[1].groups []
access.createForOthers[1].for ["*"]
access.admin ["admins"]
access.writes.requests 5
access.writes.per "1d"
access.writes.burst 5
access.adminWrites "unlimited"
directory "upstream"
network.allow ["10.0.0.0/8"]
network.deny ["10.1.2.3/32"]
passwords.mode "block"
passwords.allowedUsers ["fred"]
passwords.allowedPaths []
passwords.allowedNetworks ["::1/128"]
audit.retention "90d"
audit.maxMiB 64
bearer.other "refuse"
cors.allowedOrigins ["https://app.example.com"]
`
	if diff := cmp.Diff(want, settingLines(t, c)); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	c.Access.Create = nil
	if got := settingLines(t, c); !strings.Contains(got, "\naccess.create []\n") {
		t.Errorf("without create policies, the settings are:\n%s", got)
	}
}
