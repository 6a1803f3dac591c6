package authz_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
)

// Every byte in a path, raw and escaped, is ambiguous as measured on Tomcat and
// written here as a pattern.
func TestBytesOfAPath(t *testing.T) {
	w := newWorld(t)
	at := func(path string) authz.Reason {
		return decisionCase{authorization: "Bearer {fred}", path: path}.run(t, w).Reason
	}
	ambiguous := regexp.MustCompile(`[^!-~]|[;\\]|//|/\.\.?(/|$)|%($|.$|[^0-9A-Fa-f]|.[^0-9A-Fa-f])|` +
		`%([01].|2[EeFf]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Cc]|7[Ff])`)
	ends := []string{"", "b", ";", "/", "//", "/.", "/..", "/./b", "/../b", "/.b", "/..b", "/b.", "%", "%4", "%zz", "%g0", "%4g"}
	for c := range 256 {
		for _, text := range []string{string([]byte{byte(c)}), fmt.Sprintf("%%%02x", c), fmt.Sprintf("%%%02X", c)} {
			for _, end := range ends {
				path := "/rest/a" + text + end
				want := authz.TokenAllowed
				if raw, _, _ := strings.Cut(path, "?"); ambiguous.MatchString(raw) {
					want = authz.AmbiguousPath
				}
				if got := at(path); got != want {
					t.Errorf("%q: %v, want %v", path, got, want)
				}
			}
		}
	}
}

// The rest of a query from which a parameter is removed is forwarded unchanged or
// denied.
func TestBytesOfAQuery(t *testing.T) {
	w := newWorld(t)
	for c := range 256 {
		rest := "b=" + string([]byte{byte(c)})
		want := decisionCase{outcome: refused, reason: authz.AmbiguousPath, user: "Fred"}
		if '!' <= c && c <= '~' {
			want = decisionCase{outcome: admitted, reason: authz.TokenAllowed, user: "Fred", newPath: "/rest/x?" + rest}
		}
		want.authorization, want.path, want.protocol = "Bearer {fred}", "/rest/x?os_a=1&"+rest, "HTTP/1.1"
		t.Run(fmt.Sprintf("%02x", c), func(t *testing.T) { want.check(t, w) })
	}
}

// A scheme ends where a token of RFC 9110 §5.6.2 ends. Basic and Bearer must be
// followed by a space.
func TestBytesAfterScheme(t *testing.T) {
	w := newWorld(t)
	const inToken = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for scheme, withSpace := range map[string]authz.Reason{"Basic": authz.Password, "Bearer": authz.OtherBearer} {
		for c := range 256 {
			want := authz.MalformedCredential
			switch {
			case c == ' ':
				want = withSpace
			case strings.IndexByte(inToken, byte(c)) >= 0:
				want = authz.NoCredential // another scheme
			}
			header := scheme + string([]byte{byte(c)}) + "ZnJlZDpw"
			if got := (decisionCase{authorization: header}).run(t, w).Reason; got != want {
				t.Errorf("%q: %v, want %v", header, got, want)
			}
		}
	}
}

// If the context path contains an unreserved character, the escape of that
// character is ambiguous.
func TestEscapesOfTheContextPath(t *testing.T) {
	w := newWorld(t)
	escapes := map[string][]string{"-": {"%2d", "%2D"}, "_": {"%5f", "%5F"}, "~": {"%7e", "%7E"}}
	for c, own := range escapes {
		in := func(contextPath, path string) authz.Reason {
			return decisionCase{authorization: "Bearer {fred}", path: path, config: func(s *config.Config) { s.Upstream.ContextPath = contextPath }}.run(t, w).Reason
		}
		root := "/ji" + c + "ra"
		if got := in(root, root+"/rest/api/2/a"+c+"b"); got != authz.TokenAllowed {
			t.Errorf("%s itself: %v", root, got)
		}
		for other, texts := range escapes {
			for _, escape := range texts {
				want := authz.TokenAllowed
				if other == c {
					want = authz.AmbiguousPath
				}
				if got := in(root, root+"/rest/api/2/a"+escape); got != want {
					t.Errorf("%s below %s: %v", escape, root, got)
				}
				if got := in("/jira", "/jira/rest/api/2/a"+escape); got != authz.TokenAllowed {
					t.Errorf("%s below /jira: %v", escape, got)
				}
				if got := in("", "/rest/api/2/a"+escape); got != authz.TokenAllowed {
					t.Errorf("%s at the root: %v", escape, got)
				}
			}
		}
		for _, escape := range own {
			if got := in(root, "/ji"+escape+"ra/rest/api/2/myself"); got != authz.AmbiguousPath {
				t.Errorf("%s in %s: %v", escape, root, got)
			}
		}
	}
}
