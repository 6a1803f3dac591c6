package envoy_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/config"
)

// A token in the body of a login over REST is denied, in every encoding and framing,
// before Jira receives it. Passwords are forwarded.
func TestLoginsThroughEnvoy(t *testing.T) {
	t.Parallel()
	r := newGateRig(t, func(*config.Config) {})
	value := r.value.Reveal()
	login := func(password string) string { return fmt.Sprintf(`{"username":"fred","password":"%s"}`, password) }
	for _, c := range []struct {
		name, target, body, reason string
		status                     int
	}{
		{"password", "/rest/auth/1/session", login("pw"), "password", 200},
		{"password, latest and suffix", "/rest/auth/latest/session.json", login("pw"), "password", 200},
		{"password, trailing slash and query", "/rest/auth/1/session/?x=1", login("pw"), "password", 200},
		{"password, below a prefix", "/jira/rest/auth/1/session", login("pw"), "password", 200},
		{"token", "/rest/auth/1/session", login(value), "malformed_credential", 401},
		{"token, suffix", "/rest/auth/latest/session.json/", login(value), "malformed_credential", 401},
		{"token, below a prefix", "/jira/rest/auth/1.0/session", login(value), "malformed_credential", 401},
		{"token, rewritten path", "/s/x/_/rest/auth/1/session", login(value), "malformed_credential", 401},
		{"token, escaped", "/rest/auth/1/session", login(`\u0074gate\u005f` + value[6:]), "malformed_credential", 401},
		{"token, UTF-16", "/rest/auth/1/session", strings.Join(strings.Split(login(value), ""), "\x00") + "\x00", "malformed_credential", 401},
		{"token, form", "/rest/auth/1/session", "os_password=%74gate_" + value[6:], "malformed_credential", 401},
		{"token for a user", "/rest/auth/1/session", `{"username":"` + value + `"}`, "malformed_credential", 401},
		{"token, semicolon", "/rest/auth/1/session;x", login(value), "malformed_credential", 401},
		{"token, semicolon before", "/rest;x/auth/1/session", login(value), "malformed_credential", 401},
		{"too large", "/rest/auth/1/session", login(strings.Repeat("x", 9000)), "", 413},
		{"no body", "/rest/auth/1/session", "", "malformed_credential", 401},
	} {
		for _, framing := range []string{"length", "chunked"} {
			header := []string{fmt.Sprintf("Content-Length: %d", len(c.body)), "Content-Type: application/json"}
			body := c.body
			if framing == "chunked" && body != "" {
				header[0] = "Transfer-Encoding: chunked"
				body = fmt.Sprintf("1\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", body[:1], len(body)-1, body[1:])
			}
			status, reason, arrived := r.exchange(t, "POST", c.target, body, header...)
			if status != c.status || reason != c.reason || (arrived.server == "jira") != (c.status == 200) {
				t.Errorf("%s, %s: %d %q, arrived at %q; want %d %q", c.name, framing, status, reason, arrived.server, c.status, c.reason)
			}
			if c.status == 413 {
				r.hangUp()
			}
		}
	}
	// Basic in the header does not hide a token in the body.
	if status, reason, _ := r.exchange(t, "POST", "/rest/auth/1/session", login(value), fmt.Sprintf("Content-Length: %d", len(login(value))),
		"Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("fred:pw"))); status != 401 || reason != "malformed_credential" {
		t.Errorf("with Basic: %d %q", status, reason)
	}
}

// A logout with a token is answered with 204 and an empty body, and not forwarded.
func TestLogoutThroughEnvoy(t *testing.T) {
	t.Parallel()
	r := newGateRig(t, func(*config.Config) {})
	for _, path := range []string{"/rest/auth/1/session", "/rest/auth/latest/session.json"} {
		status, reason, arrived := r.exchange(t, "DELETE", path, "", "Authorization: Bearer "+r.value.Reveal())
		if status != 204 || reason != "session_kept" || arrived.server != "" {
			t.Errorf("%s: %d %q, arrived at %q", path, status, reason, arrived.server)
		}
	}
	if _, _, arrived := r.exchange(t, "DELETE", "/rest/auth/1/session", ""); arrived.server != "jira" {
		t.Error("a logout without a token did not arrive")
	}
}

// The body of every other request is streamed, not buffered.
func TestOtherBodiesAreStreamed(t *testing.T) {
	t.Parallel()
	r := newGateRig(t, func(*config.Config) {})
	conn, err := net.Dial("tcp", r.envoy.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /rest/api/2/issue/A-1/attachments HTTP/1.1\r\nHost: jira\r\nContent-Length: 1000000\r\n\r\nbegin"); err != nil {
		t.Fatal(err)
	}
	if arrived := <-r.seen; arrived.server != "jira" {
		t.Errorf("arrived at %s", arrived.server)
	}
}
