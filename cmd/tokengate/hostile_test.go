package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// exchange writes bytes to Envoy as they are and reads one answer.
func (r *rig) exchange(text string) answer {
	r.t.Helper()
	conn, err := net.DialTimeout("tcp", r.envoy.Addr, waitTime)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(waitTime)); err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		r.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// plain writes a GET request with these header lines.
func plain(path string, lines ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: jira.example.com\r\nConnection: close\r\n" + strings.Join(append(lines, "\r\n"), "\r\n")
}

// Forged headers, paths and methods give a client no right.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	value := r.mint("hostile", "--ip", "10.0.0.0/8")
	auth := "Authorization: Bearer " + value.Reveal()
	const inside, outside = "X-Forwarded-For: 10.1.2.3", "X-Forwarded-For: 203.0.113.7"

	// A session of the administrator's, as a thief or the browser might have it.
	login := r.send(request{method: "POST", path: "/rest/auth/1/session", body: strings.NewReader(`{"username":"admin","password":"secret"}`), header: http.Header{"Content-Type": {"application/json"}}})
	session := ""
	for _, c := range (&http.Response{Header: login.header}).Cookies() {
		if c.Name == "JSESSIONID" {
			session = c.Value
		}
	}
	if session == "" {
		t.Fatalf("no session: %d %s", login.status, login.body)
	}

	const myself = "/rest/api/2/myself"
	for _, c := range []struct {
		name   string
		send   string
		status int    // 0: any refusal
		user   string // whom Jira sees, where the request gets through
	}{
		{"identity header alone", plain(myself, "X-Forwarded-User: admin"), 401, ""},
		{"identity header beside a token", plain(myself, inside, auth, "X-Forwarded-User: admin"), 200, "Fred"},
		{"identity header twice", plain(myself, inside, auth, "X-Forwarded-User: admin", "x-forwarded-user: admin"), 200, "Fred"},
		{"identity header, underscores", plain(myself, "X_Forwarded_User: admin"), 401, ""},
		{"identity header of another plugin", plain(myself, "Remote-User: admin", "X-Remote-User: admin"), 401, ""},
		{"marker alone", plain("/rest/api/2/serverInfo", "X-Tokengate-Authenticated: 1"), 200, ""},
		{"marker, underscores", plain("/rest/api/2/serverInfo", "X_Tokengate_Authenticated: 1"), 200, ""},
		{"client address headers", plain(myself, outside, auth, "X-Client-Ip: 10.1.2.3", "X-Real-Ip: 10.1.2.3", "X-Envoy-External-Address: 10.1.2.3", "X-Tokengate-Client-Ip: 10.1.2.3"), 403, ""},
		{"its own entry before the load balancer's", plain(myself, "X-Forwarded-For: 10.1.2.3, 203.0.113.7", auth), 403, ""},
		{"Envoy's own headers", plain(myself, outside, auth, "X-Envoy-Original-Path: /x", "X-Envoy-Internal: true", "X-Envoy-Downstream-Service-Cluster: jira"), 403, ""},
		{"two Authorization headers", plain(myself, inside, auth, "Authorization: Basic YWRtaW46c2VjcmV0"), 401, ""},
		{"two Authorization headers, other order", plain(myself, inside, "Authorization: Basic YWRtaW46c2VjcmV0", auth), 401, ""},
		{"an empty Authorization header first", plain(myself, inside, "Authorization:", auth), 200, "Fred"},
		{"authorization with an underscore in front", plain(myself, inside, "_Authorization: Basic YWRtaW46c2VjcmV0"), 401, ""},
		{"another user's session beside a token", plain(myself, inside, auth, "Cookie: JSESSIONID="+session), 200, "Fred"},
		{"another user's session in the path", plain(myself+";jsessionid="+session, inside, auth), 400, ""},
		{"another user's session in the path, encoded", plain("/rest%3bjsessionid="+session+"/api/2/myself", inside, auth), 0, ""},
		{"os_username beside a token", plain(myself+"?os_username=admin&os_password=secret", inside, auth), 200, "Fred"},
		{"os_username, disguised", plain(myself+"?os%5fusername=admin&os%5fpassword=secret", inside, auth), 400, ""},
		{"a path from outside REST", plain("/secure/..;/rest/api/2/myself", inside, auth), 200, "Fred"}, // Envoy writes it plain
		{"an escaped path", plain("/%72est/api/2/myself", inside, auth), 200, "Fred"},                   // this one too
		{"a path from outside REST, escaped", plain("/secure/%2e%2e;/rest/api/2/myself", inside, auth), 400, ""},
		{"an escaped slash", plain("/rest%2fapi/2/myself", inside, auth), 400, ""},
		{"absolute form", plain("http://admin@other/rest;x/api/2/myself", inside, auth), 0, ""},
		{"lower-case method", strings.Replace(plain(myself, inside, auth), "GET", "get", 1), 400, ""},
		{"upgrade", plain(myself, inside, auth, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), 403, ""},
		{"h2c upgrade", plain(myself, outside, auth, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"), 403, ""},
		{"CONNECT", "CONNECT /rest/api/2/myself HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n\r\n", 0, ""},
		{"an unknown Bearer", plain(myself, "Authorization: Bearer x"), 401, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.jira.Reset()
			got := r.exchange(c.send)
			if c.status != 0 && got.status != c.status || c.status == 0 && c.user == "" && got.status < 400 {
				t.Errorf("status %d, want %d: %s", got.status, c.status, got.body)
			}
			for _, seen := range r.jira.Requests() {
				if seen.User != c.user {
					t.Errorf("Jira saw %q by %s, want %q", seen.User, seen.How, c.user)
				}
				if c.user != "" && seen.How != jiratest.ByHeader {
					t.Errorf("Jira knew the user by %s", seen.How)
				}
				for name := range seen.Header {
					lower := strings.ToLower(name)
					if strings.HasPrefix(lower, "x-tokengate") || strings.Contains(name, "_") || lower == "x-remote-user" || lower == "remote-user" {
						t.Errorf("Jira received %s", name)
					}
				}
			}
			if c.user != "" && len(got.header.Values("Set-Cookie")) != 0 {
				t.Error("the client got a cookie for its token")
			}
			if strings.Contains(got.body, session) {
				t.Error("the answer holds a session")
			}
		})
	}
	for _, user := range []string{"fred", "admin"} {
		if n := r.jira.Failures(user); n != 0 {
			t.Errorf("Jira counted %d failed logins for %s", n, user)
		}
	}
	t.Run("a spoofed marker keeps no cookie from a browser", func(t *testing.T) {
		got := r.exchange(plain("/secure/Dashboard.jspa", "X-Tokengate-Authenticated: 1"))
		if got.status != 200 || len(got.header.Values("Set-Cookie")) == 0 {
			t.Errorf("status %d, cookies %v", got.status, got.header.Values("Set-Cookie"))
		}
	})
}

// h2Client speaks HTTP/2 without TLS.
func h2Client(t *testing.T) *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// HTTP/2 carries method names as the client writes them.
func TestHostileMethodsOverHTTP2(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	reader := r.mint("reader", "--read-only")
	client := h2Client(t)
	for method, want := range map[string]int{"GET": 200, "get": 403, "Get": 403, "FOO": 403, "POST": 403, "PROPFIND": 403} {
		got, err := r.try(context.Background(), client, request{method: method, path: "/rest/api/2/issue/DEMO-1", auth: bearer(reader)})
		if err != nil {
			t.Fatal(err)
		}
		if got.status != want {
			t.Errorf("%s: %d, want %d", method, got.status, want)
		}
		if want == 403 && !strings.Contains(got.body, "read-only") {
			t.Errorf("%s: %s", method, got.body)
		}
	}
}

// Without a load balancer to trust, X-Forwarded-For says nothing.
func TestForwardedForIsNotBelieved(t *testing.T) {
	t.Parallel()
	r := newRig(t, withoutProxy(t))
	far := r.mint("far", "--ip", "10.0.0.0/8")
	near := r.mint("near", "--ip", "127.0.0.0/8")
	for _, spoof := range []string{"10.1.2.3", "10.1.2.3, 10.1.2.3", "127.0.0.1, 10.1.2.3"} {
		if got := r.send(request{auth: bearer(far), from: spoof}); got.status != 403 {
			t.Errorf("X-Forwarded-For: %s: %d", spoof, got.status)
		}
		if got := r.send(request{auth: bearer(near), from: spoof}); got.status != 200 {
			t.Errorf("X-Forwarded-For: %s from loopback: %d", spoof, got.status)
		}
	}
}

// The client's address also arrives by the other ways that the configuration
// offers.
func TestClientAddressByConfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		setting string
		from    string
	}{
		"source":   {"{source: true}", "127.0.0.1"},
		"metadata": {"{metadata: x-client-ip}", "127.0.0.1"},
		"header":   {"{header: x-envoy-external-address}", "127.0.0.1"},
		"ours":     {"{header: x-real-ip}", "127.0.0.1"},
		"hops":     {"{trustedHops: 1}", "10.1.2.3"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{
				settings: func(yaml string) string {
					return withoutKey(t, yaml, "clientAddress") + "\nclientAddress: " + c.setting + "\n"
				},
			})
			good, bad := r.mint("good", "--ip", c.from), r.mint("bad", "--ip", "192.0.2.1")
			spoof := http.Header{"X-Envoy-External-Address": {"192.0.2.1"}, "X-Real-Ip": {"192.0.2.1"}, "X-Client-Ip": {"192.0.2.1"}}
			// Each of them twice, too: what comes joined must not count either.
			twice := []string{"X-Forwarded-For: 10.1.2.3"}
			for name := range spoof {
				twice = append(twice, name+": 192.0.2.1", strings.ToLower(name)+": 192.0.2.1")
			}
			for value, want := range map[string]int{bearer(good): 200, bearer(bad): 403} {
				if got := r.send(request{auth: value, header: spoof}); got.status != want {
					t.Errorf("status %d, want %d: %s", got.status, want, got.body)
				}
				if got := r.exchange(plain("/rest/api/2/myself", append(twice, "Authorization: "+value)...)); got.status != want {
					t.Errorf("headers twice: status %d, want %d: %s", got.status, want, got.body)
				}
			}
		})
	}
}
