package authz_test

import (
	"testing"

	"github.com/tokengate/tokengate/authz"
)

func BenchmarkDecide(b *testing.B) {
	w := newWorld(b)
	for _, c := range append([]decisionCase{
		{name: "pass through", path: "/secure/Dashboard.jspa?selectPageId=1"},
		{name: "Bearer", path: "/rest/api/2/search?jql=project%20%3D%20OPS%20ORDER%20BY%20updated&maxResults=50&fields=summary,status,assignee,updated", authorization: "Bearer {fred}"},
		{name: "Basic", path: "/rest/api/2/search?jql=project%20%3D%20OPS%20ORDER%20BY%20updated&maxResults=50&fields=summary,status,assignee,updated", authorization: "Basic {b64 fred:{fred}}"},
	}, decisionCases()...) {
		b.Run(c.name, func(b *testing.B) {
			r, view := c.request(w)
			b.ReportAllocs()
			for b.Loop() {
				authz.Decide(r, view)
			}
		})
	}
}
