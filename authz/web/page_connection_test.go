package web_test

import (
	"cmp"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/store"
)

// rowOf returns the row of a user in the list of connections, as text.
func rowOf(body, user string) string {
	for row := range strings.SplitSeq(body, `<tr role="row">`) {
		if strings.Contains(row, "<bdi>"+html.EscapeString(user)+"</bdi></a></th>") {
			row, _, _ = strings.Cut(row, "</tr>")
			return strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(row, " ")), " ")
		}
	}
	return ""
}

// An administrator connects users with personal access tokens, checks and disconnects them. No page
// has a personal access token: newConnected searches all answers.
func TestConnectionsByForms(t *testing.T) {
	f := newConnected(t)
	admin := f.browser(t, "admin")
	if body := admin.open("/connections"); !strings.Contains(body, "No connection matches.") || !strings.Contains(body, "0 users") {
		t.Errorf("at first: %s", body)
	}
	for _, c := range []struct {
		name, user, token string
		status            int
		says              string
	}{
		{"another's", "wilma", fredsPAT, 400, `id="pat-wrong">This personal access token belongs to another user`},
		{"no such token", "fred", fredsPAT + "x", 400, `id="pat-wrong">The application does not accept`},
		{"no token", "fred", "", 400, `id="pat-wrong">`},
		{"an unknown user", "who", fredsPAT, 400, `id="user-wrong">`},
		{"an API token", "fred", f.create(t, "fred", "ci").PasswordValue, 400, `id="pat-wrong">This is an API token of tokengate`},
	} {
		got := admin.fill("/connections/new", "user", c.user, "token", c.token)
		if got.status != c.status || !strings.Contains(got.body, c.says) || !strings.Contains(got.body, `name="user" value="`+c.user+`"`) {
			t.Errorf("%s: %d %s", c.name, got.status, got.body)
		}
		sound(t, c.name, got)
	}
	sent := fields(admin.open("/connections/new")) // Jira fails after that
	sent.Set("user", "fred")
	sent.Set("token", fredsPAT)
	away := f.jira.Fail("/rest/api/2/myself", jiratest.Status(500))
	got := admin.post("/connections/new", sent)
	away.Stop()
	if got.status != 503 || !strings.Contains(got.body, "The application did not say whether") || !strings.Contains(got.body, `name="user" value="fred"`) {
		t.Errorf("while Jira fails: %d %s", got.status, got.body)
	}
	if got := admin.fill("/connections/new", "token", " "+fredsPAT+"\n"); led(got) != "/connections?done=set&user=Fred" {
		t.Fatalf("connected: %d to %s, %s", got.status, led(got), got.body)
	} else if body := admin.follow(got); !strings.Contains(body, "The user is connected.") || !strings.Contains(body, "1 user<") {
		t.Errorf("connected: %s", body)
	}
	if got := admin.fill("/connections/new", "user", "wilma", "token", wilmasPAT); got.status != 303 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	shown := admin.get("/connections")
	sound(t, "connections", shown)
	if row := rowOf(shown.body, "wilma"); !strings.Contains(row, "wilma Connected just now by admin Unknown, or never just now") {
		t.Errorf("the row is %q", row)
	}

	check := func(user string) answer {
		t.Helper()
		sent := fields(admin.open("/connections?user=" + user + "&state="))
		return admin.post("/connections/check", sent)
	}
	f.pass(2 * time.Hour)
	if got := check("fred"); led(got) != "/connections?done=accepted&user=fred" {
		t.Errorf("checked: %d to %s", got.status, led(got))
	}
	for _, pat := range f.jira.PATs(f.key(t, "fred")) {
		f.jira.RevokePAT(pat.ID)
	}
	if body := admin.follow(check("fred")); !strings.Contains(body, "is not accepted any more") || !strings.Contains(rowOf(body, "Fred"), "Fred Broken") {
		t.Errorf("after its end in Jira: %s", body)
	}
	if body := admin.open("/connections?state=broken"); rowOf(body, "Fred") == "" || rowOf(body, "wilma") != "" {
		t.Errorf("the broken ones: %s", body)
	}

	key := f.key(t, "wilma")
	below := "/connections/disconnect?key=" + key + "&list=state%3Dactive"
	if got := admin.get(below); title(got.body) != "Disconnect wilma?" {
		t.Errorf("%d %s", got.status, got.body)
	} else if sound(t, "disconnect", got); !strings.Contains(got.body, "In Jira it stays valid: revoke it there.") {
		t.Errorf("%s", got.body)
	}
	if got := admin.fill(below); led(got) != "/connections?done=removed&state=active" {
		t.Errorf("disconnected: %d to %s", got.status, led(got))
	}
	if got := admin.get(below); got.status != 404 || !strings.Contains(got.body, "This user is not connected.") {
		t.Errorf("disconnected again: %d %s", got.status, got.body)
	}
	for _, below := range []string{"?state=minting", "?endsWithin=4d", "?after=x", "?after=-1", "?nmae=x"} {
		if got := admin.get("/connections" + below); got.status != 400 {
			t.Errorf("%s: %d", below, got.status)
		}
	}

	fred := f.browser(t, "fred")
	for _, below := range []string{"/connections", "/connections/new", "/connections/disconnect?key=x"} {
		if got := fred.get(below); got.status != 403 {
			t.Errorf("a user at %s: %d", below, got.status)
		}
	}
	for _, below := range []string{"/connections/new", "/connections/check", "/connections/disconnect"} {
		nonce := fields(fred.open("/new"))
		nonce.Set("token", wilmasPAT)
		nonce.Set("key", key)
		if got := fred.post(below, nonce); got.status != 403 && got.status != 409 {
			t.Errorf("a user's form at %s: %d", below, got.status)
		}
	}
}

// The insights count the connections, and each count is that of the list it leads to.
func TestConnectionInsights(t *testing.T) {
	f := newConnected(t)
	for user, ends := range map[string]time.Duration{"a": 0, "b": 20, "c": 10, "d": 2} {
		expires := time.Time{}
		if ends > 0 {
			expires = start.Add(ends * 24 * time.Hour)
		}
		f.connect(t, user, store.UpstreamCredential{State: store.UpstreamActive, Expires: expires})
	}
	f.connect(t, "e", store.UpstreamCredential{State: store.UpstreamBroken})
	f.connect(t, "f", store.UpstreamCredential{State: store.UpstreamDeleting}) // not in use
	admin := f.browser(t, "admin")
	if list := admin.open("/connections"); !strings.Contains(list, "5 users") {
		t.Errorf("the list: %s", list)
	}
	body := admin.open("/insights")
	for name, want := range map[string]string{"Connected": "4", "Broken": "1", "Ending within 30 days": "3", "Ending within 14 days": "2", "Ending within 3 days": "1"} {
		m := regexp.MustCompile(`href="` + config.PagePath + `(/connections[^"]*)"><span class="figure">(\d+)</span> <span class="name">` + name + `<`).FindStringSubmatch(body)
		if m == nil || m[2] != want {
			t.Errorf("%s: %q, want %s", name, m, want)
			continue
		}
		if list := admin.open(html.UnescapeString(m[1])); !strings.Contains(list, want+" user") {
			t.Errorf("%s: the list has another number: %s", name, list)
		}
	}
}

// Names are shown as text.
func TestHostileConnections(t *testing.T) {
	f := newConnected(t)
	f.connect(t, "key", store.UpstreamCredential{State: store.UpstreamActive, Owner: "<img src=x>"})
	admin := f.browser(t, "admin")
	for _, below := range []string{"/connections", "/connections?user=<img+src=x>", "/connections?user=\u202e", "/connections/disconnect?key=key&list=user=<img+src=x>\u202e"} {
		path, query, _ := strings.Cut(below, "?")
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		body := admin.open(path + "?" + values.Encode())
		if strings.Contains(body, "<img src=x") || strings.Contains(body, "\u202e") || !strings.Contains(body, "&lt;img src=x&gt;") && !strings.Contains(body, "�") {
			t.Errorf("%s: %s", below, body)
		}
	}
}

// The list has pages, which keep the filters.
func TestPagesOfConnections(t *testing.T) {
	f := newConnected(t)
	for n := range 51 {
		f.connect(t, fmt.Sprintf("u%02d", n), store.UpstreamCredential{State: store.UpstreamActive})
	}
	admin := f.browser(t, "admin")
	first := admin.get("/connections?state=active")
	sound(t, "the first page", first)
	m := regexp.MustCompile(`href="` + config.PagePath + `([^"]*)"[^>]*>Next page`).FindStringSubmatch(first.body)
	if n := strings.Count(first.body, "<tr"); n != 51 || m == nil || !strings.Contains(first.body, "51 users") {
		t.Fatalf("%d rows, %q", n-1, m)
	}
	next := html.UnescapeString(m[1])
	if body := admin.open(next); strings.Count(body, "<tr") != 2 || rowOf(body, "u50") == "" || !strings.Contains(next, "state=active") || strings.Contains(body, "Next page") {
		t.Errorf("%s: %s", next, body)
	}
	if body := admin.open("/connections?after=99"); !strings.Contains(body, "No connection matches.") {
		t.Errorf("beyond the end: %s", body)
	}
}

// connect stores a credential of a user whose key is the name.
func (f *fixture) connect(t *testing.T, user string, c store.UpstreamCredential) {
	t.Helper()
	c.ID, c.Owner, c.Created, c.SetBy = fmt.Sprintf("%012s", user), cmp.Or(c.Owner, user), start, cmp.Or(c.Owner, user)
	value := "OTg3NjU0MzIxMDk4Onf6" + user
	var err error
	if c.Sealed, err = f.manager.Upstream.Keys.Seal([]byte(value), seal.Context{Site: f.manager.Upstream.Site, User: user, Credential: c.ID}); err != nil {
		t.Fatal(err)
	}
	_, err = f.tokens.UpdateUpstream(t.Context(), user, func([]store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		return []store.UpstreamCredential{c}, nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A user agrees once, and is connected when they create a token or on the page Connection. A form
// without the consent is refused and keeps its input.
func TestConnectByForms(t *testing.T) {
	f := newConnected(t)
	user := f.browser(t, "user")
	key := f.key(t, "user")
	const page, warned = `href="` + config.PagePath + `/connection"`, "Your tokens are refused"
	if body := user.open(""); !strings.Contains(body, page) || strings.Contains(body, warned) {
		t.Errorf("without tokens: %s", body)
	}
	f.create(t, "user", "old")
	if body := user.open(""); !strings.Contains(body, warned+": you are not connected with Jira") {
		t.Errorf("with a token: %s", body)
	}
	for below, pairs := range map[string][]string{"/new": {"name", "ci", "purpose", "because"}, "/new?user=USER": {"user", "USER", "name", "ci", "purpose", "because"}, "/connection": nil} {
		got := user.fill(below, pairs...)
		if got.status != 400 || !strings.Contains(got.body, `id="consent-wrong">Tick the box`) || pairs != nil && !strings.Contains(got.body, ">because</textarea>") {
			t.Errorf("%s without consent: %d %s", below, got.status, got.body)
		}
		sound(t, below, got)
	}
	if got := f.jira.PATs(key); len(got) != 0 || f.count(t) != 1 {
		t.Fatalf("without consent: %+v", got)
	}
	user.issue("/new", "name", "ci", "consent", "true")
	made := f.jira.PATs(key)
	if len(made) != 1 {
		t.Fatalf("with consent: %+v", made)
	}
	if body := user.open("/new"); strings.Contains(body, "consent") {
		t.Errorf("connected, the form asks again: %s", body)
	}
	if user.issue("/new", "name", "second"); len(f.jira.PATs(key)) != 1 {
		t.Errorf("two tokens: %+v", f.jira.PATs(key))
	}
	shown := user.get("/connection")
	sound(t, "the page", shown)
	for _, part := range []string{">Connected</span>", made[0].Name, "by user", "Connect again"} {
		if !strings.Contains(shown.body, part) {
			t.Errorf("the page lacks %q: %s", part, shown.body)
		}
	}

	if body := user.follow(user.fill("/connection")); !strings.Contains(body, "You are connected.") {
		t.Errorf("connected again: %s", body)
	}
	again := f.jira.PATs(key)
	if len(again) != 1 || again[0].ID == made[0].ID {
		t.Fatalf("connected again: %+v", again)
	}
	f.jira.RevokePAT(again[0].ID)
	f.browser(t, "admin").post("/connections/check", fields(f.browser(t, "admin").open("/connections?user=user")))
	if body := user.open(""); !strings.Contains(body, warned+": Jira does not accept") {
		t.Errorf("broken: %s", body)
	}
	if got := user.fill("/connection"); got.status != 400 || !strings.Contains(got.body, "consent-wrong") {
		t.Errorf("broken, without consent: %d %s", got.status, got.body)
	}
	if got := user.fill("/connection", "consent", "true"); led(got) != "/connection?done=connected" || len(f.jira.PATs(key)) != 1 {
		t.Errorf("connected after that: %d to %s", got.status, led(got))
	}

	if got := user.get("/connection/disconnect"); title(got.body) != "Disconnect from Jira?" || !strings.Contains(got.body, "is deleted in Jira. All your tokens are refused") {
		t.Errorf("%d %s", got.status, got.body)
	} else {
		sound(t, "disconnect", got)
	}
	if got := user.fill("/connection/disconnect"); led(got) != "/connection?done=disconnected" || len(f.jira.PATs(key)) != 0 {
		t.Errorf("disconnected: %d to %s", got.status, led(got))
	}
	if body := user.open("/connection"); !strings.Contains(body, "Not connected") || strings.Contains(body, "/connection/disconnect") {
		t.Errorf("disconnected: %s", body)
	}
	if got := user.get("/connection/disconnect"); led(got) != "/connection" {
		t.Errorf("disconnected twice: %d to %s", got.status, led(got))
	}
}

// A token for another user needs no consent, and connects nobody.
func TestNoConsentForOthers(t *testing.T) {
	f := newConnected(t)
	lead := f.browser(t, "lead")
	if body := lead.open("/new"); !strings.Contains(body, "needed if the token is for myself") || strings.Contains(body, `name="consent" value="true" required`) {
		t.Errorf("the form: %s", body)
	}
	lead.issue("/new", "user", "robot", "name", "for a robot")
	for _, name := range []string{"lead", "robot"} {
		if made := f.jira.PATs(f.key(t, name)); len(made) != 0 {
			t.Errorf("%s has %+v", name, made)
		}
	}
}

// If Jira gives no personal access token, no token is created: the form says why, and keeps its input.
func TestConnectRefused(t *testing.T) {
	f := newConnected(t)
	user := f.browser(t, "user")
	for name, c := range map[string]struct {
		settings jiratest.PATSettings
		fault    *jiratest.Fault
		says     string
	}{
		"off":       {settings: jiratest.PATSettings{Off: true}, says: "switch them on"},
		"the limit": {settings: jiratest.PATSettings{MaxPerUser: -1}, says: "delete one in your profile"},
		"a license": {settings: jiratest.PATSettings{NoLicense: true}, says: "license"},
		"away":      {fault: new(jiratest.Status(500)), says: "Try again later"},
	} {
		for _, below := range []string{"/new", "/connection"} {
			sent := fields(user.open(below))
			for field, value := range map[string]string{"name": "ci", "purpose": "because", "consent": "true"} {
				sent.Set(field, value)
			}
			f.jira.SetPATs(c.settings)
			stop := func() {}
			if c.fault != nil {
				stop = f.jira.Fail("/rest/pat/", *c.fault).Stop
			}
			got := user.post(below, sent)
			stop()
			f.jira.SetPATs(jiratest.PATSettings{})
			if got.status < 400 || !strings.Contains(got.body, `role="alert"`) || !strings.Contains(got.body, c.says) || !strings.Contains(got.body, "checked> I agree") {
				t.Errorf("%s: %s: %d %s", name, below, got.status, got.body)
			}
			if below == "/new" && !strings.Contains(got.body, ">because</textarea>") {
				t.Errorf("%s: the form does not keep its input: %s", name, got.body)
			}
			sound(t, name, got)
			f.pass(time.Minute)
		}
	}
	if n := f.count(t); n != 0 {
		t.Errorf("there are %d tokens", n)
	}
}

// The end of a connection that is not renewed by itself is marked.
func TestConnectionEnds(t *testing.T) {
	f := newConnected(t)
	user := f.browser(t, "user")
	for days, class := range map[time.Duration]string{40: "", 20: "panel", 10: "panel warn", 2: "panel urgent"} {
		f.connect(t, f.key(t, "user"), store.UpstreamCredential{State: store.UpstreamActive, Expires: f.clock().Add(days * 24 * time.Hour)})
		body := user.open("")
		m := regexp.MustCompile(`<div class="([a-z ]+)"><p><strong>Your connection with Jira ends`).FindStringSubmatch(body)
		if got := strings.Join(m, ""); class == "" && m != nil || class != "" && (m == nil || m[1] != class) {
			t.Errorf("%d days before the end: %q", days, got)
		}
	}
}

// Where users need no connection, no page mentions one.
func TestNoConnectionNeeded(t *testing.T) {
	f := newFixture(t)
	admin := f.browser(t, "admin")
	f.create(t, "admin", "ci")
	for _, below := range []string{"", "/new", "/insights"} {
		if body := admin.open(below); strings.Contains(body, "/connection") || strings.Contains(body, "consent") {
			t.Errorf("%q mentions a connection: %s", below, body)
		}
	}
	for below, status := range map[string]int{"/connection": 404, "/connections": 409, "/connections/new": 409} {
		if got := admin.get(below); got.status != status || !strings.Contains(got.body, "upstream.identity.pat") {
			t.Errorf("%s: %d %s", below, got.status, got.body)
		}
	}
}

// No form about connections is processed without its own nonce, or if another site sends it.
func TestConnectionFormsAreProtected(t *testing.T) {
	f := newConnected(t)
	admin := f.browser(t, "admin")
	if got := admin.fill("/connections/new", "token", fredsPAT); got.status != 303 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	other := fields(admin.open("/new")).Get("nonce")
	for below, form := range map[string]string{
		"/connection": "/connection", "/connection/disconnect": "/connection", "/connections/new": "/connections/new", "/connections/check": "/connections",
		"/connections/disconnect": "/connections/disconnect?key=" + f.key(t, "fred"),
	} {
		sent := url.Values{"consent": {"true"}, "token": {wilmasPAT}, "key": {f.key(t, "fred")}}
		for _, nonce := range []string{"", "x", other} {
			sent.Set("nonce", nonce)
			if got := admin.post(below, sent); got.status != 409 {
				t.Errorf("%s with %q: %d", below, nonce, got.status)
			}
			f.pass(time.Minute)
		}
		sent.Set("nonce", fields(admin.open(form)).Get("nonce")) // of this site
		s := admin.with("Content-Type", "application/x-www-form-urlencoded").with("Origin", "https://evil.example.net")
		if got := s.send(t, "POST", config.PagePath+below, sent.Encode()); got.status != 403 {
			t.Errorf("%s of another site: %d", below, got.status)
		}
		f.pass(time.Minute)
	}
	if body := admin.open("/connections"); !strings.Contains(body, "1 user<") || rowOf(body, "Fred") == "" {
		t.Errorf("something was changed: %s", body)
	}
}
