package main

import (
	"context"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/tokengate/tokengate/authz/token"
)

// minted are the values of all tokens so far, by the test that made them.
var minted = struct {
	sync.Mutex
	values map[string][]token.Value
}{values: map[string][]token.Value{}}

func testName(t *testing.T) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	return name
}

// remember saves the values in text. No other output of the test may contain them.
func remember(t *testing.T, text string) {
	t.Helper()
	minted.Lock()
	defer minted.Unlock()
	for _, m := range regexp.MustCompile(`t(?:gate|gadm)_[0-9A-Za-z]{61}`).FindAllString(text, -1) {
		value, err := token.Parse(m)
		if err != nil {
			t.Error("a token was printed that is none")
			continue
		}
		minted.values[testName(t)] = append(minted.values[testName(t)], value)
	}
}

// findSecret says in what form a text holds the secret of a token of this test,
// or of one in its usual shape; "" if it holds none.
func findSecret(t *testing.T, text string) string {
	if token.Contains(text) || token.Redact(text) != text {
		return "a token"
	}
	minted.Lock()
	defer minted.Unlock()
	for _, value := range minted.values[testName(t)] {
		secret := value.Reveal()[len("tgate_")+12:][:43]
		if strings.Contains(text, secret[:21]) || strings.Contains(text, secret[21:]) {
			return "a token's secret, or half of it"
		}
		for _, part := range base64Forms(secret) {
			if strings.Contains(text, part) {
				return "a token's secret in base64"
			}
		}
	}
	return ""
}

// base64Forms returns how a text looks in the base64 of a longer text, such as that of
// Basic. It may begin at any of three offsets, and the characters at both ends depend on
// the adjacent text.
func base64Forms(text string) (forms [3]string) {
	for before, skip := range []int{0, 2, 3} {
		encoded := base64.StdEncoding.EncodeToString(append(make([]byte, before), text...))
		forms[before] = encoded[skip : (before+len(text))/3*4]
	}
	return forms
}

// checkOutput remembers the values that token create and token rotate print,
// and fails the test where a command prints one anywhere else.
func checkOutput(t *testing.T, args []string, stdout, stderr string) {
	t.Helper()
	if len(args) > 1 && args[0] == "token" && (args[1] == "create" || args[1] == "rotate") {
		remember(t, stdout)
	} else if found := findSecret(t, stdout); found != "" {
		t.Errorf("tokengate %s: standard output holds %s", strings.Join(args[:min(2, len(args))], " "), found)
	}
	if found := findSecret(t, stderr); found != "" {
		t.Errorf("tokengate %s: standard error holds %s", strings.Join(args[:min(2, len(args))], " "), found)
	}
}

// searchEnvoy fails the test if Envoy wrote a token's secret, except one in a URL path or
// a method: Envoy's access log shows both.
func (r *rig) searchEnvoy() {
	if r.envoy == nil {
		return // it did not start
	}
	access := r.envoy.Output()
	for _, value := range r.inAccessLog {
		access = strings.ReplaceAll(access, value.Reveal(), "")
	}
	for name, text := range map[string]string{"Envoy's log": r.envoy.Log(), "Envoy's access log": access} {
		if found := findSecret(r.t, text); found != "" {
			r.t.Errorf("%s holds %s", name, found)
		}
	}
}

// The search finds what it is for.
func TestFindSecret(t *testing.T) {
	value, err := token.Mint(token.Ordinary, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	whole := value.Reveal()
	if findSecret(t, "x"+whole[18:61]+"x") != "" {
		t.Error("a secret was found before it was remembered")
	}
	remember(t, "created "+whole+"\n")
	for name, text := range map[string]string{
		"value": whole, "secret": whole[18:61], "half": whole[10:40], "other half": whole[38:],
		"Fred": basic("Fred", whole), "fred": basic("fred", whole), "admin": basic("admin", whole), "nobody": basic("", whole), "another": basic("ab", whole),
		"as user": basic(whole, ""), "in a cookie": base64.RawURLEncoding.EncodeToString([]byte("c=" + whole)),
	} {
		if findSecret(t, `{"a":"`+text+`"}`) == "" {
			t.Errorf("%s: not found", name)
		}
	}
	if found := findSecret(t, whole[:18]+"…"+whole[61:]); found != "" {
		t.Errorf("found %s where there is none", found)
	}
}

// Tokens in unusual places are not logged. The logs are searched when the rig's processes
// have ended.
func TestSecretsInOddPlaces(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{leak: func(where string) {
		if !strings.HasSuffix(where, "a header, Referer") { // Envoy does not show it to tokengate
			t.Errorf("Jira received a token: %s", where)
		}
	}})
	good := r.mint("good")
	const issue = "/rest/api/2/issue/DEMO-1"
	for name, place := range map[string]struct {
		q      func(value string) request
		status int
		shown  bool // in Envoy's access log
	}{
		"X-Request-Id":      {func(v string) request { return request{header: http.Header{"X-Request-Id": {v}}} }, 200, false},
		"User-Agent":        {func(v string) request { return request{header: http.Header{"User-Agent": {"curl " + v}}} }, 401, false},
		"Referer":           {func(v string) request { return request{header: http.Header{"Referer": {"https://x/?t=" + v}}} }, 200, false},
		"Cookie":            {func(v string) request { return request{header: http.Header{"Cookie": {"t=" + v}}} }, 200, false},
		"X-Method-Override": {func(v string) request { return request{path: issue, header: http.Header{"X-Method-Override": {v}}} }, 401, false},
		"method":            {func(v string) request { return request{method: v, path: issue} }, 404, true},
		"path":              {func(v string) request { return request{path: "/rest/api/2/issue/" + v} }, 401, true},
		"path, escaped":     {func(v string) request { return request{path: "/rest/api/2/issue/%74" + v[1:]} }, 401, true},
		"query":             {func(v string) request { return request{path: "/rest/api/2/myself?token=" + v} }, 401, false},
		"query, escaped":    {func(v string) request { return request{path: "/rest/api/2/myself?token=%74" + v[1:]} }, 401, false},
		"Basic user":        {func(v string) request { return request{auth: basic(v, "")} }, 401, false},
		"Basic, other user": {func(v string) request { return request{auth: basic("admin", v)} }, 401, false},
		"another scheme":    {func(v string) request { return request{auth: "Token " + v} }, 401, false},
		"no scheme":         {func(v string) request { return request{auth: v} }, 401, false},
		"longer":            {func(v string) request { return request{auth: "Bearer " + v + "x"} }, 401, false},
		"shorter":           {func(v string) request { return request{auth: "Bearer " + v[:66]} }, 401, false},
		"long line":         {func(v string) request { return request{path: "/rest/" + strings.Repeat("x", 980) + v} }, 401, true},
	} {
		t.Run(name, func(t *testing.T) {
			value := r.mint(name)
			if place.shown {
				r.inAccessLog = append(r.inAccessLog, value)
			}
			q := place.q(value.Reveal())
			if q.auth == "" {
				q.auth = bearer(good)
			}
			client := noRedirects
			if name == "method" {
				client = h2Client(t)
			}
			got, err := r.try(context.Background(), client, q)
			if err != nil {
				t.Fatal(err)
			}
			if got.status != place.status {
				t.Errorf("status %d, want %d: %s", got.status, place.status, got.body)
			}
			if found := findSecret(t, got.body); found != "" {
				t.Errorf("the answer holds %s", found)
			}
		})
	}

	// Envoy writes X-Request-Id anew; another one might not.
	conn, err := grpc.NewClient("unix:"+r.dir+"/g", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	id := r.mint("request id").Reveal()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "x-client-ip", "10.1.2.3"), waitTime)
	defer cancel()
	for _, auth := range []string{bearer(good), "Basic !"} {
		answer, err := authv3.NewAuthorizationClient(conn).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
				Method: "GET", Path: "/rest/api/2/myself", Headers: map[string]string{"authorization": auth, "x-request-id": id, "user-agent": id},
			}},
		}})
		if err != nil || findSecret(t, answer.String()) != "" {
			t.Errorf("Check: %v", err)
		}
	}
	for range 2 {
		r.gate.waitFor(`"request_id":"` + id[:18] + "…") // without the secret
	}
}
