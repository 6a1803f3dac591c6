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
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/manage/web"
	"github.com/tokengate/tokengate/authz/manage/web/page"
	"github.com/tokengate/tokengate/store"
)

// Who sees which page, and what is said to whom there is none for.
func TestPages(t *testing.T) {
	f := configured(t, rich)
	own := f.create(t, "fred", "ci").ID
	theirs := f.create(t, "wilma", "hers").ID
	people := map[string]browser{"fred": f.browser(t, "fred"), "admin": f.browser(t, "admin"), "stranger": f.browser(t, "stranger"), "contractor": f.browser(t, "contractor")}
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
		got := people[c.who].get(c.below)
		if got.status != c.status || title(got.body) != c.title {
			t.Errorf("%s at %q: %d %q, want %d %q", c.who, c.below, got.status, title(got.body), c.status, c.title)
		}
		for _, part := range c.says {
			if !strings.Contains(got.body, part) {
				t.Errorf("%s at %q: it does not say %q", c.who, c.below, part)
			}
		}
		sound(t, c.who+" at "+c.below, got)
	}
	if tabs := people["fred"].open(""); strings.Contains(tabs, "Audit log") {
		t.Error("people who administer nothing are shown the way to it")
	}
}

var forbidden = regexp.MustCompile(`(?i)\sstyle=|<style|\son\w+=|javascript:|<script(?:[^>]*)>[^<]|https?://`)

// sound fails the test if a page has what none may have.
func sound(t *testing.T, what string, got answer) {
	t.Helper()
	if found := forbidden.FindString(got.body); found != "" {
		t.Errorf("%s: the page has %q", what, found)
	}
	if len(got.body) > 100_000 {
		t.Errorf("%s: the page has %d bytes", what, len(got.body))
	}
	if missing := regexp.MustCompile(`\[[a-z]+\.[a-z.]+\]|%!|&lt;no value`).FindString(got.body); missing != "" {
		t.Errorf("%s: a text is missing: %s", what, missing)
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

// No two pages have the same nonce for what they load.
func TestPolicyIsNew(t *testing.T) {
	f := newFixture(t)
	fred := f.browser(t, "fred")
	if a, b := fred.get(""), fred.get(""); a.header.Get("Content-Security-Policy") == b.header.Get("Content-Security-Policy") {
		t.Error("two pages have one nonce")
	}
}

// Style, script and icon are for everybody, and may be kept.
func TestAssets(t *testing.T) {
	f := newFixture(t)
	body := f.browser(t, "fred").open("")
	found := regexp.MustCompile(`(?:href|src)="([^"]*/assets/[^"]+)"`).FindAllStringSubmatch(body, -1)
	if len(found) < 3 {
		t.Fatalf("the page names %v", found)
	}
	for _, m := range found {
		got := f.as("").send(t, "GET", m[1], nil)
		if got.status != 200 || !strings.Contains(got.header.Get("Cache-Control"), "immutable") || got.header.Get("X-Content-Type-Options") != "nosniff" || len(got.body) < 100 {
			t.Errorf("%s: %d, %v", m[1], got.status, got.header)
		}
	}
	if got := f.as("").send(t, "POST", found[0][1], `{}`); got.status == 200 {
		t.Error("an asset takes a POST")
	}
}

// Who is not logged in goes to Jira's login and back to where they wanted to be,
// once. Of a form nothing is done.
func TestPagesLogin(t *testing.T) {
	f := configured(t, strings.Replace(strings.Replace(settings, "jira.example.com", "jira.example.com/jira", 1), "tokens:", "upstream: {contextPath: /jira}\ntokens:", 1))
	nobody := browser{f.as(""), t}
	f.browser(t, "fred")
	got := nobody.get("/tokens?name=a%26b&sort=used")
	const want = "/jira/login.jsp?os_destination=%2Fplugins%2Fservlet%2Fapi-tokens%2Ftokens%3Flogin%3Dtrue%26name%3Da%2526b%26sort%3Dused"
	if location := got.header.Get("Location"); got.status != 303 || location != want {
		t.Errorf("%d to %s, want %s", got.status, location, want)
	}
	got = nobody.get("/tokens?name=a%26b&sort=used&login=true")
	if got.status != 401 || !strings.Contains(got.body, "os_destination=") || got.header.Get("Www-Authenticate") != "" {
		t.Errorf("back from the login, and still nobody: %d %s", got.status, got.body)
	}
	sound(t, "who is nobody", got)
	got = nobody.post("/new", url.Values{"name": {"x"}})
	if got.status != 401 || !strings.Contains(got.body, "os_destination=%2fplugins%2fservlet%2fapi-tokens%2fnew%3flogin%3dtrue") && !strings.Contains(got.body, "os_destination=%2Fplugins%2Fservlet%2Fapi-tokens%2Fnew%3Flogin%3Dtrue") {
		t.Errorf("a form: %d %s", got.status, got.body)
	}
	if got := f.browser(t, "fred").get("?login=true"); got.status != 200 {
		t.Errorf("back from the login: %d", got.status)
	}
	// Who shows two credentials is told so, and not to log in.
	if got := (browser{f.person("fred").with("Authorization", "Basic x"), t}).get(""); got.status == 303 {
		t.Errorf("two credentials: %d to %s", got.status, got.header.Get("Location"))
	}
}

// Tokens open no page: it is for people.
func TestPagesAreForPeople(t *testing.T) {
	f := newFixture(t)
	f.browser(t, "fred")
	management := f.management(t, "robots", "").PasswordValue
	ordinary := f.create(t, "fred", "ci").PasswordValue
	for name, value := range map[string]string{"management": management, "ordinary": ordinary} {
		got := (browser{f.as("Bearer " + value), t}).get("")
		if got.status != 403 {
			t.Errorf("with a token that is %s: %d", name, got.status)
		}
		sound(t, name, got)
	}
}

// A token is made by a form, shown once, and never a second time, whoever sends the
// form again and how.
func TestCreateByForm(t *testing.T) {
	f := configured(t, rich)
	fred := f.browser(t, "fred")
	sent := fields(fred.open("/new"))
	sent.Set("name", "nightly report")
	sent.Set("lifetime", "30d")
	sent.Set("networks", "10.1.0.0/16, 192.0.2.0/24\n2001:db8::/32")
	sent.Set("here", "true")
	sent.Set("readOnly", "true")
	got := fred.post("/new", sent)
	m := shownValue.FindStringSubmatch(got.body)
	if got.status != 200 || m == nil || title(got.body) != "Your token is ready" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	value, id := m[1], m[1][6:18]
	if n := strings.Count(got.body, value); n != 1 {
		t.Errorf("the value stands on the page %d times", n)
	}
	for _, part := range []string{`curl -u &#39;Fred&#39;:&#34;$TOKEN&#34; https://jira.example.com/rest/api/2/myself`, "jQuery", "XMLHttpRequest", "requests.Session", "HttpClient"} {
		if !strings.Contains(got.body, part) {
			t.Errorf("the page does not say %s", part)
		}
	}
	var made web.Token
	f.into(t, "GET", base+"/"+id, nil, &made)
	if made.Label != "nightly report" || !made.ReadOnly || fmt.Sprint(made.Networks) != "[10.1.0.0/16 192.0.2.0/24 2001:db8::/32 192.0.2.7/32]" || *made.ExpiresAt-made.CreatedAt != (30*24*time.Hour).Milliseconds() {
		t.Errorf("it made %+v", made)
	}
	again := fred.post("/new", sent)
	if again.status != 409 || title(again.body) != "This form was already sent" || !strings.Contains(again.body, id) || strings.Contains(again.body, value) {
		t.Errorf("a reload: %d %s", again.status, again.body)
	}
	for _, below := range []string{"", "/token/" + id, "/token/" + id + "/edit", "/token/" + id + "/rotate", "/explain?id=" + id} {
		if strings.Contains(fred.open(below), value) {
			t.Errorf("%s shows the value", below)
		}
	}
	if n := f.count(t); n != 1 {
		t.Errorf("there are %d tokens", n)
	}
}

// A form is good once, for whom it was made and where, and not for ever.
func TestNonce(t *testing.T) {
	f := configured(t, rich)
	fred, wilma := f.browser(t, "fred"), f.browser(t, "wilma")
	id := f.create(t, "fred", "ci").ID
	form := func(b browser, below string) url.Values {
		v := fields(b.open(below))
		v.Set("name", "x")
		return v
	}
	old := form(fred, "/new")
	f.pass(13 * time.Hour)
	bad := map[string]url.Values{
		"another's":        form(wilma, "/new"),
		"another form's":   form(fred, "/token/"+id+"/rotate"),
		"none":             {"name": {"x"}},
		"one that is made": {"name": {"x"}, "nonce": {strings.Repeat("A", 75)}},
		"an old one":       old,
	}
	for name, v := range bad {
		got := fred.post("/new", v)
		if got.status != 409 || !strings.Contains(got.body, "open for too long") || !strings.Contains(got.body, `value="x"`) {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		sound(t, name, got)
		if m := nonceField.FindStringSubmatch(got.body); m == nil || m[1] == v.Get("nonce") {
			t.Errorf("%s: the form that is shown again has no new nonce", name)
		}
	}
	if n := f.count(t); n != 1 {
		t.Fatalf("there are %d tokens", n)
	}
	// Of many at once one is the first.
	v := form(fred, "/new")
	var mu sync.Mutex
	shown := 0
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got := fred.post("/new", v); shownValue.MatchString(got.body) {
				mu.Lock()
				shown++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if n := f.count(t); n != 2 || shown != 1 {
		t.Errorf("there are %d tokens, and %d values were shown", n, shown)
	}
}

// No form does anything without a nonce of its own.
func TestEveryFormHasANonce(t *testing.T) {
	f := configured(t, rich)
	fred, admin := f.browser(t, "fred"), f.browser(t, "admin")
	contractor := f.browser(t, "contractor")
	_, id := fred.issue("/new", "name", "ci")
	_, waits := contractor.issue("/new", "name", "one", "networks", "192.0.2.0/24")
	other := fields(admin.open("/new")).Get("nonce")
	for _, below := range []string{
		"/new", "/token/" + id + "/rotate", "/token/" + id + "/edit", "/token/" + id + "/revoke", "/token/" + id + "/disable", "/revoke-all",
		"/token/" + waits + "/approve", "/token/" + waits + "/refuse",
	} {
		for _, nonce := range []string{"", "x", other} {
			if below == "/new" && nonce == other {
				continue
			}
			got := admin.post(below, url.Values{"nonce": {nonce}, "name": {"changed"}, "lifetime": {"1d"}, "readOnly": {"true"}, "user": {"fred"}})
			if got.status != 409 || shownValue.MatchString(got.body) {
				t.Errorf("%s with %q: %d", below, nonce, got.status)
			}
			f.pass(time.Minute)
		}
	}
	for token, want := range map[string]string{id: "active ci false", waits: "pending one true"} {
		var made web.Token
		f.into(t, "GET", base+"/"+token, nil, &made)
		if got := fmt.Sprint(made.State, " ", made.Label, " ", made.ReadOnly); got != want {
			t.Errorf("%s is %s, want %s", token, got, want)
		}
	}
	if n := f.count(t); n != 2 {
		t.Errorf("there are %d tokens", n)
	}
}

// Pages cost what the API costs.
func TestPageLimits(t *testing.T) {
	f := configured(t, rich)
	fred := f.browser(t, "fred")
	many := func(what string, most int, do func() answer) {
		t.Helper()
		f.pass(time.Hour)
		for n := range most + 10 {
			got := do()
			if refused := got.status == 429; refused != (n >= most) {
				t.Fatalf("%s: number %d is answered %d", what, n+1, got.status)
			}
			if got.status == 429 && (got.header.Get("Retry-After") == "" || title(got.body) != "Too many requests") {
				t.Errorf("%s: %v %s", what, got.header, got.body)
			}
		}
	}
	one := fred.with("Content-Type", "application/x-www-form-urlencoded")
	many("pages", 50, func() answer { return fred.send(t, "GET", page.Path, nil) })
	many("creations", 20, func() answer { return one.send(t, "POST", page.Path+"/new", "name=x") })
	many("revocations of all", 20+20, // the second 20 by the budget of revocations
		func() answer { return one.send(t, "POST", page.Path+"/revoke-all", "") })
}

// A list of own tokens begins with the newest, of a token's page the forms that
// make sense in its state, and an edit starts from what the token is.
func TestStates(t *testing.T) {
	f := configured(t, rich)
	fred, admin := f.browser(t, "fred"), f.browser(t, "admin")
	_, old := fred.issue("/new", "name", "old", "lifetime", "1d", "readOnly", "true")
	_, young := fred.issue("/new", "name", "young", "lifetime", "30d")
	if body := fred.open(""); strings.Index(body, young) > strings.Index(body, old) {
		t.Error("the oldest comes first")
	}
	if body := fred.open("/token/" + old + "/edit"); !strings.Contains(body, `name="readOnly" value="true" checked`) {
		t.Error("an edit of a read-only token makes it wider")
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
		t.Error("a disabled token may be rotated with an overlap")
	}
	if body := fred.open("/token/" + old + "/rotate"); !strings.Contains(body, `<option value="1d" selected>Works for 24 hours more`) || !strings.Contains(body, `value="keep" selected`) {
		t.Errorf("a rotation: %s", body)
	}
	f.pass(2 * 24 * time.Hour)
	if links(fred, old) != "rotate revoke" {
		t.Errorf("expired: %q", links(fred, old))
	}
	if body := fred.open(""); strings.Contains(body, old) || !strings.Contains(body, "Show 1 ended token") {
		t.Error("what has expired is among those in force")
	}
	if body := fred.open("/token/" + old + "/rotate"); strings.Contains(body, `value="keep"`) || strings.Contains(body, `name="overlap"`) {
		t.Error("an expired token may keep its end")
	}
	admin.fill("/token/" + young + "/revoke")
	if got := links(fred, young); got != "" {
		t.Errorf("revoked: %q", got)
	}
}

// What somebody has not seen they do not do: a form whose token has changed since it
// was opened is not taken.
func TestStaleForms(t *testing.T) {
	f := configured(t, rich)
	contractor, fred := f.browser(t, "contractor"), f.browser(t, "fred")
	admin, barney := f.browser(t, "admin"), f.browser(t, "barney")
	_, pending := contractor.issue("/new", "name", "narrow", "networks", "192.0.2.0/24", "readOnly", "true")
	approval := fields(admin.open("/token/" + pending + "/approve"))
	if got := barney.fill("/token/"+pending+"/edit", "name", "wide", "networks", "", "lifetime", "unlimited"); got.status != 303 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	got := admin.post("/token/"+pending+"/approve", approval)
	if got.status != 409 || !strings.Contains(got.body, "The token has changed since") || !strings.Contains(got.body, "wide") {
		t.Errorf("the approval of something else: %d %s", got.status, got.body)
	}
	var made web.Token
	if f.into(t, "GET", base+"/"+pending, nil, &made); made.State != "pending" {
		t.Errorf("it is %s", made.State)
	}
	refusal := fields(admin.open("/token/" + pending + "/refuse"))
	if got := barney.fill("/token/" + pending + "/approve"); got.status != 303 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := admin.post("/token/"+pending+"/refuse", refusal); got.status != 409 || !strings.Contains(got.body, "This token is already active") {
		t.Errorf("what is approved is refused: %d %s", got.status, got.body)
	}

	_, id := fred.issue("/new", "name", "ci", "networks", "10.0.0.0/8")
	stale := fields(fred.open("/token/" + id + "/edit"))
	stale.Set("name", "ci")
	stale.Set("purpose", "new")
	stale.Set("networks", "10.0.0.0/8")
	stale.Set("lifetime", "keep")
	if got := admin.fill("/token/"+id+"/edit", "name", "ci", "networks", "10.1.2.3", "readOnly", "true", "lifetime", "keep"); got.status != 303 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := fred.post("/token/"+id+"/edit", stale); got.status != 409 || !strings.Contains(got.body, ">10.1.2.3</textarea>") || !strings.Contains(got.body, "checked") {
		t.Errorf("a form from before: %d %s", got.status, got.body)
	}
	if f.into(t, "GET", base+"/"+id, nil, &made); !made.ReadOnly || len(made.Networks) != 1 || made.Networks[0] != "10.1.2.3/32" || made.Purpose != "" {
		t.Errorf("it is %+v", made)
	}
}

// A form that is sent twice says so, and one about a token that nobody has changed is
// taken however long it lay there.
func TestFormsSentLate(t *testing.T) {
	f := configured(t, rich)
	fred := f.browser(t, "fred")
	_, id := fred.issue("/new", "name", "ci")
	edit := fields(fred.open("/token/" + id + "/edit"))
	edit.Set("name", "ci two")
	edit.Set("lifetime", "keep")
	for n, want := range []int{303, 409} {
		if got := fred.post("/token/"+id+"/edit", edit); got.status != want || n == 1 && title(got.body) != "This form was already sent" {
			t.Errorf("sending %d: %d %s", n+1, got.status, got.body)
		}
	}
	fred.issue("/token/"+id+"/rotate", "overlap", "10m", "lifetime", "keep")
	edit = fields(fred.open("/token/" + id + "/edit"))
	edit.Set("name", "ci three")
	edit.Set("lifetime", "keep")
	f.pass(11 * time.Minute)
	if got := fred.post("/token/"+id+"/edit", edit); got.status != 303 {
		t.Errorf("after the overlap: %d %s", got.status, got.body)
	}
	first, second := fields(fred.open("/token/"+id+"/rotate")), fields(fred.open("/token/"+id+"/rotate"))
	for _, rotation := range []url.Values{first, second} {
		rotation.Set("overlap", "1d")
		rotation.Set("lifetime", "keep")
	}
	if got := fred.post("/token/"+id+"/rotate", first); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := fred.post("/token/"+id+"/rotate", second); got.status != 409 || !strings.Contains(got.body, "has changed since") {
		t.Errorf("a stale rotation ends the old value: %d", got.status)
	}
	// What was entered stays where only the nonce is too old.
	edit = fields(fred.open("/token/" + id + "/edit"))
	edit.Set("name", "ci")
	edit.Set("purpose", "a long text")
	edit.Set("nonce", "x")
	if got := fred.post("/token/"+id+"/edit", edit); got.status != 409 || !strings.Contains(got.body, "a long text") {
		t.Errorf("%d %s", got.status, got.body)
	}
	contractor := f.browser(t, "contractor")
	sent := fields(contractor.open("/new"))
	sent.Set("name", "x")
	sent.Set("networks", "192.0.2.0/24")
	contractor.post("/new", sent)
	if got := contractor.post("/new", sent); got.status != 409 || strings.Contains(got.body, "/rotate") || !strings.Contains(got.body, "revoke the token and create another") {
		t.Errorf("what waits is to be rotated: %d %s", got.status, got.body)
	}
}

// A token that was rotated can be made to end earlier, though it was created longer
// ago than the rule allows.
func TestEditAfterRotation(t *testing.T) {
	f := configured(t, rich)
	fred := f.browser(t, "fred")
	_, id := fred.issue("/new", "name", "ci")
	f.pass(80 * 24 * time.Hour)
	fred.issue("/token/"+id+"/rotate", "lifetime", "90d")
	f.pass(20 * 24 * time.Hour)
	body := fred.open("/token/" + id + "/edit")
	for _, part := range []string{`value="30d"`, `max="2026-08-18"`, "The maximum, 2026-08-18"} {
		if !strings.Contains(body, part) {
			t.Errorf("there is no %s: %s", part, body)
		}
	}
	if got := fred.fill("/token/"+id+"/edit", "name", "ci", "lifetime", "30d"); got.status != 303 {
		t.Errorf("%d %s", got.status, got.body)
	}
	// Management tokens have an end, and keep it.
	admin := f.browser(t, "admin")
	bot := f.management(t, "bot", "").ID
	if body := admin.open("/token/" + bot + "/edit"); strings.Contains(body, "No expiry") {
		t.Error("a management token may be without an end")
	}
	if body := admin.open("/token/" + bot + "/rotate"); strings.Contains(body, "No expiry") {
		t.Error("a rotation may leave a management token without an end")
	}
}

// However often somebody creates and revokes, their page shows some at a time.
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

// No page repeats a value that somebody has put into a form or an address.
func TestValuesAreNotRepeated(t *testing.T) {
	f := configured(t, rich)
	value := f.create(t, "wilma", "hers").PasswordValue
	for name, b := range map[string]browser{"fred": f.browser(t, "fred"), "admin": f.browser(t, "admin")} {
		id := f.create(t, "fred", "for "+name).ID
		for _, below := range []string{"/new", "/token/" + id + "/edit", "/token/" + id + "/rotate", "/revoke-all", "/explain", "/token/" + id + "/revoke"} {
			for _, nonce := range []string{"x", fields(b.open(below)).Get("nonce")} {
				sent := url.Values{"nonce": {nonce}}
				for _, field := range []string{"user", "name", "purpose", "lifetime", "until", "networks", "overlap", "from", "list", "id", "method", "path", "address"} {
					sent.Set(field, value)
				}
				if got := b.post(below, sent); strings.Contains(got.body, value) || strings.Contains(got.header.Get("Location"), value) {
					t.Errorf("%s at %s: the value is repeated: %d", name, below, got.status)
				}
				f.pass(time.Minute)
			}
		}
	}
}

// What is wrong with a form is said at its field, with all that was entered; and no
// value that somebody has put into it.
func TestWrongForms(t *testing.T) {
	f := configured(t, rich)
	other := f.create(t, "wilma", "hers")
	fred := f.browser(t, "fred")
	for _, c := range []struct {
		name   string
		fill   []string
		status int
		says   string
	}{
		{"no name", []string{"name", ""}, 400, `id="name-wrong">A token needs a name`},
		{"a network", []string{"name", "x", "networks", "10.1.2.3/8"}, 400, `id="networks-wrong">`},
		{"too long", []string{"name", "x", "lifetime", "365d"}, 400, `id="expires-wrong">A token of yours may live for 90d`},
		{"no date", []string{"name", "x", "lifetime", "date"}, 400, `id="expires-wrong">Choose the last day`},
		{"the past", []string{"name", "x", "lifetime", "date", "until", "2020-01-01"}, 400, "expired already"},
		{"no lifetime", []string{"name", "x", "lifetime", "soon"}, 400, "Unknown lifetime"},
		{"for another", []string{"name", "x", "user", "wilma"}, 403, "access.createForOthers"},
		{"a value for a name", []string{"name", other.PasswordValue}, 400, "holds a token&#39;s value"},
		{"a direction", []string{"name", "safe\u202egnp.exe"}, 400, "U&#43;202E"},
	} {
		got := fred.fill("/new", append(c.fill, "purpose", "because <b>")...)
		if got.status != c.status || !strings.Contains(got.body, c.says) || !strings.Contains(got.body, "because &lt;b&gt;") || !strings.Contains(got.body, `role="alert"`) {
			t.Errorf("%s: %d %s", c.name, got.status, got.body)
		}
		sound(t, c.name, got)
	}
	for name, s := range map[string]sender{"json": fred.with("Content-Type", "application/json"), "multipart": fred.with("Content-Type", "multipart/form-data; boundary=x")} {
		if got := s.send(t, "POST", page.Path+"/new", `{}`); got.status != 415 {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	if got := fred.post("/new", url.Values{"name": {strings.Repeat("x", 70_000)}}); got.status != 413 {
		t.Errorf("a long form: %d", got.status)
	}
	if got := fred.post("/new", url.Values{"name": {"x", "y"}}); got.status != 400 {
		t.Errorf("a field twice: %d", got.status)
	}
	if n := f.count(t); n != 1 {
		t.Errorf("there are %d tokens", n)
	}
}

// The last day that a rule allows can be chosen, whatever the time of day.
func TestLastDay(t *testing.T) {
	f := configured(t, rich)
	_, id := f.browser(t, "fred").issue("/new", "name", "x", "lifetime", "date", "until", "2026-05-30")
	var made web.Token
	f.into(t, "GET", base+"/"+id, nil, &made)
	if want := start.Add(90 * 24 * time.Hour); time.UnixMilli(*made.ExpiresAt).Sub(want) > time.Minute {
		t.Errorf("it ends %v", time.UnixMilli(*made.ExpiresAt).UTC())
	}
	_, id = f.browser(t, "fred").issue("/new", "name", "y", "lifetime", "date", "until", "2026-03-31")
	f.into(t, "GET", base+"/"+id, nil, &made)
	if got := time.UnixMilli(*made.ExpiresAt).UTC().Format(time.RFC3339); got != "2026-04-01T00:00:00Z" {
		t.Errorf("it ends %s", got)
	}
}

// A token's life by forms: rotated with an overlap, made narrower, tried, revoked.
func TestLifeByForms(t *testing.T) {
	f := configured(t, rich)
	fred := f.browser(t, "fred")
	value, id := fred.issue("/new", "name", "ci")
	second, same := fred.issue("/token/"+id+"/rotate", "overlap", "1h", "lifetime", "keep")
	if same != id || second == value {
		t.Errorf("the rotation made another token")
	}
	if body := fred.open("/token/" + id); !strings.Contains(body, "Old value works until") {
		t.Error("nothing is said of the overlap")
	}
	if got := fred.fill("/token/"+id+"/edit", "name", "ci", "lifetime", "keep"); led(got) != "/token/"+id+"?done=unchanged" {
		t.Errorf("no change: %d to %s", got.status, led(got))
	}
	got := fred.fill("/token/"+id+"/edit", "name", "ci two", "purpose", "line\r\nline", "lifetime", "keep", "networks", "192.0.2.0/24", "readOnly", "true")
	body := fred.follow(got)
	for _, part := range []string{"ci two", "<p class=\"notice\" role=\"status\">The token was changed.</p>", "Read-only", "192.0.2.0/24", "line\nline"} {
		if !strings.Contains(body, part) {
			t.Errorf("after the change there is no %q", part)
		}
	}
	if got := fred.fill("/token/"+id+"/edit", "name", "ci", "lifetime", "365d"); got.status != 400 || !strings.Contains(got.body, "may live for 90d") {
		t.Errorf("a longer life: %d %s", got.status, got.body)
	}
	got = fred.fill("/token/"+id+"/revoke?from=own", "x", "y")
	if led(got) != "?done=revoked&token="+id {
		t.Errorf("revoked: %d to %s", got.status, led(got))
	}
	if body := fred.follow(got); !strings.Contains(body, "“ci two” was revoked.") || strings.Contains(body, id) {
		t.Errorf("after the revocation: %s", body)
	}
	if body := fred.open("?show=all"); !strings.Contains(body, "ci two") || !strings.Contains(body, "Revoked") {
		t.Errorf("ended tokens are not shown: %s", body)
	}
	if got := fred.get("/token/" + id + "/revoke"); got.status != 409 || !strings.Contains(got.body, "This token is already revoked") || strings.Contains(got.body, "<button") {
		t.Errorf("revoked twice: %d %s", got.status, got.body)
	}
	for range 3 {
		fred.issue("/new", "name", fmt.Sprint("n", f.clock().UnixNano()))
	}
	if body := fred.follow(fred.fill("/revoke-all")); !strings.Contains(body, "All tokens were revoked.") || !strings.Contains(body, "You have no tokens yet.") || !strings.Contains(body, "Show 4 ended tokens") {
		t.Errorf("after all were revoked: %s", body)
	}
}

// What waits is approved or refused, and the list of all tokens is where it was
// after something was done in it.
func TestAdministrationByForms(t *testing.T) {
	f := configured(t, rich)
	contractor, admin := f.browser(t, "contractor"), f.browser(t, "admin")
	_, first := contractor.issue("/new", "name", "one", "networks", "192.0.2.0/24", "readOnly", "true")
	_, second := contractor.issue("/new", "name", "two", "networks", "192.0.2.0/24")
	if body := admin.open("/pending"); !strings.Contains(body, `<span class="count">2</span>`) || !strings.Contains(body, "2 tokens") {
		t.Errorf("what waits: %s", body)
	}
	for _, c := range []struct{ below, location, state string }{
		{"/token/" + first + "/approve?from=pending", "/pending?done=approved&token=" + first, "active"},
		{"/token/" + second + "/refuse?from=pending", "/pending?done=refused&token=" + second, "revoked"},
		{"/token/" + first + "/disable?from=tokens&list=name%3Don%26sort%3Dused%26done%3Dx", "/tokens?done=disabled&name=on&sort=used&token=" + first, "disabled"},
		{"/token/" + first + "/enable?from=tokens&list=evil%3D1", "/tokens?done=enabled&token=" + first, "active"},
		{"/token/" + first + "/disable?from=https://evil.example.net", "/token/" + first + "?done=disabled&token=" + first, "disabled"},
	} {
		got := admin.fill(c.below)
		if got.status != 303 || led(got) != c.location {
			t.Errorf("%s: %d to %s, want %s", c.below, got.status, led(got), c.location)
		}
		id := regexp.MustCompile(`/token/(\w+)`).FindStringSubmatch(c.below)[1]
		var made web.Token
		f.into(t, "GET", base+"/"+id, nil, &made)
		if made.State != c.state {
			t.Errorf("%s: the token is %s", c.below, made.State)
		}
	}
	if got := contractor.fill("/token/" + first + "/enable"); got.status != 403 {
		t.Errorf("somebody enables their own token: %d", got.status)
	}
	_, theirs := admin.issue("/new?user=robot", "user", "robot", "name", "for a robot", "lifetime", "unlimited")
	if body := admin.open("/tokens?user=robot"); !strings.Contains(body, theirs) || !strings.Contains(body, "never") {
		t.Errorf("the robot's tokens: %s", body)
	}
	if got := admin.fill("/revoke-all?user=robot"); got.status != 303 || led(got) != "/tokens?done=all&user=robot" {
		t.Errorf("all of the robot's: %d to %s", got.status, led(got))
	}
	// An address that no form has led to says nothing of what was done.
	for _, below := range []string{"/tokens?done=revoked&token=call+555", "/tokens?done=all", "/tokens?done=approved&proof=x&token=" + first} {
		if body := admin.open(below); strings.Contains(body, "555") || strings.Contains(body, `class="notice"`) {
			t.Errorf("%s puts words on the page", below)
		}
	}
}

// A form that a page of another site sends changes nothing.
func TestFormsOfOtherSites(t *testing.T) {
	f := configured(t, rich)
	id := f.create(t, "fred", "ci").ID
	fred := f.browser(t, "fred")
	for _, header := range []string{"Origin: https://evil.example.net", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"} {
		key, value, _ := strings.Cut(header, ": ")
		for _, below := range []string{"/new", "/token/" + id + "/revoke", "/token/" + id + "/rotate", "/token/" + id + "/edit", "/revoke-all", "/explain"} {
			v := fields(fred.open(below)) // even if it had got hold of a nonce
			v.Set("name", "x")
			got := fred.with("Content-Type", "application/x-www-form-urlencoded").with(key, value).send(t, "POST", page.Path+below, v.Encode())
			if got.status != 403 {
				t.Errorf("%s, %s: %d", header, below, got.status)
			}
			f.pass(time.Minute)
		}
	}
	var made web.Token
	f.into(t, "GET", base+"/"+id, nil, &made)
	if n := f.count(t); n != 1 || made.State != "active" || made.Label != "ci" {
		t.Errorf("%d tokens, and the one is %+v", n, made)
	}
}

// Texts of others stand as texts on every page.
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
				t.Errorf("%s: the page holds %q", below, part)
			}
		}
		if strings.Contains(got.body, `href="..`) {
			t.Errorf("%s: a name leads away", below)
		}
		f.pass(time.Minute)
	}
	if body := admin.open("/tokens"); !strings.Contains(body, "&lt;img src=x") || !strings.Contains(body, "../../x") || !strings.Contains(body, strings.Repeat("😀", 100)) {
		t.Errorf("the names are not shown: %s", body)
	}
}

// Would a request pass, and which rule stands against it.
func TestTrial(t *testing.T) {
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
		{"it passes", fred, []string{"id", id}, 200, "This request would be allowed."},
		{"a write", fred, []string{"id", id, "method", "POST", "path", "/rest/api/2/issue"}, 200, "decides: read_only"},
		{"a logout", fred, []string{"id", id, "method", "DELETE", "path", "/rest/auth/1/session"}, 200, "answered without Jira"},
		{"another network", fred, []string{"id", id, "address", "198.51.100.1"}, 200, "decides: network_not_allowed"},
		{"by value", fred, []string{"id", "", "value", value}, 200, "This request would be allowed."},
		{"with another's name", fred, []string{"id", "", "value", value, "user", "wilma"}, 200, "decides: wrong_user"},
		{"a wrong value", fred, []string{"id", "", "value", broken}, 403, "your own API tokens only"},
		{"somebody else's", wilma, []string{"id", id}, 400, "no token with this id"},
		{"one that is not there", wilma, []string{"id", "000000000000"}, 400, "no token with this id"},
		{"somebody else's value", wilma, []string{"value", value}, 403, "your own API tokens only"},
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
			t.Errorf("%s: the value is shown", c.name)
		}
		sound(t, c.name, got)
	}
}

// Listings of many tokens go page by page, and each order and filter stays.
func TestPagesOfTokens(t *testing.T) {
	f := configured(t, strings.Replace(rich, "maxPerUser: 60", "maxPerUser: 500", 1))
	for i := range 120 {
		f.create(t, "wilma", fmt.Sprintf("t%03d", i))
	}
	admin, wilma := f.browser(t, "admin"), f.browser(t, "wilma")
	next := regexp.MustCompile(`<a class="button" href="` + page.Path + `([^"]*)"[^>]*>Next page`)
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

// A fault of the server's is a page, too, and says nothing of the inside.
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
