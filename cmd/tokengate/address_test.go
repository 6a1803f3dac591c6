package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/token"
)

// A client's address comes from the trusted proxies or is unknown: it is never a proxy's
// own, and never one that the client chose. Envoy's peer is the next trusted proxy, here
// 127.0.0.1.
func TestClientAddressBehindProxies(t *testing.T) {
	t.Parallel()
	const (
		client = iota // 198.51.100.0/24
		proxy         // 127.0.0.0/8
		other
		unknown
		invalid // Envoy answers 400 itself
	)
	const xff = "X-Forwarded-For: "
	one := func(value string) []string { return []string{xff + value} }
	tables := map[int][]struct {
		lines []string
		want  int
	}{
		0: {
			{nil, proxy},
			{one("198.51.100.7"), proxy},
			{one("unknown"), proxy},
			{one("198.51.100.7, 198.51.100.8"), proxy},
			{[]string{"X-Client-Ip: 198.51.100.7", "X-Envoy-External-Address: 198.51.100.7", "X-Tokengate-Client-Ip: 198.51.100.7"}, proxy},
		},
		1: {
			{nil, unknown},
			{one("198.51.100.7"), client},
			{one("198.51.100.7:51234"), client},
			{one(" \t198.51.100.7 \t"), client},
			{one("::ffff:198.51.100.7"), client},
			{one("[::ffff:198.51.100.7]:443"), client},
			{one("[::ffff:198.51.100.7]"), client},
			{one("2001:db8::7"), other},
			{one("[2001:db8::7]:443"), other},
			{one("127.0.0.1"), proxy}, // the load balancer's own request, such as a health check
			{one("203.0.113.1, 198.51.100.7"), client},
			{one("127.0.0.1, 198.51.100.7:1"), client},
			{one("junk,,, 198.51.100.7"), client},
			{one("198.51.100.7, 203.0.113.1"), other},
			{[]string{xff + "127.0.0.1", xff + "198.51.100.7"}, client},
			{[]string{xff + "198.51.100.7", "x-forwarded-for: 203.0.113.1"}, other},
			{[]string{xff + "198.51.100.7", xff}, client}, // Envoy drops an empty line of a list
			{[]string{xff, xff + "198.51.100.7"}, client},
			{one(""), unknown},
			{one("unknown"), unknown},
			{one("_hidden"), unknown},
			{one("198.51.100.7,"), unknown},
			{one("198.51.100.7, unknown"), unknown},
			{one("198.51.100.7:"), unknown},
			{one("198.51.100.7:99999"), unknown},
			{one("198.51.100.7/32"), unknown},
			{one("for=198.51.100.7"), unknown},
			{one(`"198.51.100.7"`), unknown},
			{one("198.51.100.7 127.0.0.1"), unknown},
			{one("198.51.100"), unknown},
			{one("198.51.100.007"), unknown},
			{one("\xff"), unknown},
			{[]string{"X_Forwarded_For: 198.51.100.7"}, unknown},
			{[]string{"X-Forwarded-For : 198.51.100.7"}, invalid},
			{[]string{"Forwarded: for=198.51.100.7", "X-Real-Ip: 198.51.100.7", "X-Client-Ip: 198.51.100.7"}, unknown},
			{[]string{"X-Envoy-External-Address: 198.51.100.7", "X-Tokengate-Client-Ip: 198.51.100.7"}, unknown},
			{[]string{xff + "203.0.113.1", "X-Envoy-External-Address: 198.51.100.7", "X-Tokengate-Client-Ip: 198.51.100.7", "X-Tokengate-Client-Ip: 127.0.0.1"}, other},
			{[]string{xff + "203.0.113.1", "X_Forwarded_For: 198.51.100.7"}, other},
			{[]string{xff + "198.51.100.7", "Connection: x-forwarded-for"}, invalid},
			{[]string{"Trailer: x-forwarded-for", xff + "198.51.100.7"}, client},
		},
		2: {
			{nil, unknown},
			{one("198.51.100.7"), unknown},
			{one("198.51.100.7, 10.0.0.2"), client},
			{one("198.51.100.7:1, [2001:db8::2]:2"), client},
			{one("127.0.0.1, 198.51.100.7, 10.0.0.2"), client},
			{[]string{xff + "198.51.100.7", xff + "10.0.0.2"}, client},
			{one("198.51.100.7, unknown"), unknown},
			{one("unknown, 10.0.0.2"), unknown},
			{one(", 10.0.0.2"), unknown},
			{one("127.0.0.1, 10.0.0.2"), proxy},
		},
	}
	for hops, table := range tables {
		t.Run(fmt.Sprintf("%d hops", hops), func(t *testing.T) {
			setting := "{metadata: x-client-ip}"
			if hops > 0 {
				setting = fmt.Sprintf("{trustedHops: %d}", hops)
			}
			c := newCompany(t, options{settings: func(yaml string) string {
				return strings.Replace(yaml, "{trustedHops: 1}", setting, 1)
			}})
			create := func(name, network string) token.Value {
				stdout, _ := c.run("token", "create", "--user", "alice", "--name", name, "--ip", network)
				return mustParse(t, strings.TrimSpace(stdout))
			}
			near, far := create("near", "127.0.0.0/8"), create("far", "198.51.100.0/24")
			// Users can create tokens even if their address is unknown.
			bot := c.create("ada", `{"label":"bot","type":"management","expiresIn":"30d","networks":["198.51.100.0/24"]}`)
			statuses := map[int][3]int{ // of near, far and bot
				client: {403, 200, 200}, proxy: {200, 403, 403}, other: {403, 403, 403}, unknown: {503, 503, 503}, invalid: {400, 400, 400},
			}
			for _, row := range table {
				for i, v := range []token.Value{near, far, bot.value} {
					path := "/rest/api/2/myself"
					if i == 2 {
						path = api + "tokens"
					}
					got := c.exchange(plain(path, append(row.lines, "Authorization: "+bearer(v))...))
					if want := statuses[row.want][i]; got.status != want {
						t.Errorf("%q, token %d: %d, want %d: %s", row.lines, i, got.status, want, token.Redact(got.body))
					}
				}
				if row.want != unknown {
					continue
				}
				for _, path := range []string{"/secure/Dashboard.jspa", "/rest/api/2/myself"} { // the browser, a password
					if got := c.exchange(plain(path, append(row.lines, "Authorization: "+basic("alice", "alice's password"))...)); got.status != 200 {
						t.Errorf("%q, %s without a token: %d: %s", row.lines, path, got.status, got.body)
					}
				}
				if got := c.exchange(plain(api, append(row.lines, "Authorization: "+basic("alice", "alice's password"))...)); got.status != 200 {
					t.Errorf("%q, a person at the API: %d: %s", row.lines, got.status, got.body)
				}
			}
			if hops == 0 {
				return
			}
			if line := c.gate.waitFor("request denied: no_client_address"); !strings.Contains(line, "clientAddress.trustedHops") || !strings.Contains(line, "X-Forwarded-For") {
				t.Errorf("the log line tells no administrator what to do: %s", line)
			}
			h2 := h2Client(t)
			for from, want := range map[string]int{"unknown" + strings.Repeat(", 10.0.0.2", hops-1): 503, "127.0.0.1, 198.51.100.7" + strings.Repeat(", 10.0.0.2", hops-1): 200} {
				got, err := c.try(context.Background(), h2, request{auth: bearer(far), from: from, header: http.Header{"X_forwarded_for": {"198.51.100.7"}}})
				if err != nil {
					t.Fatal(err)
				}
				if got.status != want {
					t.Errorf("HTTP/2, %q: %d, want %d: %s", from, got.status, want, got.body)
				}
			}
		})
	}
}
