package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Uses of passwords and totals over REST, after a restart.
func TestRecordsOverREST(t *testing.T) {
	t.Parallel()
	c := newCompany(t, options{})
	k := c.create("alice", `{"label":"x"}`)
	c.myself(k, 200)
	c.send(request{auth: basic("alice", "alice's password"), header: http.Header{"User-Agent": {"old-script/1"}}})
	c.gate.stop()
	c.startGate()
	c.until("the directory's answer", func() bool { return c.refreshes() > 0 })
	var passwords struct {
		Users []struct {
			User string
			Uses []struct {
				Client, Address string
				Passed          int
			}
		}
	}
	c.do(c.by("ada", "GET", "passwords", ""), 200, &passwords)
	if len(passwords.Users) != 1 || passwords.Users[0].User != "alice" || passwords.Users[0].Uses[0].Client != "old-script/1" || passwords.Users[0].Uses[0].Address != "10.1.2.3" {
		t.Errorf("passwords: %+v", passwords)
	}
	var totals struct{ Days []struct{ Allowed int } }
	c.do(c.by("ada", "GET", "totals", ""), 200, &totals)
	allowed := 0
	for _, d := range totals.Days {
		allowed += d.Allowed
	}
	if allowed != 1 {
		t.Errorf("totals: %+v", totals)
	}
	for _, path := range []string{"passwords", "totals", "settings", "audit"} {
		c.do(c.by("alice", "GET", path, ""), 403, nil)
	}
	var me struct{ Name string }
	if c.do(c.by("alice", "GET", "me", ""), 200, &me); me.Name != "alice" {
		t.Errorf("alice is %+v", me)
	}
}

// An administrator reads all reports through Envoy: JSON, CSV, the stream of all tokens,
// and the API's description.
func TestReadingOverREST(t *testing.T) {
	t.Parallel()
	c := newCompany(t, options{})
	k := c.create("alice", `{"label":"ci","purpose":"=1+1"}`)
	c.create("rita", `{"label":"report"}`)
	for path, says := range map[string]string{
		"tokens?user=alice":                   `"label":"ci"`,
		"tokens?sort=name&order=desc&limit=1": `"total":2`,
		"tokens?format=csv":                   k.ID,
		"all":                                 `"username":"alice","count":1`,
		"audit?format=csv":                    "token.create",
		"me":                                  `"administrator":true`,
		"settings":                            `"key":"access.create[0].maxLifetime"`,
		"passwords":                           `"users":[]`,
		"totals":                              `"days":`,
		"openapi.json":                        `"openapi": "3.0.3"`,
		k.ID:                                  `"label":"ci"`,
	} {
		if got := c.do(c.by("ada", "GET", path, ""), 200, nil); !strings.Contains(got.body, says) {
			t.Errorf("%s: %.1000s does not say %s", path, got.body, says)
		}
	}
	if got := c.do(c.by("ada", "GET", "tokens?format=csv", ""), 200, nil); strings.Contains(got.body, ",=1+1") || !strings.Contains(got.header.Get("Content-Type"), "text/csv") {
		t.Errorf("CSV with a formula, as %s: %s", got.header.Get("Content-Type"), got.body)
	}
	for who, status := range map[string]int{"alice": 200, "ada": 200, "rita": 404} {
		body := fmt.Sprintf(`{"tokenId":%q,"method":"GET","path":"/rest/pat/latest/tokens","ip":"10.1.2.3"}`, k.ID)
		got := c.do(c.by(who, "POST", "explain", body), status, nil)
		if status == 200 && !strings.Contains(got.body, `"reason":"endpoint_forbidden"`) {
			t.Errorf("explained to %s: %s", who, got.body)
		}
	}
	// Only Envoy's header with the client's address counts.
	q := c.by("alice", "GET", "me", "")
	q.header.Set("X-Tokengate-Client-Ip", "203.0.113.9")
	if got := c.do(q, 200, nil); strings.Contains(got.body, "203.0.113.9") || !strings.Contains(got.body, "10.1.2.3") {
		t.Errorf("alice is where she says: %s", got.body)
	}
}
