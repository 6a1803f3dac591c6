package envoy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/token"
)

// TestBypassOverHTTP2 sends what HTTP/1.1 cannot carry, and what clients send twice, with and
// without the bypass.
func TestBypassOverHTTP2(t *testing.T) {
	r := newBypassRig(t, func(to *config.Config) {
		to.Tokens.Paths = []string{"/", "*"}
		to.Passwords.Mode = config.PasswordsBlock
	})
	value := r.value.Reveal()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	send := func(addr, method, target string, h http.Header) (reason, answer string) {
		r.mu.Lock()
		r.reason = ""
		r.mu.Unlock()
		q, err := http.NewRequest(method, "http://"+addr+"/", nil)
		if err != nil {
			return "", err.Error()
		}
		p, query, has := strings.Cut(target, "?")
		q.URL.Opaque, q.URL.RawQuery, q.URL.ForceQuery = p, query, has
		q.Host = "jira.example.com"
		q.Header = h.Clone()
		a, err := tr.RoundTrip(q)
		if err != nil {
			return "", "error"
		}
		defer a.Body.Close()
		b, _ := io.ReadAll(a.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.reason, fmt.Sprint(a.Status, headerText(a.Header), string(b))
	}
	ua := func(v ...string) http.Header { return http.Header{"User-Agent": v} }
	for _, c := range []struct {
		method, target string
		h              http.Header
	}{
		{"get", "/x", ua("a")}, {"FOO", "/x", ua("a")}, {"GET", "/x", ua("a")}, {"GET", "/x", http.Header{"User-Agent": {"a"}, "Origin": {"null", value}}},
		{"GET", "/x", http.Header{"User-Agent": {"\x80" + value}}}, {"GET", "/\xe2?a=" + value, ua("a")}, {"GET", "/\xe2\x82", ua("a")},
		{"POST", "/rest/auth/1/s\xc3session", ua("a")}, {"GET", "/x?a=\xff" + value, ua("a")}, {"GET", "/x", http.Header{"Authorization": {""}, "User-Agent": {"a"}}},
		{"GET", "/x", http.Header{"Authorization": {"Basic ZnJlZDp4"}, "User-Agent": {"a"}}}, {"GET", "/x", http.Header{"Authorization": {"", "Basic ZnJlZDp4"}, "User-Agent": {"a"}}},
		{"GET", "/x", http.Header{"X-Forwarded-User": {"admin"}, "X-Tokengate-Authenticated": {"1"}, "X_forwarded_user": {"admin"}, "Cookie": {"a=b", "c=d"}, "User-Agent": {"a"}}},
		{"GET", "/x?a=%26os_username=b", ua("a")}, {"GET", "/x?a=b%3Fos_username=b", ua("a")}, {"GET", "/x?\\os_username=b", ua("a")},
		{"GET", "/x?a=1&\tos_username=b", ua("a")}, {"GET", "/x?+os_username=b", ua("a")}, {"GET", "/x?os_username%00=b", ua("a")}, {"PRI", "*", ua("a")},
	} {
		ar, aa := send(r.asking.addr, c.method, c.target, c.h)
		br, ba := send(r.bypassing.addr, c.method, c.target, c.h)
		if aa != ba || br != ar && !(br == "" && ar == "no_credential") {
			t.Errorf("%s %s: reasons %q and %q\n%.200s\n%.200s", c.method, token.Redact(c.target), ar, br, token.Redact(aa), token.Redact(ba))
		}
	}
}
