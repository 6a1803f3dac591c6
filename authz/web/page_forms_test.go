package web_test

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/web"
)

// A form creates a token and shows its value once; sending the form again does neither.
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
		t.Errorf("the page contains the value %d times", n)
	}
	for _, part := range []string{`curl -u &#39;Fred&#39;:&#34;$TOKEN&#34; https://jira.example.com/rest/api/2/myself`, "jQuery", "XMLHttpRequest", "requests.Session", "HttpClient"} {
		if !strings.Contains(got.body, part) {
			t.Errorf("the page lacks %s", part)
		}
	}
	var made web.Token
	f.into(t, "GET", base+"/"+id, nil, &made)
	if made.Label != "nightly report" || !made.ReadOnly || fmt.Sprint(made.Networks) != "[10.1.0.0/16 192.0.2.0/24 2001:db8::/32 192.0.2.7/32]" || *made.ExpiresAt-made.CreatedAt != (30*24*time.Hour).Milliseconds() {
		t.Errorf("the token is %+v", made)
	}
	again := fred.post("/new", sent)
	if again.status != 409 || title(again.body) != "This form was already sent" || !strings.Contains(again.body, id) || strings.Contains(again.body, value) {
		t.Errorf("sent again: %d %s", again.status, again.body)
	}
	for _, below := range []string{"", "/token/" + id, "/token/" + id + "/edit", "/token/" + id + "/rotate", "/explain?id=" + id} {
		if strings.Contains(fred.open(below), value) {
			t.Errorf("%s contains the value", below)
		}
	}
	if n := f.count(t); n != 1 {
		t.Errorf("there are %d tokens", n)
	}
}

// A form is valid once, for one caller, one address and a limited time.
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
		"another's":      form(wilma, "/new"),
		"another form's": form(fred, "/token/"+id+"/rotate"),
		"none":           {"name": {"x"}},
		"a forged one":   {"name": {"x"}, "nonce": {strings.Repeat("A", 75)}},
		"an old one":     old,
	}
	for name, v := range bad {
		got := fred.post("/new", v)
		if got.status != 409 || !strings.Contains(got.body, "open for too long") || !strings.Contains(got.body, `value="x"`) {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		sound(t, name, got)
		if m := nonceField.FindStringSubmatch(got.body); m == nil || m[1] == v.Get("nonce") {
			t.Errorf("%s: the form shown again has no new nonce", name)
		}
	}
	if n := f.count(t); n != 1 {
		t.Fatalf("there are %d tokens", n)
	}
	// Of concurrent requests only the first is processed.
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

// No form is processed without its own nonce.
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

// A form is refused if its token has changed since the form was opened.
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
		t.Errorf("approval of a changed token: %d %s", got.status, got.body)
	}
	var made web.Token
	if f.into(t, "GET", base+"/"+pending, nil, &made); made.State != "pending" {
		t.Errorf("the state is %s", made.State)
	}
	refusal := fields(admin.open("/token/" + pending + "/refuse"))
	if got := barney.fill("/token/" + pending + "/approve"); got.status != 303 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := admin.post("/token/"+pending+"/refuse", refusal); got.status != 409 || !strings.Contains(got.body, "This token is already active") {
		t.Errorf("refusal of an approved token: %d %s", got.status, got.body)
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
		t.Errorf("edit of a changed token: %d %s", got.status, got.body)
	}
	if f.into(t, "GET", base+"/"+id, nil, &made); !made.ReadOnly || len(made.Networks) != 1 || made.Networks[0] != "10.1.2.3/32" || made.Purpose != "" {
		t.Errorf("the token is %+v", made)
	}
}

// accepted even if time has passed.
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
		t.Errorf("a stale rotation gets status %d", got.status)
	}
	// If only the nonce is invalid, the entered values stay.
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
		t.Errorf("a pending token is offered a rotation: %d %s", got.status, got.body)
	}
}

// the maximum lifetime.
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
			t.Errorf("the page lacks %s: %s", part, body)
		}
	}
	if got := fred.fill("/token/"+id+"/edit", "name", "ci", "lifetime", "30d"); got.status != 303 {
		t.Errorf("%d %s", got.status, got.body)
	}
	// Management tokens always have an expiry.
	admin := f.browser(t, "admin")
	bot := f.management(t, "bot", "").ID
	if body := admin.open("/token/" + bot + "/edit"); strings.Contains(body, "No expiry") {
		t.Error("an edit can remove the expiry of a management token")
	}
	if body := admin.open("/token/" + bot + "/rotate"); strings.Contains(body, "No expiry") {
		t.Error("a rotation can remove the expiry of a management token")
	}
}

// No page repeats a token value that was entered into a form.
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
					t.Errorf("%s at %s: the response with status %d repeats the value", name, below, got.status)
				}
				f.pass(time.Minute)
			}
		}
	}
}

// An invalid form is shown again with the entered values and the error at its field.
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
		{"too long", []string{"name", "x", "lifetime", "365d"}, 400, `id="expires-wrong">Your tokens may be valid for at most 90d`},
		{"no date", []string{"name", "x", "lifetime", "date"}, 400, `id="expires-wrong">Choose the last day`},
		{"the past", []string{"name", "x", "lifetime", "date", "until", "2020-01-01"}, 400, "already have expired"},
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
		if got := s.send(t, "POST", config.PagePath+"/new", `{}`); got.status != 415 {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	if got := fred.post("/new", url.Values{"name": {strings.Repeat("x", 70_000)}}); got.status != 413 {
		t.Errorf("a long form: %d", got.status)
	}
	if got := fred.post("/new", url.Values{"name": {"x", "y"}}); got.status != 400 {
		t.Errorf("a repeated field: %d", got.status)
	}
	if n := f.count(t); n != 1 {
		t.Errorf("there are %d tokens", n)
	}
}

// The last day within the maximum lifetime can be chosen at any time of day.
func TestLastDay(t *testing.T) {
	f := configured(t, rich)
	_, id := f.browser(t, "fred").issue("/new", "name", "x", "lifetime", "date", "until", "2026-05-30")
	var made web.Token
	f.into(t, "GET", base+"/"+id, nil, &made)
	if want := start.Add(90 * 24 * time.Hour); time.UnixMilli(*made.ExpiresAt).Sub(want) > time.Minute {
		t.Errorf("it expires %v", time.UnixMilli(*made.ExpiresAt).UTC())
	}
	_, id = f.browser(t, "fred").issue("/new", "name", "y", "lifetime", "date", "until", "2026-03-31")
	f.into(t, "GET", base+"/"+id, nil, &made)
	if got := time.UnixMilli(*made.ExpiresAt).UTC().Format(time.RFC3339); got != "2026-04-01T00:00:00Z" {
		t.Errorf("it expires %s", got)
	}
}

// A token is rotated with an overlap, restricted and revoked by forms.
func TestLifeByForms(t *testing.T) {
	f := configured(t, rich)
	fred := f.browser(t, "fred")
	value, id := fred.issue("/new", "name", "ci")
	second, same := fred.issue("/token/"+id+"/rotate", "overlap", "1h", "lifetime", "keep")
	if same != id || second == value {
		t.Errorf("the rotation did not keep the id, or kept the value")
	}
	if body := fred.open("/token/" + id); !strings.Contains(body, "Old value works until") {
		t.Error("the page does not mention the overlap")
	}
	if got := fred.fill("/token/"+id+"/edit", "name", "ci", "lifetime", "keep"); led(got) != "/token/"+id+"?done=unchanged" {
		t.Errorf("an edit without changes: %d to %s", got.status, led(got))
	}
	got := fred.fill("/token/"+id+"/edit", "name", "ci two", "purpose", "line\r\nline", "lifetime", "keep", "networks", "192.0.2.0/24", "readOnly", "true")
	body := fred.follow(got)
	for _, part := range []string{"ci two", "<p class=\"notice\" role=\"status\">The token was changed.</p>", "Read-only", "192.0.2.0/24", "line\nline"} {
		if !strings.Contains(body, part) {
			t.Errorf("after the edit the page lacks %q", part)
		}
	}
	if got := fred.fill("/token/"+id+"/edit", "name", "ci", "lifetime", "365d"); got.status != 400 || !strings.Contains(got.body, "valid for at most 90d") {
		t.Errorf("too long a lifetime: %d %s", got.status, got.body)
	}
	got = fred.fill("/token/"+id+"/revoke?from=own", "x", "y")
	if led(got) != "?done=revoked&token="+id {
		t.Errorf("revocation: %d to %s", got.status, led(got))
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

// back to the list with its filters.
func TestAdministrationByForms(t *testing.T) {
	f := configured(t, rich)
	contractor, admin := f.browser(t, "contractor"), f.browser(t, "admin")
	_, first := contractor.issue("/new", "name", "one", "networks", "192.0.2.0/24", "readOnly", "true")
	_, second := contractor.issue("/new", "name", "two", "networks", "192.0.2.0/24")
	if body := admin.open("/pending"); !strings.Contains(body, `<span class="count">2</span>`) || !strings.Contains(body, "2 tokens") {
		t.Errorf("pending tokens: %s", body)
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
	// The state forbids to refuse a token that was approved, although it could be revoked.
	closed := admin.get("/token/" + first + "/refuse")
	var kept web.Token
	if got := admin.post("/token/"+first+"/refuse", fields(closed.body)); closed.status != 409 || got.status != 409 {
		t.Errorf("to refuse an approved token gets status %d, and the form %d", got.status, closed.status)
	}
	if f.into(t, "GET", base+"/"+first, nil, &kept); kept.State != "disabled" {
		t.Errorf("the token is %s", kept.State)
	}
	if got := contractor.fill("/token/" + first + "/enable"); got.status != 403 {
		t.Errorf("an owner who enables a token gets status %d", got.status)
	}
	_, theirs := admin.issue("/new?user=robot", "user", "robot", "name", "for a robot", "lifetime", "unlimited")
	if body := admin.open("/tokens?user=robot"); !strings.Contains(body, theirs) || !strings.Contains(body, "never") {
		t.Errorf("the robot's tokens: %s", body)
	}
	if got := admin.fill("/revoke-all?user=robot"); got.status != 303 || led(got) != "/tokens?done=all&user=robot" {
		t.Errorf("revocation of all tokens of the robot: %d to %s", got.status, led(got))
	}
	// A notice without a valid proof is not shown.
	for _, below := range []string{"/tokens?done=revoked&token=call+555", "/tokens?done=all", "/tokens?done=approved&proof=x&token=" + first} {
		if body := admin.open(below); regexp.MustCompile(`call.{1,3}555`).MatchString(body) || strings.Contains(body, `class="notice"`) {
			t.Errorf("%s shows a notice", below)
		}
	}
}

// Forms sent by other sites change nothing.
func TestFormsOfOtherSites(t *testing.T) {
	f := configured(t, rich)
	id := f.create(t, "fred", "ci").ID
	fred := f.browser(t, "fred")
	for _, header := range []string{"Origin: https://evil.example.net", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"} {
		key, value, _ := strings.Cut(header, ": ")
		for _, below := range []string{"/new", "/token/" + id + "/revoke", "/token/" + id + "/rotate", "/token/" + id + "/edit", "/revoke-all", "/explain"} {
			v := fields(fred.open(below)) // even with a valid nonce
			v.Set("name", "x")
			got := fred.with("Content-Type", "application/x-www-form-urlencoded").with(key, value).send(t, "POST", config.PagePath+below, v.Encode())
			if got.status != 403 {
				t.Errorf("%s, %s: %d", header, below, got.status)
			}
			f.pass(time.Minute)
		}
	}
	var made web.Token
	f.into(t, "GET", base+"/"+id, nil, &made)
	if n := f.count(t); n != 1 || made.State != "active" || made.Label != "ci" {
		t.Errorf("%d tokens, the first is %+v", n, made)
	}
}
