package envoy

import (
	"net/netip"
	"regexp"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/authztest"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store/index"
)

// bypassMatcher evaluates a bypass as Envoy does.
type bypassMatcher struct {
	method, target *regexp.Regexp
	hiding         []*regexp.Regexp
	hidingHeader   *regexp.Regexp
	absent, plain  []string
}

func newBypassMatcher(b *bypass) *bypassMatcher {
	whole := func(text string) *regexp.Regexp { return regexp.MustCompile("^(?:" + text + ")$") }
	m := &bypassMatcher{method: whole(b.Method), target: whole(b.Target), hidingHeader: whole(b.HidingHeader), absent: b.Absent, plain: b.Plain}
	for _, text := range b.Hiding {
		m.hiding = append(m.hiding, whole(text))
	}
	return m
}

func (m *bypassMatcher) matches(r *authz.Request) bool {
	for _, name := range m.absent {
		if *r.Header(name) != "" {
			return false
		}
	}
	for _, name := range m.plain {
		if m.hidingHeader.MatchString(*r.Header(name)) {
			return false
		}
	}
	for _, hiding := range m.hiding {
		if hiding.MatchString(r.Path) {
			return false
		}
	}
	return m.method.MatchString(r.Method) && m.target.MatchString(r.Path)
}

// FuzzBypass shows that every request that Envoy may forward without asking would
// be passed through by the decision, unchanged and without a credential, in every
// configuration.
func FuzzBypass(f *testing.F) {
	const sample = "tgate_" + "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxy"
	for _, q := range authztest.Requests(sample) {
		f.Add(q.Method, q.Target, q.UserAgent, q.Origin)
	}
	type variant struct {
		matcher *bypassMatcher
		view    authz.View
	}
	var variants []variant
	for _, mode := range []config.PasswordMode{config.PasswordsAllow, config.PasswordsObserve, config.PasswordsBlock} {
		for _, parameter := range []string{"", "access_token"} {
			for _, contextPath := range []string{"", "/jira"} {
				c := config.Default()
				c.Passwords.Mode, c.Tokens.QueryParameter, c.Upstream.ContextPath = mode, parameter, contextPath
				c.Network.Deny, c.Bearer.Other = []config.Prefix{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}, config.OtherBearerRefuse
				variants = append(variants, variant{newBypassMatcher(newBypass(c)), authz.View{Policy: policy.New(c), Index: &index.Index{}, Now: time.Unix(1e9, 0)}})
			}
		}
	}
	f.Fuzz(func(t *testing.T, method, target, userAgent, origin string) {
		r := &authz.Request{Method: method, Path: target, Protocol: "HTTP/2", UserAgent: userAgent, Origin: origin}
		for i, v := range variants {
			if !v.matcher.matches(r) {
				continue
			}
			r.Client = []netip.Addr{{}, netip.MustParseAddr("192.0.2.1")}[i%2] // unknown, or denied to tokens
			if d := authz.Decide(r, v.view); d.Outcome != authz.PassThrough || d.Reason != authz.NoCredential || d.WouldBlock || d.Path != "" {
				t.Fatalf("%s %q is bypassed, but the decision is %v, %v %v", method, target, d.Outcome, d.Reason, d.Detail)
			}
		}
	})
}

// TestBypassAsksWhenInDoubt checks that Envoy asks about what no configuration denies today but
// could hide a credential, and about every login.
func TestBypassAsksWhenInDoubt(t *testing.T) {
	c := config.Default()
	c.Tokens.QueryParameter = "access_token"
	m := newBypassMatcher(newBypass(c))
	browser := authz.Request{Method: "GET", Path: "/secure/QuickSearch.jspa?searchString=a%20b%3D%E2%82%AC&x=[1]", UserAgent: "Mozilla/5.0 (X11; Linux x86_64)", Origin: "https://jira.example.com"}
	if !m.matches(&browser) {
		t.Error("a browser's request is not bypassed")
	}
	for name, change := range map[string]func(*authz.Request){
		"Authorization":     func(r *authz.Request) { r.Authorization = "Negotiate x" },
		"a rare method":     func(r *authz.Request) { r.Method = "PROPFIND" },
		"a method's case":   func(r *authz.Request) { r.Method = "get" },
		"an upgrade":        func(r *authz.Request) { r.Upgrade = "websocket" },
		"a method override": func(r *authz.Request) { r.HTTPMethodOverride = "DELETE" },
		"another override":  func(r *authz.Request) { r.MethodOverride = "DELETE" },
		"a third override":  func(r *authz.Request) { r.HTTPMethod = "DELETE" },
		"a session":         func(r *authz.Request) { r.Path = "/rest/auth/1/session" },
		"a login parameter": func(r *authz.Request) { r.Path = "/?os_authType=none" },
		"a later one":       func(r *authz.Request) { r.Path = "/?a&os_cookie=true" },
		"the parameter":     func(r *authz.Request) { r.Path = "/?access_token=1" },
		"an escaped name":   func(r *authz.Request) { r.Path = "/?a%20=1" },
		"an escaped slash":  func(r *authz.Request) { r.Path = "/a%2Fb" },
		"an escaped letter": func(r *authz.Request) { r.Path = "/%61" },
		"a double escape":   func(r *authz.Request) { r.Path = "/?a=%2561" },
		"a control byte":    func(r *authz.Request) { r.Path = "/?a=%0a" },
		"a semicolon":       func(r *authz.Request) { r.Path = "/a;b" },
		"a backslash":       func(r *authz.Request) { r.Path = `/a\b` },
		"a raw byte":        func(r *authz.Request) { r.Path = "/\xe2\x82\xac" },
		"no path":           func(r *authz.Request) { r.Path = "*" },
		"a token":           func(r *authz.Request) { r.Path = "/?a=xtgate_x" },
		"User-Agent":        func(r *authz.Request) { r.UserAgent = "tgate_" },
		"Origin":            func(r *authz.Request) { r.Origin = "tgadm_" },
		"X-Request-Id":      func(r *authz.Request) { r.RequestID = "tgate_" },
	} {
		r := browser
		change(&r)
		if m.matches(&r) {
			t.Errorf("%s: the request is bypassed", name)
		}
	}
}
