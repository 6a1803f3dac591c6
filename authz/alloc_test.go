package authz_test

import (
	"net/netip"
	"testing"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
)

// What most requests are costs no memory, so that the garbage collector is not
// a reason for a slow answer.
func TestDecideWithoutAllocating(t *testing.T) {
	w := newWorld(t)
	view := authz.View{Policy: policy.New(config.Default()), Index: w.index, Now: now}
	for _, c := range []struct {
		name    string
		request authz.Request
		want    authz.Reason
	}{
		{"a browser", authz.Request{Method: "GET", Path: "/secure/Dashboard.jspa?selectPageId=1"}, authz.NoCredential},
		{"a browser's form", authz.Request{Method: "POST", Path: "/secure/QuickEditIssue.jspa?issueId=1&decorator=none"}, authz.NoCredential},
		{"Negotiate", authz.Request{Method: "GET", Path: "/rest/api/2/myself", Authorization: "Negotiate YII="}, authz.NoCredential},
		{"a foreign Bearer", authz.Request{Method: "GET", Path: "/rest/api/2/myself", Authorization: "Bearer MDEyMzQ1Njc4OTo="}, authz.ForeignBearer},
		{"a Bearer", authz.Request{Method: "GET", Path: "/rest/api/2/myself?expand=groups", Authorization: w.fill("Bearer {fred}")}, authz.Allowed},
		{"a Bearer's write", authz.Request{Method: "PUT", Path: "/rest/api/2/issue/A-1", Authorization: w.fill("Bearer {fred}")}, authz.Allowed},
		{"a Bearer from its network", authz.Request{Method: "GET", Path: "/rest/api/2/myself", Authorization: w.fill("Bearer {office}")}, authz.Allowed},
	} {
		c.request.Client = netip.MustParseAddr("10.1.2.3")
		var d authz.Decision
		if n := testing.AllocsPerRun(100, func() { d = authz.Decide(&c.request, view) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
		if d.Reason != c.want {
			t.Errorf("%s: %v, want %v", c.name, d.Reason, c.want)
		}
	}
}
