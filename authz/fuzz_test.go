package authz

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/authztest"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/token"
)

// sample is a whole value, because fuzzing finds only the prefix.
const sample = "tgate_" + "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxy"

// FuzzAuthorization compares parseAuthorization with net/http's parser of Basic
// credentials, which is more lenient: a password for net/http must never be
// forwarded as another credential.
func FuzzAuthorization(f *testing.F) {
	for _, header := range authztest.Authorizations(sample) {
		f.Add(header)
	}
	// Without (?i), which would also take ſ for an s.
	const ours = `([Bb][Aa][Ss][Ii][Cc]|[Bb][Ee][Aa][Rr][Ee][Rr])( |$)`
	begins, second := regexp.MustCompile(`^`+ours), regexp.MustCompile(`,[ \t]*`+ours)
	f.Fuzz(func(t *testing.T, header string) {
		got := parseAuthorization(new(memory), header)
		trimmed := strings.Trim(header, " \t")
		for _, sent := range []string{header, trimmed} {
			r := http.Request{Header: http.Header{"Authorization": {sent}}}
			user, secret, ok := r.BasicAuth()
			switch {
			case !ok, got.kind == malformedCredential:
			case token.IsCredential(secret):
				if got != (credential{kind: tokenCredential, text: secret, basic: true, user: user}) {
					t.Errorf("%q with a token is kind %d", header, got.kind)
				}
			case got != credential{kind: passwordCredential, basic: true, user: user}:
				t.Errorf("%q with a password is kind %d", header, got.kind)
			case token.Contains(user), token.Contains(secret):
				t.Errorf("%q hides a token in a password", header)
			}
		}
		switch got.kind {
		case noCredential:
			if trimmed != "" {
				t.Errorf("%q is nothing", header)
			}
		case otherCredential:
			if begins.MatchString(trimmed) || second.MatchString(trimmed) {
				t.Errorf("%q is another credential", header)
			}
			fallthrough
		case otherBearerCredential:
			if token.Contains(header) {
				t.Errorf("%q contains a token", header)
			}
		case tokenCredential:
			if !token.IsCredential(got.text) {
				t.Errorf("%q is a token, but %q is not", header, got.text)
			}
		case malformedCredential, passwordCredential:
		default:
			t.Errorf("%q is kind %d", header, got.kind)
		}
		if got.kind == passwordCredential && !strings.EqualFold(trimmed[:min(len(trimmed), len("basic "))], "basic ") {
			t.Errorf("%q is a password", header)
		}
	})
}

// A token is found in base64 after any text and in any alphabet, and text with
// another prefix is not.
func TestBase64Tokens(t *testing.T) {
	for _, prefix := range []string{"tgate_", "tgadm_"} {
		for _, before := range []string{"", "a", "ab", "abc", "fred:", "\xff", "\xff\xff"} {
			for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
				for _, in := range []string{"%s", "x/%s", "ApiKey-%s", "%%41%s"} {
					text := fmt.Sprintf(in, encoding.EncodeToString([]byte(before+prefix+"A")))
					if !encodesToken(new(memory), text) {
						t.Errorf("no token is found in %s", text)
					}
				}
				for n := range prefix {
					other := prefix[:n] + "z" + prefix[n+1:]
					if text := encoding.EncodeToString([]byte(before + other + "A")); encodesToken(new(memory), text) {
						t.Errorf("a token is found in %s, which is %s", text, other)
					}
				}
			}
		}
	}
}

var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// decoded is a slow and simple decoder of a query component.
func decoded(s string) string {
	return escape.ReplaceAllStringFunc(strings.ReplaceAll(s, "+", " "), func(e string) string {
		const digits = "0123456789abcdef"
		e = strings.ToLower(e)
		return string([]byte{byte(strings.IndexByte(digits, e[1])*16 + strings.IndexByte(digits, e[2]))})
	})
}

// FuzzQuery compares parseQuery and stripQuery with a simple parser, with and
// without a token parameter.
func FuzzQuery(f *testing.F) {
	for _, query := range authztest.Queries(sample) {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, name := range []string{"", "access_token"} {
			checkQuery(t, query, name)
		}
	})
}

// wantToken returns the expected result of holdsToken.
func wantToken(part string) bool {
	if len(part) < token.SecretEnd {
		return false
	}
	part = decoded(decoded(decoded(part)))
	return token.Contains(part) || hasBase64Token(part)
}

func checkQuery(t *testing.T, query, tokenName string) {
	var want queryFacts
	kept := []string{}
	for _, pair := range strings.Split(query, "&") {
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, value := decoded(rawName), decoded(rawValue)
		isToken := tokenName != "" && rawName == tokenName && token.IsCredential(value)
		isLogin := strings.HasPrefix(rawName, "os_")
		if isToken {
			want.tokens++
			want.token = value
		}
		if name == "os_username" {
			want.users++
			want.user = value
		}
		want.password = want.password || name == "os_username" || name == "os_password"
		if name == "os_password" {
			want.empty = want.empty || value == ""
			want.misplaced = want.misplaced || hasTokenValue(value) || encodesToken(new(memory), value)
		}
		want.method = want.method || name == "_method"
		want.misplaced = want.misplaced || !isToken && (wantToken(rawName) || wantToken(rawValue))
		want.disguised = want.disguised || !isLogin && strings.HasPrefix(name, "os_") || rawName != tokenName && tokenName != "" && name == tokenName
		if isToken || isLogin {
			want.strip = true
		} else {
			kept = append(kept, pair)
		}
	}
	p := &policy.Policy{Product: jira.Product, QueryParameter: tokenName}
	facts := parseQuery(new(memory), query, p)
	if facts != want {
		t.Errorf("%q, token in %q:\n got %#v\nwant %#v", query, tokenName, facts, want)
	}
	values, _ := url.ParseQuery(query) // what it could read, beside an error
	if (values.Has("os_username") || values.Has("os_password")) && !facts.password {
		t.Errorf("%q has a password, says net/url", query)
	}
	if !facts.strip {
		return
	}
	path, stripped, asks := strings.Cut(stripQuery(new(memory), "/rest/x?"+query, p), "?")
	left := strings.Split(stripped, "&")
	if len(kept) == 0 && !asks {
		kept = []string{""}
	}
	if path != "/rest/x" || !slices.Equal(left, kept) {
		t.Errorf("%q, token in %q: %q %q is left, want %q", query, tokenName, path, left, kept)
	}
	after := parseQuery(new(memory), stripped, p)
	if after.strip || after.tokens > 0 || !facts.disguised && (after.password || after.disguised) {
		t.Errorf("%q, token in %q: what is left has %#v", query, tokenName, after)
	}
}

// FuzzBase64 compares decodeBase64 with encoding/base64.
func FuzzBase64(f *testing.F) {
	for _, text := range []string{"", "Zg==", "Zm8=", "Zm9v", "Zh==", "Zm9=", "Zg=", "Z===", "====", "=", "Zg==Zg==", "Zm 9", "Zm9v\n", "\r\n\r\n", "+/+/", "-_-_", "\xff\xff\xff\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, err := base64.StdEncoding.Strict().DecodeString(text)
		good := err == nil && !strings.ContainsAny(text, "\r\n")
		got, ok := decodeBase64(new(memory), text)
		if ok != good || ok && got != string(want) {
			t.Errorf("%q is %q, %v; encoding/base64 says %q, %v", text, got, ok, want, err)
		}
	})
}

// readsSessionLogin is isSessionLogin as a simple parser from left to right.
func readsSessionLogin(raw string) bool {
	var segments []string
	for _, segment := range strings.Split(raw, "/") {
		segment, _, _ = strings.Cut(segment, ";")
		segment = strings.ReplaceAll(decodePath(new(memory), segment), `\`, "/")
		for _, part := range strings.Split(segment, "/") {
			switch part {
			case "", ".":
			case "..":
				segments = segments[:max(0, len(segments)-1)]
			default:
				segments = append(segments, part)
			}
		}
	}
	if n := len(segments); n > 0 && segments[n-1][0] == '.' {
		segments = segments[:n-1]
	}
	n := len(segments)
	return n >= 4 && segments[n-4] == "rest" && segments[n-3] == "auth" && strings.Split(segments[n-1], ".")[0] == "session"
}

// FuzzSessionLogin compares isSessionLogin, which reads a path from its end, with
// readsSessionLogin.
func FuzzSessionLogin(f *testing.F) {
	for _, path := range authztest.SessionPaths {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if want := readsSessionLogin(path); isSessionLogin(new(memory), path, jira.Product.Session.Pattern()) != want {
			t.Errorf("%q is a session login: want %v", path, want)
		}
	})
}
