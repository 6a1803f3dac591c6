package envoy_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
)

// A verified token that came over plain HTTP is counted, and logged once a minute. The
// decision is the same.
func TestPlainHTTP(t *testing.T) {
	const lie = "X-Forwarded-Proto: https"
	for _, c := range []struct {
		name   string
		hops   int
		https  bool // publicURL
		secret string
		header string
		plain  bool
	}{
		{"a client", 0, true, "", "Accept: */*", true},
		{"a client that lies", 0, true, "", lie, true},
		{"a proxy with TLS", 1, true, "", "X-Forwarded-Proto: https", false},
		{"a proxy without TLS", 1, true, "", "X-Forwarded-Proto: http", true},
		{"a proxy that does not say", 1, true, "", "Accept: */*", true},
		{"a wrong secret", 0, true, "x", "Accept: */*", false},
		{"publicURL without TLS", 0, false, "", "Accept: */*", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			from := config.ClientAddress{TrustedHops: c.hops, Source: c.hops == 0}
			g := newGate(t, from)
			g.server.HTTPS = c.https
			clock := now
			g.server.Now = func() time.Time { return clock }
			rig := newBootstrapRig(t, func(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
				return g.client.Check(ctx, r)
			}, false, func(cfg *config.Config, _ *envoy.BootstrapOptions) { cfg.ClientAddress = from })
			send := func() {
				t.Helper()
				want := http.StatusOK
				if c.secret != "" {
					want = http.StatusUnauthorized
				}
				response := rig.send(t, "/rest/api/2/myself", "X-Forwarded-For: 192.0.2.7", "Authorization: Bearer "+g.value.Reveal()+c.secret, c.header)
				if response.StatusCode != want {
					t.Errorf("answer %d, want %d", response.StatusCode, want)
				}
				if want == http.StatusOK {
					rig.got(t)
				}
			}
			check := func(counted float64, logged int) {
				t.Helper()
				if !c.plain {
					counted, logged = 0, 0
				}
				if n := testutil.ToFloat64(collector(t, g, "tokengate_plain_http_tokens_total")); n != counted {
					t.Errorf("%v counted, want %v", n, counted)
				}
				lines := 0
				for _, line := range g.log.lines(t) {
					if text, _ := line["msg"].(string); strings.Contains(text, "came over plain HTTP") {
						lines++
						if line["level"] != "warn" || line["user"] != "fred" || line["token"] != g.value.ID().String() {
							t.Errorf("logged %v", line)
						}
					}
				}
				if lines != logged {
					t.Errorf("%d lines, want %d", lines, logged)
				}
				if strings.Contains(g.log.String(), g.value.Reveal()) {
					t.Error("the secret is in the log")
				}
			}
			send()
			check(1, 1)
			clock = clock.Add(59 * time.Second)
			send()
			check(2, 1)
			clock = clock.Add(time.Second)
			send()
			check(3, 2)
		})
	}
}
