package authz_test

import (
	"net/netip"
	"testing"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
)

func BenchmarkDecide(b *testing.B) {
	w := newWorld(b)
	for _, c := range []ruling{
		{name: "pass through", path: "/secure/Dashboard.jspa?selectPageId=1"},
		{name: "Bearer", authorization: "Bearer {fred}"},
		{name: "Basic", authorization: "Basic {b64 fred:{fred}}"},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := &authz.Request{Method: "GET", Path: "/rest/api/2/myself", Client: netip.MustParseAddr("10.1.2.3"), Authorization: w.fill(c.authorization)}
			if c.path != "" {
				r.Path = c.path
			}
			view := authz.View{Policy: policy.New(config.Default()), Index: w.index, Now: now}
			b.ReportAllocs()
			for b.Loop() {
				authz.Decide(r, view)
			}
		})
	}
}
