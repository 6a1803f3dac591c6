package envoy_test

import (
	"context"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

func TestDeniedAnswers(t *testing.T) {
	g := newGate(t, byMetadata)
	bearer := map[string]string{"authorization": "Bearer " + g.value.Reveal()}
	write := checkRequest(bearer)
	write.Attributes.Request.Http.Path = "/rest/pat/latest/tokens"
	for name, c := range map[string]struct {
		ctx    context.Context
		q      *authv3.CheckRequest
		status int32
		reason string
	}{
		"401":                  {from("10.1.2.3"), checkRequest(map[string]string{"authorization": "Bearer tgate_x"}), 401, "malformed_token"},
		"Basic":                {from("10.1.2.3"), checkRequest(map[string]string{"authorization": "Basic e30="}), 401, "malformed_credential"},
		"Basic, a token":       {from("10.1.2.3"), checkRequest(map[string]string{"authorization": "Basic eDp0Z2F0ZV94"}), 401, "malformed_token"},
		"403":                  {from("10.1.2.3"), write, 403, "endpoint_forbidden"},
		"no address":           {from(), checkRequest(bearer), 503, "no_client_address"},
		"empty check":          {from("10.1.2.3"), &authv3.CheckRequest{}, 503, "bad_check"},
		"no HTTP":              {from("10.1.2.3"), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}}, 503, "bad_check"},
		"no path":              {from("10.1.2.3"), withPath(checkRequest(bearer), ""), 503, "bad_check"},
		"a token in the query": {from("10.1.2.3"), withPath(checkRequest(bearer), "/rest/x?y="+g.value.Reveal()), 401, "malformed_credential"},
		"a token in a path":    {from("10.1.2.3"), withPath(checkRequest(nil), "/rest/tgate%5f"+g.value.Reveal()[6:]), 401, "malformed_credential"},
		"two authorizations":   {from("10.1.2.3"), raw(checkRequest(nil), pair("authorization", "Bearer "+g.value.Reveal()), pair("Authorization", "Basic eDp5")), 401, "malformed_credential"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := g.ask(t, c.ctx, c.q)
			denied := answer.GetDeniedResponse()
			if answer.GetStatus().GetCode() == 0 || denied == nil {
				t.Fatalf("not denied: %v", reasonOf(answer))
			}
			if got := int32(denied.GetStatus().GetCode()); got != c.status || reasonOf(answer) != c.reason {
				t.Errorf("%d %s, want %d %s", got, reasonOf(answer), c.status, c.reason)
			}
			headers := map[string]string{}
			for _, h := range denied.GetHeaders() {
				headers[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
			}
			want := map[string]string{"content-type": "application/json;charset=UTF-8", "cache-control": "no-store"}
			if c.status == 401 {
				want["www-authenticate"] = `Bearer realm="Jira"`
				if strings.HasPrefix(name, "Basic") {
					want["www-authenticate"] = `Basic realm="Jira"`
				}
			}
			if diff := cmp.Diff(want, headers); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
			if body := denied.GetBody(); !strings.HasPrefix(body, `{"errorMessages":["`) || !strings.Contains(body, `"],"errors":{},"message":"`) {
				t.Errorf("body %s", body)
			}
		})
	}
	secret := g.value.Reveal()[18:61]
	if text := g.log.String(); strings.Contains(text, secret) {
		t.Errorf("the log holds the secret: %s", strings.ReplaceAll(text, secret, "SECRET"))
	}
}

// A denial says what is wrong with the credential, with its length.
func TestDenialDetails(t *testing.T) {
	g := newGate(t, byMetadata)
	value := g.value.Reveal()
	for want, authorization := range map[string]string{
		"not whole: 66 of 67 characters arrived":   "Bearer " + value[:66],
		"not whole: 6 of 67 characters arrived":    "Bearer tgate_",
		"too long: 68 characters arrived":          "Bearer " + value + "x",
		"too long: 200 characters arrived":         "Bearer " + value + strings.Repeat("x", 1000),
		"quotes, spaces or other text around":      `Bearer "` + value + `"`,
		"its checksum does not fit":                "Bearer tgate_" + strings.Repeat("0", 61),
		"use base64 -w0":                           "Basic ZnJl ZDpw",
		"more than one credential":                 "Basic ZnJlZDpw,Basic ZnJlZDpw",
		"it was revoked or replaced, or it is not": "Bearer " + forged(t, g.value),
	} {
		answer := g.ask(t, from("10.1.2.3"), checkRequest(map[string]string{"authorization": authorization}))
		if body := answer.GetDeniedResponse().GetBody(); !strings.Contains(body, want) || answer.GetStatus().GetCode() == 0 {
			t.Errorf("%s, want %q", body, want)
		}
	}
}

// forged returns a token with the same id and another secret.
func forged(t *testing.T, v token.Value) string {
	t.Helper()
	fresh, err := token.Remint(v.Kind(), v.ID(), token.Random)
	if err != nil {
		t.Fatal(err)
	}
	return fresh.Reveal()
}

// Scripts of listed origins, and no others, can read a denial. An OK has no CORS
// headers: they are Jira's.
func TestDenialsForOtherOrigins(t *testing.T) {
	g := newGate(t, byMetadata)
	const app = "https://app.example.com"
	good := "Bearer " + g.value.Reveal()
	listed := config.Default()
	listed.CORS.AllowedOrigins = []string{"http://localhost:3000", app}
	for name, c := range map[string]struct {
		settings              config.Config
		origin, authorization string
		want                  bool
	}{
		"listed":                    {listed, app, "Bearer tgate_x", true},
		"listed, no detail":         {listed, app, "Bearer " + forged(t, g.value), true},
		"another listed":            {listed, "http://localhost:3000", "Bearer tgate_x", true},
		"listed, allowed":           {listed, app, good, false},
		"not listed":                {listed, "https://evil.example", "Bearer tgate_x", false},
		"longer":                    {listed, app + ".evil.example", "Bearer tgate_x", false},
		"twice":                     {listed, app + "," + app, "Bearer tgate_x", false},
		"another spelling":          {listed, "https://APP.example.com", "Bearer tgate_x", false},
		"a trailing slash":          {listed, app + "/", "Bearer tgate_x", false},
		"null":                      {listed, "null", "Bearer tgate_x", false},
		"none":                      {listed, "", "Bearer tgate_x", false},
		"nothing listed":            {config.Default(), app, "Bearer tgate_x", false},
		"nothing listed, no origin": {config.Default(), "", "Bearer tgate_x", false},
	} {
		t.Run(name, func(t *testing.T) {
			g.server.Policy.Store(policy.New(c.settings))
			answer := g.ask(t, from("10.1.2.3"), checkRequest(map[string]string{"authorization": c.authorization, "origin": c.origin}))
			headers := map[string]string{}
			for _, h := range answer.GetDeniedResponse().GetHeaders() {
				headers[h.GetHeader().GetKey()] += h.GetHeader().GetValue()
			}
			want := map[string]string{}
			if c.authorization != good {
				want = map[string]string{"content-type": "application/json;charset=UTF-8", "cache-control": "no-store", "www-authenticate": `Bearer realm="Jira"`}
				if !strings.HasPrefix(answer.GetDeniedResponse().GetBody(), `{"errorMessages":["`) || answer.GetDeniedResponse().GetStatus().GetCode() != 401 {
					t.Errorf("answer %v", reasonOf(answer))
				}
			}
			if c.want {
				want["access-control-allow-origin"], want["access-control-allow-credentials"], want["vary"] = c.origin, "true", "Origin"
				want["access-control-expose-headers"] = "Retry-After, WWW-Authenticate"
			}
			if diff := cmp.Diff(want, headers); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
			if n := len(answer.GetOkResponse().GetHeaders()); c.authorization == good && n != 2 {
				t.Errorf("an OK sets %d headers", n)
			}
		})
	}
}

// The denial of a token that exceeds its rate has Retry-After, in whole seconds.
func TestTooManyRequests(t *testing.T) {
	for per, want := range map[time.Duration]string{time.Second: "1", 90 * time.Second: "90", time.Hour: "3600"} {
		g := newGate(t, byMetadata)
		_, err := g.tokens.Update(t.Context(), g.value.ID().String(), func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
			t.Rate = store.Rate{Requests: 2, Per: 2 * per, Burst: 1}
			return store.Audit{}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		q := checkRequest(map[string]string{"authorization": "Bearer " + g.value.Reveal()})
		if got := reasonOf(g.ask(t, from("10.1.2.3"), q)); got != "allowed" {
			t.Fatalf("the first request is %s", got)
		}
		answer := g.ask(t, from("10.1.2.3"), q)
		denied := answer.GetDeniedResponse()
		after := ""
		for _, h := range denied.GetHeaders() {
			if h.GetHeader().GetKey() == "retry-after" {
				after = h.GetHeader().GetValue()
			}
		}
		if said := " " + want + " second"; !strings.Contains(denied.GetBody(), said) {
			t.Errorf("the text %s does not contain%s", denied.GetBody(), said)
		}
		if denied.GetStatus().GetCode() != 429 || reasonOf(answer) != "rate_limited" || after != want {
			t.Errorf("%d %s, Retry-After %q, want %s", denied.GetStatus().GetCode(), reasonOf(answer), after, want)
		}
		usage, err := g.usage.Usage(t.Context(), []string{g.value.ID().String()})
		if err != nil || usage[g.value.ID().String()].Count != 1 {
			t.Errorf("usage %v, %v: want one request", usage, err)
		}
	}
}
