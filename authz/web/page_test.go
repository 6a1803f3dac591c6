package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/store"
)

// Each caller sees the pages they may see, and an explanation in place of the others.
func TestPages(t *testing.T) {
	f := configured(t, rich)
	own := f.create(t, "fred", "ci").ID
	theirs := f.create(t, "wilma", "hers").ID
	callers := map[string]browser{"fred": f.browser(t, "fred"), "admin": f.browser(t, "admin"), "stranger": f.browser(t, "stranger"), "contractor": f.browser(t, "contractor")}
	for _, c := range []struct {
		who, below string
		status     int
		title      string
		says       []string
	}{
		{"fred", "", 200, "My API tokens", []string{"ci", own, "Create token", "1 token in force (60 allowed)"}},
		{"fred", "/", 200, "My API tokens", nil},
		{"stranger", "", 200, "My API tokens", []string{"access.use", "Please let me, stranger, use"}},
		{"stranger", "/new", 200, "Create an API token", []string{"access.use"}},
		{"contractor", "/new", 200, "Create an API token", []string{"has to approve", "Your maximum is 30 days", "read-only", "60 per 1m"}},
		{"fred", "/token/" + own, 200, "ci Active", []string{"This token works.", "Revoke", "/explain?id=" + own}},
		{"fred", "/token/" + theirs, 404, "Not found", []string{"no token with this id"}},
		{"admin", "/token/" + theirs, 200, "hers Active", []string{"Disable", "tokenId=" + theirs}},
		{"fred", "/token/" + own + "/rotate", 200, "Rotate ci", []string{"Works for 7 days more"}},
		{"fred", "/token/" + own + "/edit", 200, "Edit ci", []string{`value="ci"`}},
		{"fred", "/token/" + own + "/revoke", 200, "Revoke “ci”?", []string{own}},
		{"fred", "/token/" + theirs + "/revoke", 404, "Not found", nil},
		{"fred", "/explain", 200, "Explain a request", []string{own}},
		{"fred", "/revoke-all", 200, "Revoke 1 token?", []string{"All your tokens"}},
		{"fred", "/revoke-all?user=wilma", 403, "Access denied", []string{"access.admin"}},
		{"admin", "/revoke-all?user=wilma", 200, "Revoke 1 token?", []string{"All tokens of wilma"}},
		{"admin", "/tokens?user=nobody", 200, "Tokens of nobody", []string{"This user has no tokens"}},
		{"fred", "?after=garbage", 400, "Invalid request", nil},
		{"fred", "?page=99999999999999999999", 400, "Invalid request", nil},
		{"fred", "/tokens", 403, "Access denied", []string{"access.admin"}},
		{"fred", "/pending", 403, "Access denied", nil},
		{"fred", "/insights", 403, "Access denied", nil},
		{"fred", "/audit", 403, "Access denied", nil},
		{"fred", "/settings", 403, "Access denied", nil},
		{"admin", "/tokens", 200, "All tokens", []string{"2 tokens", "hers", "format=csv"}},
		{"admin", "/tokens?user=WILMA", 200, "Tokens of WILMA", []string{"1 token", "hers", "/new?user=WILMA", "/revoke-all?user=WILMA"}},
		{"admin", "/tokens?name=HER&state=&scope=", 200, "All tokens", []string{"1 token", "hers"}},
		{"admin", "/tokens?name=nothing", 200, "All tokens", []string{"No token matches"}},
		{"admin", "/tokens?nmae=x", 400, "Invalid request", []string{"nmae"}},
		{"admin", "/tokens?unusedSince=36d", 200, "All tokens", []string{`value="36d" selected`}},
		{"admin", "/pending", 200, "Waiting for approval", []string{"No tokens are waiting"}},
		{"admin", "/insights", 200, "Insights", []string{"affect no user on record", "Passwords on REST: allow"}},
		{"admin", "/audit?action=token.create", 200, "Audit log", []string{"token.create", "uid:", own}},
		{"admin", "/audit?user=wilma&actor=uid", 200, "Audit log", []string{theirs}},
		{"admin", "/settings", 200, "Settings in force", []string{"access.create[1].rate.requests", "jira-administrators"}},
		{"admin", "/nothing", 404, "Not found", []string{"no page at this address"}},
		{"admin", "/token", 404, "Not found", nil},
		{"admin", "/assets/style.css", 404, "Not found", nil},
		{"admin", "/%74okens", 404, "Not found", nil},
	} {
		got := callers[c.who].get(c.below)
		if got.status != c.status || title(got.body) != c.title {
			t.Errorf("%s at %q: %d %q, want %d %q", c.who, c.below, got.status, title(got.body), c.status, c.title)
		}
		for _, part := range c.says {
			if !strings.Contains(got.body, part) {
				t.Errorf("%s at %q: the page lacks %q", c.who, c.below, part)
			}
		}
		sound(t, c.who+" at "+c.below, got)
	}
	if tabs := callers["fred"].open(""); strings.Contains(tabs, "Audit log") {
		t.Error("users who are not administrators see the tabs of administrators")
	}
}

var forbidden = regexp.MustCompile(`(?i)\sstyle=|<style|\son\w+=|javascript:|<script(?:[^>]*)>[^<]|https?://`)

// sound fails the test if a page violates what holds for all pages.
func sound(t *testing.T, what string, got answer) {
	t.Helper()
	if found := forbidden.FindString(got.body); found != "" {
		t.Errorf("%s: the page contains %q", what, found)
	}
	if len(got.body) > 100_000 {
		t.Errorf("%s: the page has %d bytes", what, len(got.body))
	}
	if missing := regexp.MustCompile(`\[[a-z]+\.[a-z.]+\]|%!|&lt;no value`).FindString(got.body); missing != "" {
		t.Errorf("%s: a text is undefined: %s", what, missing)
	}
	policy := got.header.Get("Content-Security-Policy")
	nonces := regexp.MustCompile(`nonce-(\w{20,})'`).FindAllStringSubmatch(policy, -1)
	if len(nonces) != 2 || nonces[0][1] != nonces[1][1] || strings.Count(got.body, `nonce="`+nonces[0][1]+`"`) != 2 {
		t.Errorf("%s: the policy is %q", what, policy)
	}
	const want = "default-src 'none'; script-src 'nonce-'; style-src 'nonce-'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
	if without := regexp.MustCompile(`nonce-\w+`).ReplaceAllString(policy, "nonce-"); without != want {
		t.Errorf("%s: the policy is %q", what, policy)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY",
		"Cross-Origin-Resource-Policy": "same-origin", "Content-Type": "text/html;charset=UTF-8",
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s: %s is %q", what, name, got.header.Get(name))
		}
	}
}

// Each response has its own nonce for style sheet and script.
func TestPolicyIsNew(t *testing.T) {
	f := newFixture(t)
	fred := f.browser(t, "fred")
	if a, b := fred.get(""), fred.get(""); a.header.Get("Content-Security-Policy") == b.header.Get("Content-Security-Policy") {
		t.Error("two responses have the same nonce")
	}
}

// Envoy's health check needs no credential.
func TestHealth(t *testing.T) {
	f := newFixture(t)
	got := f.as("").send(t, "GET", config.HealthPath, nil)
	if got.status != 200 || string(got.body) != "ok\n" {
		t.Errorf("the health check: %d %s", got.status, got.body)
	}
	if got := f.as("").send(t, "POST", config.HealthPath, nil); got.status == 200 {
		t.Error("the health check accepts a POST")
	}
}

// Style sheet, script and icon are public and can be cached.
func TestAssets(t *testing.T) {
	f := newFixture(t)
	body := f.browser(t, "fred").open("")
	found := regexp.MustCompile(`(?:href|src)="([^"]*/assets/[^"]+)"`).FindAllStringSubmatch(body, -1)
	if len(found) < 3 {
		t.Fatalf("the page refers to %v", found)
	}
	for _, m := range found {
		got := f.as("").send(t, "GET", m[1], nil)
		if got.status != 200 || !strings.Contains(got.header.Get("Cache-Control"), "immutable") || got.header.Get("X-Content-Type-Options") != "nosniff" || len(got.body) < 100 {
			t.Errorf("%s: %d, %v", m[1], got.status, got.header)
		}
	}
	if got := f.as("").send(t, "POST", found[0][1], `{}`); got.status == 200 {
		t.Error("an asset accepts POST")
	}
}

// A caller without a session is redirected to Jira's login and back, once. A form they

// send is not processed.
func TestPagesLogin(t *testing.T) {
	f := configured(t, strings.Replace(strings.Replace(settings, "jira.example.com", "jira.example.com/jira", 1), "tokens:", "upstream: {contextPath: /jira}\ntokens:", 1))
	anonymous := browser{f.as(""), t}
	f.browser(t, "fred")
	got := anonymous.get("/tokens?name=a%26b&sort=used")
	const want = "/jira/login.jsp?os_destination=%2Fplugins%2Fservlet%2Fapi-tokens%2Ftokens%3Flogin%3Dtrue%26name%3Da%2526b%26sort%3Dused"
	if location := got.header.Get("Location"); got.status != 303 || location != want {
		t.Errorf("%d to %s, want %s", got.status, location, want)
	}
	got = anonymous.get("/tokens?name=a%26b&sort=used&login=true")
	if got.status != 401 || !strings.Contains(got.body, "os_destination=") || got.header.Get("Www-Authenticate") != "" {
		t.Errorf("without a session after the login: %d %s", got.status, got.body)
	}
	sound(t, "no session", got)
	got = anonymous.post("/new", url.Values{"name": {"x"}})
	if got.status != 401 || !strings.Contains(got.body, "os_destination=%2fplugins%2fservlet%2fapi-tokens%2fnew%3flogin%3dtrue") && !strings.Contains(got.body, "os_destination=%2Fplugins%2Fservlet%2Fapi-tokens%2Fnew%3Flogin%3Dtrue") {
		t.Errorf("a form without a session: %d %s", got.status, got.body)
	}
	if got := f.browser(t, "fred").get("?login=true"); got.status != 200 {
		t.Errorf("with a session after the login: %d", got.status)
	}
	// A caller with two credentials gets an error, not the login.
	if got := (browser{f.user("fred").with("Authorization", "Basic x"), t}).get(""); got.status == 303 {
		t.Errorf("two credentials: %d to %s", got.status, got.header.Get("Location"))
	}
}

// Tokens cannot open pages.
func TestPagesRefuseTokens(t *testing.T) {
	f := newFixture(t)
	f.browser(t, "fred")
	management := f.management(t, "robots", "").PasswordValue
	ordinary := f.create(t, "fred", "ci").PasswordValue
	for name, value := range map[string]string{"management": management, "ordinary": ordinary} {
		got := (browser{f.as("Bearer " + value), t}).get("")
		if got.status != 403 {
			t.Errorf("with a token of type %s: %d", name, got.status)
		}
		sound(t, name, got)
	}
}

// Pages count against the same limits as the API.
func TestPageLimits(t *testing.T) {
	f := configured(t, rich)
	fred := f.browser(t, "fred")
	many := func(what string, most int, do func() answer) {
		t.Helper()
		f.pass(time.Hour)
		for n := range most + 10 {
			got := do()
			if refused := got.status == 429; refused != (n >= most) {
				t.Fatalf("%s: request %d gets status %d", what, n+1, got.status)
			}
			if got.status == 429 && (got.header.Get("Retry-After") == "" || title(got.body) != "Too many requests") {
				t.Errorf("%s: %v %s", what, got.header, got.body)
			}
		}
	}
	one := fred.with("Content-Type", "application/x-www-form-urlencoded")
	many("pages", 50, func() answer { return fred.send(t, "GET", config.PagePath, nil) })
	many("creations", 20, func() answer { return one.send(t, "POST", config.PagePath+"/new", "name=x") })
	many("revocations of all", 20+20, // the second 20 by the budget of revocations
		func() answer { return one.send(t, "POST", config.PagePath+"/revoke-all", "") })
}

// The newest own token comes first, a token's page offers the actions that its state

// allows, and the edit form starts with the token's properties.
func TestStates(t *testing.T) {
	f := configured(t, rich)
	fred, admin := f.browser(t, "fred"), f.browser(t, "admin")
	_, old := fred.issue("/new", "name", "old", "lifetime", "1d", "readOnly", "true")
	_, young := fred.issue("/new", "name", "young", "lifetime", "30d")
	if body := fred.open(""); strings.Index(body, young) > strings.Index(body, old) {
		t.Error("the oldest token comes first")
	}
	if body := fred.open("/token/" + old + "/edit"); !strings.Contains(body, `name="readOnly" value="true" checked`) {
		t.Error("the edit form of a read-only token does not have the box ticked")
	}
	links := func(b browser, id string) string {
		var all []string
		for _, m := range regexp.MustCompile(`href="[^"]*/token/`+id+`/([a-z]+)"`).FindAllStringSubmatch(b.open("/token/"+id), -1) {
			all = append(all, m[1])
		}
		return strings.Join(all, " ")
	}
	for _, c := range []struct{ after, mine, administrators string }{
		{"", "rotate edit revoke", "rotate edit disable revoke"},
		{"disable", "rotate edit revoke", "rotate edit enable revoke"},
	} {
		if c.after != "" {
			admin.fill("/token/" + young + "/" + c.after)
		}
		if mine, theirs := links(fred, young), links(admin, young); mine != c.mine || theirs != c.administrators {
			t.Errorf("after %q: %q and %q", c.after, mine, theirs)
		}
	}
	if body := fred.open("/token/" + young + "/rotate"); strings.Contains(body, `name="overlap"`) {
		t.Error("a disabled token can be rotated with an overlap")
	}
	if body := fred.open("/token/" + old + "/rotate"); !strings.Contains(body, `<option value="1d" selected>Works for 24 hours more`) || !strings.Contains(body, `value="keep" selected`) {
		t.Errorf("a rotation: %s", body)
	}
	f.pass(2 * 24 * time.Hour)
	if links(fred, old) != "rotate revoke" {
		t.Errorf("expired: %q", links(fred, old))
	}
	if body := fred.open(""); strings.Contains(body, old) || !strings.Contains(body, "Show 1 ended token") {
		t.Error("an expired token is listed among those in force")
	}
	if body := fred.open("/token/" + old + "/rotate"); strings.Contains(body, `value="keep"`) || strings.Contains(body, `name="overlap"`) {
		t.Error("an expired token can keep its expiry")
	}
	admin.fill("/token/" + young + "/revoke")
	if got := links(fred, young); got != "" {
		t.Errorf("revoked: %q", got)
	}
}

// A form that is sent twice is refused the second time; a form for an unchanged token is

// The expiry of a rotated token can be shortened even if its creation is longer ago than

// The list of ended tokens has pages.
func TestManyEndedTokens(t *testing.T) {
	f := configured(t, rich)
	fred := f.browser(t, "fred")
	for i := range 2*50 + 1 {
		id := f.create(t, "fred", fmt.Sprint("t", i)).ID
		if got := f.send(t, "DELETE", base+"/"+id, nil); got.status != 204 {
			t.Fatal(got.status)
		}
	}
	f.create(t, "fred", "alive")
	body := fred.open("")
	if n := strings.Count(body, "<tr"); n != 2 || !strings.Contains(body, "Show 101 ended tokens") {
		t.Errorf("%d rows: %s", n-1, body)
	}
	if n := strings.Count(fred.open("?show=all"), "<tr"); n != 51 {
		t.Errorf("%d rows of all", n-1)
	}
}

// Pending tokens are approved or refused, and an action in the list of all tokens leads

// Texts entered by users are escaped on every page.
func TestHostileTexts(t *testing.T) {
	f := configured(t, rich)
	admin := f.browser(t, "admin")
	const script = `<img src=x onerror=alert(1)>`
	names := []string{script, `"><script>alert(1)</script>`, "{{.}} ${x} <!--", strings.Repeat("😀", 100), "שלום"}
	var ids []string
	for i, name := range names {
		k := store.Token{
			ID: fmt.Sprintf("hostile%05d", i), Owner: store.Owner{Name: "../../x"}, Name: name, Purpose: script + "\n" + name,
			Created: f.clock(), CreatedBy: script, State: store.Active, Networks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
		}
		k.Secret.Salt[0], k.Secret.Hash[0] = 1, byte(i+1)
		_, err := f.tokens.Create(t.Context(), k, func([]store.Token) (store.Audit, error) {
			return store.Audit{Time: f.clock(), Actor: script, From: script, Action: "token.create", TokenID: k.ID, Owner: "../../x", Outcome: "done",
				Changes: map[string]store.Change{"type": {After: script}, "name": {After: name}}}, nil
		})
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		ids = append(ids, k.ID)
	}
	_, err := f.tokens.AddPasswordUses(t.Context(), []store.PasswordUse{{User: "wilma", Client: script + "\u202e", First: start, Last: start, Passed: 1}})
	if err != nil {
		t.Fatal(err)
	}
	pages := []string{"/tokens", "/tokens?user=" + url.QueryEscape("../../x"), "/tokens?name=" + url.QueryEscape(script), "/audit", "/audit?actor=" + url.QueryEscape(script), "/insights",
		"/new?user=" + url.QueryEscape(script+"\u202e"), "/tokens?user=" + url.QueryEscape("\u202e"), "/tokens?name=" + url.QueryEscape("\u202e"), "/audit?actor=" + url.QueryEscape("\u202e"), "/revoke-all?user=" + url.QueryEscape("\u202e"), "/revoke-all?user=" + url.QueryEscape("../../x"), "/explain?id=" + url.QueryEscape(script)}
	for _, id := range ids {
		pages = append(pages, "/token/"+id, "/token/"+id+"/edit", "/token/"+id+"/rotate", "/token/"+id+"/revoke")
	}
	for _, below := range pages {
		got := admin.get(below)
		if got.status != http.StatusOK {
			t.Errorf("%s: %d %s", below, got.status, got.body)
		}
		for _, part := range []string{"<img src=x", "<script>alert", "\u202e"} {
			if strings.Contains(got.body, part) {
				t.Errorf("%s: the page contains %q", below, part)
			}
		}
		if strings.Contains(got.body, `href="..`) {
			t.Errorf("%s: a name is a relative link", below)
		}
		f.pass(time.Minute)
	}
	if body := admin.open("/tokens"); !strings.Contains(body, "&lt;img src=x") || !strings.Contains(body, "../../x") || !strings.Contains(body, strings.Repeat("😀", 100)) {
		t.Errorf("the names are not shown: %s", body)
	}
}

// The explanation of a request names the deciding check.
func TestExplainPage(t *testing.T) {
	f := configured(t, rich)
	fred, wilma := f.browser(t, "fred"), f.browser(t, "wilma")
	value, id := fred.issue("/new", "name", "ci", "readOnly", "true", "networks", "192.0.2.0/24")
	broken := value[:len(value)-1] + map[bool]string{false: "0", true: "1"}[strings.HasSuffix(value, "0")]
	for _, c := range []struct {
		name   string
		who    browser
		fill   []string
		status int
		says   string
	}{
		{"allowed", fred, []string{"id", id}, 200, "This request would be allowed."},
		{"a write", fred, []string{"id", id, "method", "POST", "path", "/rest/api/2/issue"}, 200, "decides: read_only"},
		{"a logout", fred, []string{"id", id, "method", "DELETE", "path", "/rest/auth/1/session"}, 200, "answered by tokengate"},
		{"another network", fred, []string{"id", id, "address", "198.51.100.1"}, 200, "decides: network_not_allowed"},
		{"by value", fred, []string{"id", "", "value", value}, 200, "This request would be allowed."},
		{"another user's name", fred, []string{"id", "", "value", value, "user", "wilma"}, 200, "decides: wrong_user"},
		{"a wrong value", fred, []string{"id", "", "value", broken}, 403, "your own API tokens only"},
		{"another user's id", wilma, []string{"id", id}, 400, "no token with this id"},
		{"unknown id", wilma, []string{"id", "000000000000"}, 400, "no token with this id"},
		{"another user's value", wilma, []string{"value", value}, 403, "your own API tokens only"},
		{"nothing", fred, []string{"id", ""}, 400, "Choose a token"},
		{"no path", fred, []string{"id", id, "path", "x"}, 400, "begins with a slash"},
		{"no address", fred, []string{"id", id, "address", "here"}, 400, "Give an address"},
		{"a value in the path", fred, []string{"id", id, "path", "/rest/" + value}, 200, "Explain a request"},
	} {
		pairs := append([]string{"method", "GET", "path", "/rest/api/2/myself", "address", "192.0.2.7"}, c.fill...)
		got := c.who.fill("/explain", pairs...)
		if got.status != c.status || !strings.Contains(got.body, c.says) {
			t.Errorf("%s: %d %s", c.name, got.status, got.body)
		}
		if strings.Contains(got.body, value) {
			t.Errorf("%s: the page contains the value", c.name)
		}
		sound(t, c.name, got)
	}
}

// Lists of many tokens have pages, which keep the order and the filters.
func TestPagesOfTokens(t *testing.T) {
	f := configured(t, strings.Replace(rich, "maxPerUser: 60", "maxPerUser: 500", 1))
	for i := range 120 {
		f.create(t, "wilma", fmt.Sprintf("t%03d", i))
	}
	admin, wilma := f.browser(t, "admin"), f.browser(t, "wilma")
	next := regexp.MustCompile(`<a class="button" href="` + config.PagePath + `([^"]*)"[^>]*>Next page`)
	for name, c := range map[string]struct {
		who   browser
		below string
	}{"all": {admin, "/tokens?name=t&sort=name"}, "own": {wilma, ""}} {
		seen, pages := map[string]bool{}, 0
		for below := c.below; ; pages++ {
			got := c.who.get(below)
			sound(t, name+" "+below, got)
			for _, m := range regexp.MustCompile(`<bdi>(t\d+)</bdi>`).FindAllStringSubmatch(got.body, -1) {
				seen[m[1]] = true
			}
			m := next.FindStringSubmatch(got.body)
			if m == nil {
				break
			}
			below = strings.ReplaceAll(m[1], "&amp;", "&")
			if name == "all" && (!strings.Contains(below, "name=t") || !strings.Contains(below, "sort=name")) {
				t.Fatalf("the next page is %s", below)
			}
		}
		if len(seen) != 120 || pages != 2 {
			t.Errorf("%s: %d tokens on %d pages", name, len(seen), pages+1)
		}
	}
}

// A server error is a page without internal details.
func TestPageFaults(t *testing.T) {
	f := configured(t, rich)
	fred := f.browser(t, "fred")
	id := f.create(t, "fred", "ci").ID
	sent := fields(fred.open("/token/" + id + "/revoke"))
	f.faults.fail(func(context.Context, string) error { return errors.New("broken disk") })
	got := fred.post("/token/"+id+"/revoke", sent)
	f.faults.fail(nil)
	if got.status != 503 || title(got.body) != "Temporarily unavailable" || strings.Contains(got.body, "broken") {
		t.Errorf("%d %s", got.status, got.body)
	}
	sound(t, "a fault", got)
}
